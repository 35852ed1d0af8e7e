// How numbers lie in memory: 16-bit floats without cuda_fp16.h, and groups of V elements moved at once.
namespace spk {

struct f16 { u16 word; };
struct bf16 { u16 word; };

template <class A> SPK_INLINE f32 load(A a) { return (f32)a; }  // integers up to 2^24 in size, and f32
template <> SPK_INLINE f32 load<f16>(f16 a) {
#ifdef SPK_EMULATION
    _Float16 h;
    std::memcpy(&h, &a.word, 2);
    return (f32)h;
#else
    f32 r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(a.word));
    return r;
#endif
}
template <> SPK_INLINE f32 load<bf16>(bf16 a) { return float_of((u32)a.word << 16); }

template <class A> SPK_INLINE A store(f32 a) { return (A)a; }
template <> SPK_INLINE f16 store<f16>(f32 a) {
    f16 r;
#ifdef SPK_EMULATION
    const _Float16 h = (_Float16)a;
    std::memcpy(&r.word, &h, 2);
#else
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r.word) : "f"(a));
#endif
    return r;
}
template <> SPK_INLINE bf16 store<bf16>(f32 a) {  // to nearest even; sm_75 has no instruction for it
    bf16 r;
    const u32 b = bits_of(a);
    r.word = is_nan(a) ? (u16)0x7fc0 : (u16)((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
    return r;
}
// A float code as an integer; NaN has no code and becomes 0, which the caller learns from its NaN flag.
template <class P> SPK_INLINE P code_word(f32 code) { return is_nan(code) ? (P)0 : (P)whole_number(code); }

// V neighbours in memory, moved by accesses of at most 16 bytes.
template <class A, int V> struct alignas(sizeof(A) * V < 16 ? sizeof(A) * V : 16) Group { A at[V]; };
template <int V, class A> SPK_INLINE Group<A, V> read(const A* p) {
    return *reinterpret_cast<const Group<A, V>*>(p);
}
template <int V, class A> SPK_INLINE void write(A* p, const Group<A, V>& group) {
    *reinterpret_cast<Group<A, V>*>(p) = group;
}

// Where the threshold of element i comes from: one for all; one for the V elements of a group (channels
// whose elements lie together, in runs of `inner`); or one for each element (channels last).
enum { TENSOR = 0, CHANNEL = 1, LAST = 2 };
template <class I> struct Channels { u32 count; I inner; };
template <class I> SPK_INLINE u32 channel_of(I i, const Channels<I>& c) {
    return (u32)((i / c.inner) % (I)c.count);
}
template <int MODE, int V, class A, class I>
SPK_INLINE void per_channel(const A* values, I i, const Channels<I>& c, A (&out)[V]) {
    if (MODE == LAST && V > 1) {
        const Group<A, V> group = read<V>(values + channel_of(i, c));
#pragma unroll
        for (int k = 0; k < V; ++k) out[k] = group.at[k];
    } else {
        const A value = values[MODE == TENSOR ? 0u : channel_of(i, c)];
#pragma unroll
        for (int k = 0; k < V; ++k) out[k] = value;
    }
}

// First element of this thread's group.
template <class I, int V> SPK_INLINE I first_element() {
    return ((I)blockIdx.x * blockDim.x + threadIdx.x) * V;
}

}  // namespace spk
