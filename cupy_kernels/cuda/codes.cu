// Digits to codes, codes to digits and to decoded values. T = steps at run time: these only move memory.
namespace spk {

// digits[T, n], most significant first, to codes[n]. A value that is no digit raises the flag.
template <class D, class P, bool SIGNED, int V, class I>
SPK_INLINE void pack_group(const D* digits, P* codes, u32* invalid, I n, u32 steps, I i) {
    i32 word[V];
    bool wrong = false;
#pragma unroll
    for (int k = 0; k < V; ++k) word[k] = 0;
    for (u32 t = 0; t < steps; ++t) {
        const Group<D, V> in = read<V>(digits + (I)t * n + i);
#pragma unroll
        for (int k = 0; k < V; ++k) {
            const f32 d = load(in.at[k]);
            const i32 value = d == 1.0f ? 1 : SIGNED && d == -1.0f ? -1 : 0;
            wrong |= d != (f32)value;
            word[k] = 2 * word[k] + value;
        }
    }
    Group<P, V> out;
#pragma unroll
    for (int k = 0; k < V; ++k) out.at[k] = (P)word[k];
    write<V>(codes + i, out);
    if (wrong && invalid) *invalid = 1u;
}
template <class D, class P, bool SIGNED, int V, class I>
SPK_INLINE void pack(const D* digits, P* codes, u32* invalid, I n, u32 steps) {
    I i = first_element<I, V>();
    if (i >= n) return;
    if (V == 1 || i + V <= n) pack_group<D, P, SIGNED, V, I>(digits, codes, invalid, n, steps, i);
    else for (; i < n; ++i) pack_group<D, P, SIGNED, 1, I>(digits, codes, invalid, n, steps, i);
}

// codes[n] to digits[T, n]; a code of more than T digits raises the flag.
template <class P, class D, int V, class I>
SPK_INLINE void unpack_group(const P* codes, D* digits, u32* invalid, I n, u32 steps, I i) {
    const Group<P, V> in = read<V>(codes + i);
    bool wrong = false;
    for (u32 t = 0; t < steps; ++t) {
        Group<D, V> out;
#pragma unroll
        for (int k = 0; k < V; ++k) {
            const i32 code = (i32)in.at[k], size = code < 0 ? -code : code;
            const i32 bit = (size >> (steps - 1u - t)) & 1;
            out.at[k] = store<D>((f32)(code < 0 ? -bit : bit));
            wrong |= (size >> steps) != 0;
        }
        write<V>(digits + (I)t * n + i, out);
    }
    if (wrong && invalid) *invalid = 1u;
}
template <class P, class D, int V, class I>
SPK_INLINE void unpack(const P* codes, D* digits, u32* invalid, I n, u32 steps) {
    I i = first_element<I, V>();
    if (i >= n) return;
    if (V == 1 || i + V <= n) unpack_group<P, D, V, I>(codes, digits, invalid, n, steps, i);
    else for (; i < n; ++i) unpack_group<P, D, 1, I>(codes, digits, invalid, n, steps, i);
}

// codes[n] to decoded values[n].
template <class C, class P, class Y, int V, class I>
SPK_INLINE void decode_group(const P* codes, Y* values, u32* invalid, I i) {
    const Group<P, V> in = read<V>(codes + i);
    Group<Y, V> out;
    bool wrong = false;
#pragma unroll
    for (int k = 0; k < V; ++k) {
        const i32 code = (i32)in.at[k], size = code < 0 ? -code : code;
        out.at[k] = store<Y>(decode<C>((f32)code));
        wrong |= (size >> C::T) != 0;
    }
    write<V>(values + i, out);
    if (wrong && invalid) *invalid = 1u;
}
template <class C, class P, class Y, int V, class I>
SPK_INLINE void decode_codes(const P* codes, Y* values, u32* invalid, I n) {
    I i = first_element<I, V>();
    if (i >= n) return;
    if (V == 1 || i + V <= n) decode_group<C, P, Y, V, I>(codes, values, invalid, i);
    else for (; i < n; ++i) decode_group<C, P, Y, 1, I>(codes, values, invalid, i);
}

}  // namespace spk
