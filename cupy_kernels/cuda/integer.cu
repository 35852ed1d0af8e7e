// Integer fire: accumulators of integer weights and codes to codes, without a scale anywhere.
namespace spk {

// P = clamp(floor((V + b + floor(theta / 2)) / theta), 0, 2^T - 1); SIGNED: on |V + b|, with its sign.
// The sum is wider than its terms, so no intermediate value wraps.
template <bool SIGNED> SPK_INLINE i32 integer_code(i32 membrane, i32 bias, i32 theta, u32 half, u32 max_code) {
    const i64 start = (i64)membrane + bias;
    const i64 size = (SIGNED && start < 0 ? -start : start) + (half ? theta / 2 : 0);
    if (size < 0) return 0;
    const i64 limit = (i64)theta * max_code;
    i32 code = (i32)max_code;
    if (size < limit) code = size >> 32 ? (i32)(size / theta) : (i32)((u32)size / (u32)theta);
    return SIGNED && start < 0 ? -code : code;
}

template <class P, bool SIGNED, int MODE, int V, class I>
SPK_INLINE void integer_group(const i32* membrane, const i32* bias, const i32* theta, P* codes,
                              const Channels<I>& c, u32 half, u32 max_code, I i) {
    i32 th[V], b[V];
    per_channel<MODE, V>(theta, i, c, th);
#pragma unroll
    for (int k = 0; k < V; ++k) b[k] = 0;
    if (bias) per_channel<MODE, V>(bias, i, c, b);
    const Group<i32, V> in = read<V>(membrane + i);
    Group<P, V> out;
#pragma unroll
    for (int k = 0; k < V; ++k) out.at[k] = (P)integer_code<SIGNED>(in.at[k], b[k], th[k], half, max_code);
    write<V>(codes + i, out);
}

template <class P, bool SIGNED, int MODE, int V, class I>
SPK_INLINE void integer_fire(const i32* membrane, const i32* bias, const i32* theta, P* codes, I n, u32 channels,
                             I inner, u32 half, u32 max_code) {
    const Channels<I> c = {channels, inner};
    I i = first_element<I, V>();
    if (i >= n) return;
    if (V == 1 || i + V <= n)
        integer_group<P, SIGNED, MODE, V, I>(membrane, bias, theta, codes, c, half, max_code, i);
    else
        for (; i < n; ++i) integer_group<P, SIGNED, MODE, 1, I>(membrane, bias, theta, codes, c, half, max_code, i);
}

}  // namespace spk
