// Runs the CUDA source as C++ on a CPU, to check what it computes.
//
// Every CUDA thread of a block is a fiber (ucontext) on one OS thread; blocks run one after another. One warp
// runs as far as it can go before the next one starts, in an order the caller picks: a missing barrier then
// reads stale or overwritten shared memory, which running the threads in lockstep would hide. Barriers and
// warp collectives that not all their threads reach end the process with a message.
//
// An asynchronous copy lands when its thread waits for it, not before; one that nobody waits for ends the process.
//
// Not modelled: races inside a warp, the memory model, speed.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static thread_local

struct dim3 { unsigned x = 1, y = 1, z = 1; };
inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cpu {

enum State { READY, AT_BARRIER, AT_COLLECTIVE, DONE };
constexpr size_t STACK = 256 * 1024;

struct Copy { void* to; const void* from; };
struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    State state = READY;
    unsigned linear = 0;
    unsigned mask = 0;
    uint64_t word = 0;  // what this lane shows to its warp
    std::vector<std::vector<Copy>> copies;  // by group, the open one last
};
struct Block {
    std::vector<std::unique_ptr<Fiber>> fibers;
    ucontext_t scheduler;
    Fiber* current = nullptr;
    void (*body)(void*) = nullptr;
    void* argument = nullptr;
    void* scheduler_fake_stack = nullptr;
    const void* scheduler_stack = nullptr;
    size_t scheduler_size = 0;
};
inline thread_local Block* block = nullptr;

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "emulation: %s (block %u,%u,%u)\n", what, blockIdx.x, blockIdx.y, blockIdx.z);
    std::fflush(stderr);
    std::_Exit(70);
}
inline void locate(unsigned linear) {
    threadIdx = {linear % blockDim.x, linear / blockDim.x % blockDim.y, linear / (blockDim.x * blockDim.y)};
}
// AddressSanitizer must be told about every change of stack.
inline void leaving(void** fake, const void* stack, size_t size) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(fake, stack, size);
#else
    (void)fake, (void)stack, (void)size;
#endif
}
inline void arrived(void* fake, const void** stack, size_t* size) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, stack, size);
#else
    (void)fake, (void)stack, (void)size;
