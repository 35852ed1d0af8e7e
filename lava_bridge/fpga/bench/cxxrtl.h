// The CXXRTL side of the bench.
#pragma once
// CXXRTL's runtime asks that all of it be inlined. Left to the compiler, it compiles in half the time and runs as fast.
#define __always_inline__ __unused__
#include <cxxrtl/cxxrtl.h>
#undef __always_inline__
#include "model.cc"

struct Model {
  cxxrtl_design::TOP_MODULE model;
  cxxrtl_design::TOP_MODULE &top() { return model; }
  void settle() { model.step(); }
  void edge() {
    model.p_aclk.set<uint32_t>(1); model.step();
    model.p_aclk.set<uint32_t>(0); // settle() steps: nothing happens at this edge
  }
};

template <size_t N> void put(cxxrtl::value<N> &port, uint32_t v) { port.data[0] = v; }
template <size_t N> void put(cxxrtl::value<N> &port, const uint32_t *words, size_t count) {
  for (size_t i = 0; i < count; i++) port.data[i] = words[i];
}
template <size_t N> bool get(const cxxrtl::value<N> &port) { return port.data[0] != 0; }
template <size_t N> bool get(const cxxrtl::wire<N> &port) { return port.curr.data[0] != 0; }
template <size_t N> void get(const cxxrtl::value<N> &port, uint32_t *words, size_t count) {
  for (size_t i = 0; i < count; i++) words[i] = port.data[i];
}
template <size_t N> void get(const cxxrtl::wire<N> &port, uint32_t *words, size_t count) {
  get(port.curr, words, count);
}
