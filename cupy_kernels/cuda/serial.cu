// Serial windows: T input currents x[W, T, n] to the T spikes of the same window, its code or its value.
namespace spk {

// Horner's rule in the order of the time steps, then one division by the sum of the weights.
template <class C, class X, int V, class I> SPK_INLINE void charge(const X* x, I n, f32 (&potential)[V]) {
#pragma unroll
    for (int t = 0; t < C::T; ++t) {
        const Group<X, V> in = read<V>(x + (I)t * n);
#pragma unroll
        for (int k = 0; k < V; ++k)
            potential[k] = t == 0 ? load(in.at[k]) : add(mul(C::TAU, potential[k]), load(in.at[k]));
    }
#pragma unroll
    for (int k = 0; k < V; ++k) potential[k] = div(potential[k], C::SUM);
}

template <class C, class X, bool SIGNED, int V, class I>
SPK_INLINE void emit(X* spikes, I n, const f32 (&code)[V]) {
#pragma unroll
    for (int t = 0; t < C::T; ++t) {
        Group<X, V> out;
#pragma unroll
        for (int k = 0; k < V; ++k) out.at[k] = store<X>(digit<C, SIGNED>(code[k], t));
        write<V>(spikes + (I)t * n, out);
    }
}

template <class C, class X, class P, bool SIGNED, int LEAK, int MODE, int V, class I>
SPK_INLINE void serial_group(const X* x, X* spikes, P* codes, X* values, f32* start, int amplitude,
                             const Launch<I>& a, I i) {
    f32 theta[V], carry[V];
    per_channel<MODE, V>(a.theta, i, a.channels, theta);
#pragma unroll
    for (int k = 0; k < V; ++k) carry[k] = LEAK != INDEPENDENT && a.carry_in ? a.carry_in[i + k] : 0.0f;
    bool nan = false;
    // With a carry one thread walks through all windows of its elements; without, blocks share them.
    for (u32 w = blockIdx.y; w < a.windows; w += gridDim.y) {
        f32 v0[V], code[V];
        charge<C, X, V, I>(x + (I)w * C::T * a.n + i, a.n, v0);
        Group<P, V> words;
        Group<X, V> outs;
        Group<f32, V> starts;
#pragma unroll
        for (int k = 0; k < V; ++k) {
            v0[k] = carry_start<LEAK>(v0[k], a.leak, carry[k], w > 0u || a.carry_in);
            code[k] = encode<C, SIGNED>(v0[k], level_of_one<C>(theta[k]), a.half);
            starts.at[k] = v0[k];
            words.at[k] = code_word<P>(code[k]);
            if (values) outs.at[k] = store<X>(value_of<C>(code[k], theta[k], amplitude));
            if (LEAK != INDEPENDENT)
                carry[k] = clip(unclamped_carry<C, LEAK>(v0[k], theta[k], code[k]), -theta[k], theta[k]);
            nan |= is_nan(code[k]);
        }
        const I at = (I)w * a.n + i;
        if (codes) write<V>(codes + at, words);
        if (values) write<V>(values + at, outs);
        if (start) write<V>(start + at, starts);
        if (spikes) emit<C, X, SIGNED, V, I>(spikes + (I)w * C::T * a.n + i, a.n, code);
    }
    if (LEAK != INDEPENDENT && a.carry_out)
#pragma unroll
        for (int k = 0; k < V; ++k) a.carry_out[i + k] = carry[k];
    if (nan && a.nan_seen) *a.nan_seen = 1u;
}

template <class C, class X, class P, bool SIGNED, int LEAK, int MODE, int V, class I>
SPK_INLINE void serial(const X* x, const f32* theta, X* spikes, P* codes, X* values, f32* start,
                       const f32* carry_in, f32* carry_out, u32* nan_seen, I n, u32 windows, u32 channels, I inner,
                       f32 half, f32 leak, i32 amplitude) {
    const Launch<I> a = {theta, carry_in, carry_out, nan_seen, n, windows, {channels, inner}, half, leak};
    I i = first_element<I, V>();
    if (i >= n) return;
    if (V == 1 || i + V <= n)
        serial_group<C, X, P, SIGNED, LEAK, MODE, V, I>(x, spikes, codes, values, start, amplitude, a, i);
    else
        for (; i < n; ++i)
            serial_group<C, X, P, SIGNED, LEAK, MODE, 1, I>(x, spikes, codes, values, start, amplitude, a, i);
}

}  // namespace spk
