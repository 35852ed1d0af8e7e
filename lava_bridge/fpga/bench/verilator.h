// The Verilator side of the bench.
#pragma once
#include "Vmodel.h"
#include "verilated.h"

struct Model {
  Vmodel model;
  Vmodel &top() { return model; }
  void settle() { model.eval(); }
  void edge() { // falling edge state is settled
    model.aclk = 1; model.eval();
    model.aclk = 0; model.eval();
  }
};

template <class T> void put(T &port, uint32_t value) { port = value; }
template <class T> void put(T &port, const uint32_t *words, size_t count) {
  port = count > 1 ? T(uint64_t(words[0]) | uint64_t(words[1]) << 32) : T(words[0]);
}
template <std::size_t N> void put(VlWide<N> &port, const uint32_t *words, size_t count) {
  for (size_t i = 0; i < count; i++) port[i] = words[i];
}
template <class T> bool get(const T &port) { return port != 0; }
template <class T> void get(const T &port, uint32_t *words, size_t count) {
  words[0] = uint32_t(port);
  if (count > 1) words[1] = uint32_t(uint64_t(port) >> 32);
}
template <std::size_t N> void get(const VlWide<N> &port, uint32_t *words, size_t count) {
  for (size_t i = 0; i < count; i++) words[i] = port[i];
}
