// Streams beats through the top module and writes down what comes out: the same bench for Verilator and CXXRTL.
// usage: bench SAMPLES GAPS STALLS SEED PATIENCE
//   GAPS, STALLS: chance that the source pauses, that the sink is not ready, in a cycle
//   PATIENCE: cycles without any beat after which the run is given up
// Reads in_I.bin, writes out_I.bin and probe_I.bin (32-bit words of every beat) and their *.cycles (64 bit each).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>
#include "model.h" // the simulator's side: Model, put(), get()
#include "ports.h" // the design's side: INPUTS, OUTPUTS, PROBES

namespace {

uint64_t state;
bool chance(double p) { // xorshift64*: the same on every machine
  if (p <= 0) return false;
  state ^= state >> 12; state ^= state << 25; state ^= state >> 27;
  return double((state * 2685821657736338717ull) >> 11) * (1.0 / 9007199254740992.0) < p;
}

[[noreturn]] void fail(const std::string &reason) {
  std::printf("error: %s\n", reason.c_str());
  std::exit(1);
}

struct Source {
  std::vector<uint32_t> data;
  size_t words, beats, next = 0;
  bool valid = false;
  Source(int index, size_t words, size_t beats) : words(words), beats(beats) {
    std::string name = "in_" + std::to_string(index) + ".bin";
    FILE *file = std::fopen(name.c_str(), "rb");
    data.resize(words * beats);
    if (!file || std::fread(data.data(), 4, data.size(), file) != data.size()) fail("cannot read " + name);
    std::fclose(file);
  }
  void offer(double gaps) { valid = next < beats && (valid || !chance(gaps)); } // valid stays until ready
  const uint32_t *beat() const { return &data[(next < beats ? next : 0) * words]; }
  bool step(bool ready) {
    bool moved = valid && ready;
    if (moved) { next++; valid = false; }
    return moved;
  }
};

struct Sink {
  std::string name;
  size_t words, beats, per_sample, got = 0;
  std::vector<uint32_t> data, held;
  std::vector<uint64_t> cycles;
  bool ready = true, waiting = false;
  Sink(const std::string &name, size_t words, size_t per_sample, size_t samples)
      : name(name), words(words), beats(per_sample * samples), per_sample(per_sample), held(words) {}
  bool done() const { return got >= beats; }
  bool step(bool valid, const std::vector<uint32_t> &beat, uint64_t cycle) {
    if (waiting && !valid) fail(name + ": valid fell before ready");
    if (waiting && beat != held) fail(name + ": data changed before ready");
    waiting = valid && !ready;
    held = beat;
    if (!(valid && ready)) return false;
    if (done()) fail(name + ": more beats than the samples have");
    data.insert(data.end(), beat.begin(), beat.end());
    cycles.push_back(cycle);
    got++;
    return true;
  }
  void last(bool value) const {
    if (value != (got % per_sample == 0)) fail(name + ": tlast is not at the end of a sample");
  }
  void write() const {
    FILE *file = std::fopen((name + ".bin").c_str(), "wb");
    std::fwrite(data.data(), 4, data.size(), file); std::fclose(file);
    file = std::fopen((name + ".cycles").c_str(), "wb");
    std::fwrite(cycles.data(), 8, cycles.size(), file); std::fclose(file);
  }
};

} // namespace

int main(int argc, char **argv) {
  if (argc != 6) fail("needs five arguments");
  const size_t samples = std::strtoull(argv[1], nullptr, 10);
  const double gaps = std::atof(argv[2]), stalls = std::atof(argv[3]);
  state = std::strtoull(argv[4], nullptr, 10) * 2 + 88172645463325252ull;
  const uint64_t patience = std::strtoull(argv[5], nullptr, 10);
  Model model;
  auto &top = model.top();
  std::vector<Source> sources;
  std::vector<Sink> sinks, probes;
#define X(I, VALID, READY, DATA, WORDS, BEATS) sources.emplace_back(I, WORDS, (BEATS) * samples);
  INPUTS(X)
#undef X
#define X(I, VALID, READY, DATA, LAST, WORDS, BEATS) sinks.emplace_back("out_" #I, WORDS, BEATS, samples);
  OUTPUTS(X)
#undef X
#define X(I, VALID, DATA, WORDS, BEATS) probes.emplace_back("probe_" #I, WORDS, BEATS, samples);
  PROBES(X)
#undef X
  put(top.TOP_RESETN, 0u);
#define X(I, VALID, READY, DATA, WORDS, BEATS) put(top.VALID, 0u);
  INPUTS(X)
#undef X
#define X(I, VALID, READY, DATA, LAST, WORDS, BEATS) put(top.READY, 0u);
  OUTPUTS(X)
#undef X
  for (int i = 0; i < 8; i++) { model.settle(); model.edge(); }
  put(top.TOP_RESETN, 1u);

  std::vector<uint32_t> beat;
  uint64_t cycle = 0, quiet = 0, after = 0, first = 0;
  bool begun = false;
  while (after < 64) { // a little longer than the last beat: nothing more may come
    bool moved = false;
#define X(I, VALID, READY, DATA, WORDS, BEATS) \
    sources[I].offer(gaps); put(top.VALID, uint32_t(sources[I].valid)); put(top.DATA, sources[I].beat(), WORDS);
    INPUTS(X)
#undef X
#define X(I, VALID, READY, DATA, LAST, WORDS, BEATS) \
    sinks[I].ready = !chance(stalls); put(top.READY, uint32_t(sinks[I].ready));
    OUTPUTS(X)
#undef X
    model.settle();
#define X(I, VALID, READY, DATA, WORDS, BEATS) \
    if (sources[I].step(get(top.READY))) { moved = true; if (!begun) { begun = true; first = cycle; } }
    INPUTS(X)
#undef X
#define X(I, VALID, READY, DATA, LAST, WORDS, BEATS) \
    beat.resize(WORDS); get(top.DATA, beat.data(), WORDS); \
    if (sinks[I].step(get(top.VALID), beat, cycle)) { moved = true; sinks[I].last(get(top.LAST)); }
    OUTPUTS(X)
#undef X
#define X(I, VALID, DATA, WORDS, BEATS) \
    beat.resize(WORDS); get(top.DATA, beat.data(), WORDS); probes[I].ready = true; \
    if (get(top.VALID)) moved |= probes[I].step(true, beat, cycle);
    PROBES(X)
#undef X
    model.edge();
    cycle++;
    quiet = moved ? 0 : quiet + 1;
    bool done = true;
    for (auto &sink : sinks) done &= sink.done();
    for (auto &probe : probes) done &= probe.done();
    for (auto &source : sources) done &= source.next == source.beats;
    if (done) after++;
    else if (quiet > patience) {
      std::string where;
      for (auto &source : sources) where += " in " + std::to_string(source.next) + "/" + std::to_string(source.beats);
      for (auto *group : {&probes, &sinks})
        for (auto &sink : *group)
          where += " " + sink.name + " " + std::to_string(sink.got) + "/" + std::to_string(sink.beats);
      fail("stuck: no beat moved for " + std::to_string(patience) + " cycles, beats so far:" + where);
    }
  }
  for (auto &sink : sinks) sink.write();
  for (auto &probe : probes) probe.write();
  std::printf("cycles %llu first %llu\n", (unsigned long long)(cycle - after), (unsigned long long)first);
  return 0;
}