#endif
}
inline void to_scheduler(State state) {
    Fiber* me = block->current;
    me->state = state;
    void* fake = nullptr;
    leaving(state == DONE ? nullptr : &fake, block->scheduler_stack, block->scheduler_size);
    swapcontext(&me->context, &block->scheduler);
    arrived(fake, nullptr, nullptr);
    locate(me->linear);
}
inline void to_fiber(Fiber* fiber) {
    block->current = fiber;
    locate(fiber->linear);
    leaving(&block->scheduler_fake_stack, fiber->stack.get(), STACK);
    swapcontext(&block->scheduler, &fiber->context);
    arrived(block->scheduler_fake_stack, nullptr, nullptr);
}
inline void fiber_main() {
    arrived(nullptr, &block->scheduler_stack, &block->scheduler_size);
    block->body(block->argument);
    for (const auto& group : block->current->copies)
        if (!group.empty()) fail("a thread has returned before its asynchronous copies were waited for");
    to_scheduler(DONE);
    std::abort();
}
inline void prepare(Fiber& fiber, unsigned linear) {
    if (!fiber.stack) fiber.stack.reset(new char[STACK]);
    fiber.state = READY;
    fiber.linear = linear;
    fiber.copies.clear();
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
}
// 0 ascending, 1 descending, more: a permutation drawn from that seed.
inline std::vector<unsigned> order_of(unsigned count, unsigned order) {
    std::vector<unsigned> ids(count);
    for (unsigned i = 0; i < count; ++i) ids[i] = order == 1 ? count - 1 - i : i;
    uint64_t z = order;
    for (unsigned i = count; order > 1 && i > 1; --i) {
        z = z * 6364136223846793005ull + 1442695040888963407ull;
        std::swap(ids[i - 1], ids[(z >> 33) % i]);
    }
    return ids;
}
// A warp collective is complete when every lane of its mask waits in it.
inline bool release_collective(unsigned first, unsigned end) {
    unsigned waiting = 0, mask = 0;
    for (unsigned i = first; i < end; ++i)
        if (block->fibers[i]->state == AT_COLLECTIVE) {
            waiting |= 1u << (i - first);
            mask = block->fibers[i]->mask;
        }
    if (end - first < 32) mask &= (1u << (end - first)) - 1u;
    if (!waiting || (waiting & mask) != mask) return false;
    for (unsigned i = first; i < end; ++i)
        if (mask >> (i - first) & 1u) block->fibers[i]->state = READY;
    return true;
}
inline bool run_warp(unsigned warp, unsigned threads, const std::vector<unsigned>& lanes) {
    const unsigned first = warp * 32, end = std::min(first + 32, threads);
    bool ran = false;
    do {
        for (unsigned lane : lanes) {
            if (first + lane >= end || block->fibers[first + lane]->state != READY) continue;
            ran = true;
            to_fiber(block->fibers[first + lane].get());
        }
    } while (release_collective(first, end));
    return ran;
}
inline void run_block(unsigned threads, void (*body)(void*), void* argument, unsigned order) {
    static thread_local Block state;
    block = &state;
    state.body = body;
    state.argument = argument;
    while (state.fibers.size() < threads) state.fibers.push_back(std::make_unique<Fiber>());
    for (unsigned i = 0; i < threads; ++i) prepare(*state.fibers[i], i);
    const std::vector<unsigned> warps = order_of((threads + 31) / 32, order), lanes = order_of(32, order);
    for (;;) {
        bool ran = false;
        for (unsigned warp : warps) ran |= run_warp(warp, threads, lanes);
        unsigned done = 0, waiting = 0;
        for (unsigned i = 0; i < threads; ++i) {
            done += state.fibers[i]->state == DONE;
            waiting += state.fibers[i]->state == AT_BARRIER;
        }
        if (done == threads) return;
        if (waiting == threads) {
            for (unsigned i = 0; i < threads; ++i) state.fibers[i]->state = READY;
        } else if (waiting && waiting + done == threads) {
            fail("__syncthreads is waited for by some threads while others have returned");
        } else if (!ran) {
            fail("deadlock: a barrier or a warp collective is not reached by all its threads");
        }
    }
}
// Shows `value` to the warp and reads lane `source`; the own value where that lane is out of reach.
template <class A> inline A exchange(unsigned mask, A value, int source, bool reachable) {
    static_assert(sizeof(A) <= 8, "one word a lane");
    Fiber* me = block->current;
    me->mask = mask;
    me->word = 0;
    std::memcpy(&me->word, &value, sizeof(A));
    to_scheduler(AT_COLLECTIVE);  // all lanes have shown
    A result = value;
    const unsigned lane = (me->linear & ~31u) + (unsigned)source;
    if (reachable) std::memcpy(&result, &block->fibers[lane]->word, sizeof(A));
    me->mask = mask;
    to_scheduler(AT_COLLECTIVE);  // all lanes have read
    return result;
}
// One mma.m16n8k32: words a[4], b[2] of every lane are shown to the warp, each lane adds up its four sums.
// Lane 4 g + t holds, four bytes a word: a[0] row g, a[1] row g + 8, k from 4 t; a[2], a[3] the same rows, k from
// 16 + 4 t; b[0], b[1] column g, k from 4 t and 16 + 4 t; c[0], c[1] row g, c[2], c[3] row g + 8, columns 2 t, 2 t + 1.
struct Fragments { uint32_t a[4], b[2]; };
template <class A, class B> inline void mma(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    const Fragments mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    const Fragments* shown = &mine;
    Fiber* me = block->current;
    me->mask = 0xffffffffu;
    std::memcpy(&me->word, &shown, sizeof(shown));
    to_scheduler(AT_COLLECTIVE);
    const unsigned first = me->linear & ~31u, g = (me->linear & 31u) >> 2, t = me->linear & 3u;
    const auto lane = [&](unsigned index) {
        const Fragments* other;
        std::memcpy(&other, &block->fibers[first + index]->word, sizeof(other));
        return other;
    };
    for (unsigned element = 0; element < 4; ++element)
        for (unsigned k = 0; k < 32; ++k) {
            const unsigned column = 2 * t + (element & 1), from = k % 16 / 4, shift = 8 * (k % 4);
            const uint32_t left = lane(4 * g + from)->a[element / 2 + 2 * (k / 16)];
            const uint32_t right = lane(4 * column + from)->b[k / 16];
            c[element] += (int32_t)(A)(left >> shift) * (int32_t)(B)(right >> shift);
        }
    me->mask = 0xffffffffu;
    to_scheduler(AT_COLLECTIVE);
}
// ldmatrix, four matrices of 8 rows x 16 bytes: lane l shows row l % 8 of matrix l / 8 and gets of every matrix the
// four bytes from 4 t on of row g.
inline void load_matrices(uint32_t (&words)[4], const void* row) {
    Fiber* me = block->current;
    me->mask = 0xffffffffu;
    std::memcpy(&me->word, &row, sizeof(row));
    to_scheduler(AT_COLLECTIVE);
    const unsigned first = me->linear & ~31u, g = (me->linear & 31u) >> 2, t = me->linear & 3u;
    for (unsigned i = 0; i < 4; ++i) {
        const char* shown;
        std::memcpy(&shown, &block->fibers[first + 8 * i + g]->word, sizeof(shown));
        std::memcpy(&words[i], shown + 4 * t, 4);
    }
    me->mask = 0xffffffffu;
    to_scheduler(AT_COLLECTIVE);
}
// 16 bytes, zeros where there are none; they land when the thread waits for their group. cp.async wants both addresses
// to be multiples of 16.
inline void copy_async(void* to, const void* from, bool there) {
    if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16)
        fail("an asynchronous copy begins at an address that is not a multiple of 16");
    auto& groups = block->current->copies;
    if (groups.empty()) groups.emplace_back();
    groups.back().push_back({to, there ? from : nullptr});
}
inline void close_group() {
    auto& groups = block->current->copies;
    if (groups.empty()) groups.emplace_back();
    groups.emplace_back();
}
inline void wait_copies(size_t pending) {
    auto& groups = block->current->copies;
    while (groups.size() > pending + 1) {
        for (const Copy& copy : groups.front())
            copy.from ? (void)std::memcpy(copy.to, copy.from, 16) : (void)std::memset(copy.to, 0, 16);
        groups.erase(groups.begin());
    }
}
inline int lane_id() { return (int)(block->current->linear & 31u); }

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<A>*>(arguments[I])...);
}
struct Order {
    unsigned threads;      // order of warps and lanes
    unsigned first_block;  // part of the x grid to run, for grids too large to run whole
    unsigned end_block;
    unsigned fibers;       // whether threads wait for each other
};
template <class... A>
void launch(void (*kernel)(A...), const unsigned* grid, const unsigned* threads, void** arguments, const Order* how) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads[0], threads[1], threads[2]};
    struct Call { void (*kernel)(A...); void** arguments; } call_of{kernel, arguments};
    const auto body = [](void* p) {
        const Call* c = static_cast<Call*>(p);
        call(c->kernel, c->arguments, std::index_sequence_for<A...>{});
    };
    const unsigned count = threads[0] * threads[1] * threads[2];
    for (unsigned z = 0; z < grid[2]; ++z)
        for (unsigned y = 0; y < grid[1]; ++y)
            for (unsigned x = how->first_block; x < std::min(grid[0], how->end_block); ++x) {
                blockIdx = {x, y, z};
                if (how->fibers) {
                    run_block(count, body, &call_of, how->threads);
                    continue;
                }
                for (unsigned i : order_of(count, how->threads)) {
                    locate(i);
                    body(&call_of);
                }
            }
}

}  // namespace cpu

inline void __syncthreads() { cpu::to_scheduler(cpu::AT_BARRIER); }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
    cpu::block->current->mask = mask;
    cpu::to_scheduler(cpu::AT_COLLECTIVE);
}
template <class A> inline A __shfl_sync(unsigned mask, A value, int source) {
    return cpu::exchange(mask, value, source & 31, true);
}
template <class A> inline A __shfl_down_sync(unsigned mask, A value, unsigned distance) {
    const int source = cpu::lane_id() + (int)distance;
    return cpu::exchange(mask, value, source, source < 32);
}
