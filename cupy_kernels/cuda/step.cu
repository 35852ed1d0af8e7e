// One time step of the pipelined form: charge window w, emit digit `phase` of window w - 1.
namespace spk {

// State between two steps. Inputs and outputs may be the same arrays; absent ones are null: no accumulator at
// phase 0, no code and start before the first window is charged, no new code and start before its last step.
template <class I> struct StepState {
    const f32* accumulator;
    const f32* code;
    const f32* start;
    f32* accumulator_out;
    f32* code_out;
    f32* start_out;
    u32 phase;
};
template <int V> SPK_INLINE Group<f32, V> read_or_zero(const f32* p) {
    Group<f32, V> zero;
#pragma unroll
    for (int k = 0; k < V; ++k) zero.at[k] = 0.0f;
    return p ? read<V>(p) : zero;
}
template <class A, class I> SPK_INLINE A* shifted(A* p, I i) { return p ? p + i : nullptr; }

template <class C, class X, bool SIGNED, int LEAK, int MODE, int V, class I>
SPK_INLINE void step_group(const X* x, X* spikes, f32* v, const StepState<I>& s, const Launch<I>& a, I i) {
    f32 theta[V];
    per_channel<MODE, V>(a.theta, i, a.channels, theta);
    const int phase = (int)s.phase;
    const Group<X, V> in = read<V>(x + i);
    const Group<f32, V> pending = read_or_zero<V>(shifted(s.code, i));
    Group<X, V> digits;
#pragma unroll
    for (int k = 0; k < V; ++k) digits.at[k] = store<X>(digit<C, SIGNED>(pending.at[k], phase));
    write<V>(spikes + i, digits);
    if (v) {
        const Group<f32, V> from = read_or_zero<V>(shifted(s.start, i));
        Group<f32, V> left;
#pragma unroll
        for (int k = 0; k < V; ++k)
            left.at[k] = s.code ? residual(from.at[k], theta[k], decode<C>(emitted<C, SIGNED>(pending.at[k], phase)))
                                : 0.0f;
        write<V>(v + i, left);
    }
    Group<f32, V> total = read_or_zero<V>(shifted(s.accumulator, i));
#pragma unroll
    for (int k = 0; k < V; ++k)
        total.at[k] = s.accumulator ? add(mul(C::TAU, total.at[k]), load(in.at[k])) : load(in.at[k]);
    if (phase + 1 < C::T) {
        write<V>(s.accumulator_out + i, total);
        return;
    }
    Group<f32, V> carry = read_or_zero<V>(LEAK != INDEPENDENT ? shifted(a.carry_in, i) : nullptr), word;
#pragma unroll
    for (int k = 0; k < V; ++k) {
        total.at[k] = carry_start<LEAK>(div(total.at[k], C::SUM), a.leak, carry.at[k], a.carry_in);
        word.at[k] = encode<C, SIGNED>(total.at[k], level_of_one<C>(theta[k]), a.half);
        if (LEAK != INDEPENDENT)
            carry.at[k] = clip(unclamped_carry<C, LEAK>(total.at[k], theta[k], word.at[k]), -theta[k], theta[k]);
    }
    write<V>(s.start_out + i, total);
    write<V>(s.code_out + i, word);
    if (LEAK != INDEPENDENT && a.carry_out) write<V>(a.carry_out + i, carry);
}

template <class C, class X, bool SIGNED, int LEAK, int MODE, int V, class I>
SPK_INLINE void step(const X* x, const f32* theta, X* spikes, f32* v, const f32* accumulator, const f32* code,
                     const f32* start, f32* accumulator_out, f32* code_out, f32* start_out, const f32* carry_in,
                     f32* carry_out, I n, u32 channels, I inner, f32 half, f32 leak, u32 phase) {
    const Launch<I> a = {theta, carry_in, carry_out, nullptr, n, 1u, {channels, inner}, half, leak};
    const StepState<I> s = {accumulator, code, start, accumulator_out, code_out, start_out, phase};
    I i = first_element<I, V>();
    if (i >= n) return;
    if (V == 1 || i + V <= n) step_group<C, X, SIGNED, LEAK, MODE, V, I>(x, spikes, v, s, a, i);
    else
        for (; i < n; ++i) step_group<C, X, SIGNED, LEAK, MODE == LAST ? CHANNEL : MODE, 1, I>(x, spikes, v, s, a, i);
}

}  // namespace spk
