// Packed fire: membranes U of W windows to codes and values, in one pass over memory however large T is.
namespace spk {

template <class C, class X, class P, class Y, int AMPLITUDE, bool SIGNED, int LEAK, int MODE, int V, class I>
SPK_INLINE void fire_group(const X* u, P* codes, Y* values, f32* start, const Launch<I>& a, I i) {
    f32 theta[V], lsb[V], carry[V];
    per_channel<MODE, V>(a.theta, i, a.channels, theta);
#pragma unroll
    for (int k = 0; k < V; ++k) {
        lsb[k] = MODE == LAST || k == 0 ? least_significant<C>(theta[k]) : lsb[0];
        carry[k] = LEAK != INDEPENDENT && a.carry_in ? a.carry_in[i + k] : 0.0f;
    }
    bool nan = false;
    for (u32 w = 0; w < (LEAK == INDEPENDENT ? 1u : a.windows); ++w) {
        const I at = (I)w * a.n + i;
        const Group<X, V> in = read<V>(u + at);
        Group<P, V> words;
        Group<Y, V> outs;
        Group<f32, V> starts;
#pragma unroll
        for (int k = 0; k < V; ++k) {
            const f32 v0 = carry_start<LEAK>(load(in.at[k]), a.leak, carry[k], w > 0u || a.carry_in);
            const f32 code = encode<C, SIGNED>(v0, lsb[k], a.half);
            starts.at[k] = v0;
            words.at[k] = code_word<P>(code);
            if (AMPLITUDE != NO_VALUE) outs.at[k] = store<Y>(value_of<C>(code, theta[k], AMPLITUDE));
            if (LEAK != INDEPENDENT)
                carry[k] = clip(unclamped_carry<C, LEAK>(v0, theta[k], code), -theta[k], theta[k]);
            nan |= is_nan(code);
        }
        if (codes) write<V>(codes + at, words);
        if (AMPLITUDE != NO_VALUE) write<V>(values + at, outs);
        if (start) write<V>(start + at, starts);
    }
    if (LEAK != INDEPENDENT && a.carry_out)
#pragma unroll
        for (int k = 0; k < V; ++k) a.carry_out[i + k] = carry[k];
    if (nan && a.nan_seen) *a.nan_seen = 1u;
}

template <class C, class X, class P, class Y, int AMPLITUDE, bool SIGNED, int LEAK, int MODE, int V, class I>
SPK_INLINE void fire(const X* u, const f32* theta, P* codes, Y* values, f32* start, const f32* carry_in,
                     f32* carry_out, u32* nan_seen, I n, u32 windows, u32 channels, I inner, f32 half, f32 leak) {
    const Launch<I> a = {theta, carry_in, carry_out, nan_seen, n, windows, {channels, inner}, half, leak};
    I i = first_element<I, V>();
    if (i >= n) return;
    if (V == 1 || i + V <= n)
        fire_group<C, X, P, Y, AMPLITUDE, SIGNED, LEAK, MODE, V, I>(u, codes, values, start, a, i);
    else
        for (; i < n; ++i) fire_group<C, X, P, Y, AMPLITUDE, SIGNED, LEAK, MODE, 1, I>(u, codes, values, start, a, i);
}

}  // namespace spk
