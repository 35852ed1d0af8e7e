// Packed fire: membranes U of W windows to codes and values, in one pass over memory however large T is.
namespace spk {

// Groups of a thread where windows are independent: loads of all are under way before the first is used, and the
// constants of one threshold serve all.
enum { TURNS = 4 };

template <class C, class X, class P, class Y, int AMPLITUDE, bool SIGNED, int MODE, int V> struct Fired {
    Group<P, V> words;
    Group<Y, V> outs;
    bool nan;
    // Codes and values of membranes that start at v0.
    SPK_INLINE Fired(const f32 (&v0)[V], const f32 (&theta)[V], const Level (&level)[V], f32 half, f32 (&code)[V])
        : nan(false) {
#pragma unroll
        for (int k = 0; k < V; ++k) {
            code[k] = encode<C, SIGNED>(v0[k], level[k], half);
            words.at[k] = code_word<P>(code[k]);
            if (AMPLITUDE != NO_VALUE) outs.at[k] = store<Y>(value_of<C>(code[k], theta[k], AMPLITUDE));
            nan |= is_nan(code[k]);
        }
    }
};

template <class C, class I, int MODE, int V> struct Thresholds {
    f32 theta[V];
    Level level[V];
    SPK_INLINE Thresholds(const Launch<I>& a, I i) {
        per_channel<MODE, V>(a.theta, i, a.channels, theta);
#pragma unroll
        for (int k = 0; k < V; ++k) level[k] = MODE == LAST || k == 0 ? least_significant<C>(theta[k]) : level[0];
    }
};

// One group whose membranes have been read; of windows that do not depend on each other.
template <class C, class X, class P, class Y, int AMPLITUDE, bool SIGNED, int MODE, int V, class I>
SPK_INLINE bool fire_read(const Group<X, V>& in, const Thresholds<C, I, MODE, V>& t, P* codes, Y* values, f32* start,
                          f32 half, I at) {
    f32 v0[V], code[V];
#pragma unroll
    for (int k = 0; k < V; ++k) v0[k] = load(in.at[k]);
    const Fired<C, X, P, Y, AMPLITUDE, SIGNED, MODE, V> fired(v0, t.theta, t.level, half, code);
    if (codes) write<V>(codes + at, fired.words);
    if (AMPLITUDE != NO_VALUE) write<V>(values + at, fired.outs);
    if (start) {
        Group<f32, V> starts;
#pragma unroll
        for (int k = 0; k < V; ++k) starts.at[k] = v0[k];
        write<V>(start + at, starts);
    }
    return fired.nan;
}

// One group through all windows, the carry in registers.
template <class C, class X, class P, class Y, int AMPLITUDE, bool SIGNED, int LEAK, int MODE, int V, class I>
SPK_INLINE bool fire_group(const X* u, P* codes, Y* values, f32* start, const Launch<I>& a, I i) {
    const Thresholds<C, I, MODE, V> t(a, i);
    if (LEAK == INDEPENDENT)
        return fire_read<C, X, P, Y, AMPLITUDE, SIGNED, MODE, V, I>(read<V>(u + i), t, codes, values, start, a.half, i);
    f32 carry[V];
#pragma unroll
    for (int k = 0; k < V; ++k) carry[k] = a.carry_in ? a.carry_in[i + k] : 0.0f;
    bool nan = false;
    for (u32 w = 0; w < a.windows; ++w) {
        const I at = (I)w * a.n + i;
        const Group<X, V> in = read<V>(u + at);
        Group<f32, V> starts;
        f32 code[V];
#pragma unroll
        for (int k = 0; k < V; ++k)
            starts.at[k] = carry_start<LEAK>(load(in.at[k]), a.leak, carry[k], w > 0u || a.carry_in);
        const Fired<C, X, P, Y, AMPLITUDE, SIGNED, MODE, V> fired(starts.at, t.theta, t.level, a.half, code);
#pragma unroll
        for (int k = 0; k < V; ++k)
            carry[k] = clip(unclamped_carry<C, LEAK>(starts.at[k], t.theta[k], code[k]), -t.theta[k], t.theta[k]);
        if (codes) write<V>(codes + at, fired.words);
        if (AMPLITUDE != NO_VALUE) write<V>(values + at, fired.outs);
        if (start) write<V>(start + at, starts);
        nan |= fired.nan;
    }
    if (a.carry_out)
#pragma unroll
        for (int k = 0; k < V; ++k) a.carry_out[i + k] = carry[k];
    return nan;
}

template <class C, class X, class P, class Y, int AMPLITUDE, bool SIGNED, int LEAK, int MODE, int V, class I>
SPK_INLINE void fire(const X* u, const f32* theta, P* codes, Y* values, f32* start, const f32* carry_in,
                     f32* carry_out, u32* nan_seen, I n, u32 windows, u32 channels, I inner, f32 half, f32 leak) {
    const Launch<I> a = {theta, carry_in, carry_out, nan_seen, n, windows, {channels, inner}, half, leak};
    const I step = (I)blockDim.x * V, base = (I)blockIdx.x * TURNS * step, first = base + (I)threadIdx.x * V;
    bool nan = false;
    if (LEAK == INDEPENDENT && MODE == TENSOR && base + TURNS * step <= n) {
        Group<X, V> in[TURNS];
#pragma unroll
        for (int turn = 0; turn < TURNS; ++turn) in[turn] = read<V>(u + first + turn * step);
        const Thresholds<C, I, MODE, V> t(a, first);
#pragma unroll
        for (int turn = 0; turn < TURNS; ++turn)
            nan |= fire_read<C, X, P, Y, AMPLITUDE, SIGNED, MODE, V, I>(in[turn], t, codes, values, start, half,
                                                                       first + turn * step);
    } else {
#pragma unroll 1
        for (int turn = 0; turn < TURNS; ++turn) {
            I i = first + turn * step;
            if (V == 1 || i + V <= n) {
                if (i < n) nan |= fire_group<C, X, P, Y, AMPLITUDE, SIGNED, LEAK, MODE, V, I>(u, codes, values, start, a, i);
            } else {
                for (; i < n; ++i)
                    nan |= fire_group<C, X, P, Y, AMPLITUDE, SIGNED, LEAK, MODE, 1, I>(u, codes, values, start, a, i);
            }
        }
    }
    if (nan && nan_seen) *nan_seen = 1u;
}

}  // namespace spk
