// Straight-through gradients: the second writing of spikejelly_pack/spec/gradients.py.
//
// The gradient of the threshold is summed in two fixed stages, per block and then over blocks: no atomics,
// so the same sum in every run.
namespace spk {

template <class C, bool SIGNED> struct Window {  // one membrane against its threshold
    f32 start, theta, decoded, inside, ratio, above;
    SPK_INLINE Window(f32 v0, f32 threshold, f32 half) : start(v0), theta(threshold) {
        inside = ge(v0, SIGNED ? -theta : 0.0f) && ge(theta, v0) ? 1.0f : 0.0f;
        decoded = decode<C>(encode<C, SIGNED>(v0, level_of_one<C>(theta), half));
        ratio = div(clip(v0, -theta, theta), theta);
        above = greater(v0, theta) ? 1.0f : SIGNED && greater(-theta, v0) ? -1.0f : 0.0f;
    }
    static SPK_INLINE bool greater(f32 a, f32 b) { return !is_nan(a) && !is_nan(b) && !ge(b, a); }
    SPK_INLINE f32 unit_slope() const { return div(mul(-ratio, inside), theta); }
    SPK_INLINE f32 scaled_slope(f32 value) const { return add(mul(sub(value, ratio), inside), above); }
    template <int LEAK> SPK_INLINE f32 unclamped() const {
        return LEAK == MEMBRANE ? start : residual(start, theta, decoded);
    }
    template <int LEAK> SPK_INLINE f32 carry_slope(f32 open) const {
        const bool free = ge(open, -theta) && ge(theta, open);
        return free && (LEAK == MEMBRANE || inside == 0.0f) ? 1.0f : 0.0f;
    }
    template <int LEAK> SPK_INLINE f32 carry_theta_slope(f32 open) const {
        const f32 clamped = greater(open, theta) ? 1.0f : greater(-theta, open) ? -1.0f : 0.0f;
        if (LEAK == MEMBRANE || clamped != 0.0f) return clamped;
        return -scaled_slope(decoded);
    }
};

template <class I> struct Back {
    const f32* theta;
    const f32* grad_carry;   // of r after the last window; null: zero
    f32* grad_carry_in;      // of r before the first
    I n;                     // elements of a window
    u32 windows, channels;
    I inner, outer;          // n = outer * channels * inner
    f32 half, leak;
};

// V elements from i on, through the windows this block owns; adds to the thresholds' gradients.
template <class C, class G, class U, bool SERIAL, bool SCALED, bool SIGNED, int LEAK, bool THETA, int V, class I>
SPK_INLINE void backward_group(const G* grad, const U* start, G* out, const Back<I>& a, I i, const f32 (&theta)[V],
                               f32 (&dtheta)[V]) {
    f32 carried[V];
#pragma unroll
    for (int k = 0; k < V; ++k) carried[k] = LEAK != INDEPENDENT && a.grad_carry ? a.grad_carry[i + k] : 0.0f;
    for (u32 back = blockIdx.z; back < a.windows; back += gridDim.z) {
        const u32 w = a.windows - 1u - back;  // with a carry: from the last window to the first
        const I at = (I)w * a.n + i;
        const I train = SERIAL ? (I)w * C::T * a.n + i : at;
        f32 passed[V];
#pragma unroll
        for (int t = 0; t < (SERIAL ? C::T : 1); ++t) {
            const Group<G, V> in = read<V>(grad + train + (I)t * a.n);
#pragma unroll
            for (int k = 0; k < V; ++k) {
                const f32 g = SERIAL ? mul(load(in.at[k]), C::q(t)) : load(in.at[k]);
                passed[k] = t == 0 ? g : add(passed[k], g);
            }
        }
        const Group<U, V> from = read<V>(start + at);
#pragma unroll
        for (int k = 0; k < V; ++k) {
            const Window<C, SIGNED> s(load(from.at[k]), theta[k], a.half);
            const f32 g = SERIAL ? mul(passed[k], C::DIGIT_GRADIENT) : passed[k];
            passed[k] = SCALED ? mul(g, s.inside) : div(mul(g, s.inside), theta[k]);
            if (THETA) {
                const f32 slope = SCALED ? s.scaled_slope(div(mul(theta[k], s.decoded), theta[k])) : s.unit_slope();
                dtheta[k] = add(dtheta[k], mul(g, slope));
            }
            if (LEAK != INDEPENDENT) {
                const f32 open = s.template unclamped<LEAK>();
                if (THETA)
                    dtheta[k] = add(dtheta[k], mul(carried[k], s.template carry_theta_slope<LEAK>(open)));
                passed[k] = add(passed[k], mul(carried[k], s.template carry_slope<LEAK>(open)));
                carried[k] = mul(passed[k], a.leak);
            }
            if (SERIAL) passed[k] = div(passed[k], C::SUM);
        }
#pragma unroll
        for (int t = 0; t < (SERIAL ? C::T : 1); ++t) {
            Group<G, V> result;
#pragma unroll
            for (int k = 0; k < V; ++k) result.at[k] = store<G>(SERIAL ? mul(passed[k], C::q(t)) : passed[k]);
            write<V>(out + train + (I)t * a.n, result);
        }
    }
    if (LEAK != INDEPENDENT && a.grad_carry_in)
#pragma unroll
        for (int k = 0; k < V; ++k) a.grad_carry_in[i + k] = carried[k];
}

// Threshold without gradient: every group of a window has its thread.
template <class C, class G, class U, bool SERIAL, bool SCALED, bool SIGNED, int LEAK, int MODE, int V, class I>
SPK_INLINE void backward(const G* grad, const U* start, const f32* theta, G* out, const f32* grad_carry,
                         f32* grad_carry_in, I n, u32 windows, u32 channels, I inner, f32 half, f32 leak) {
    const Back<I> a = {theta, grad_carry, grad_carry_in, n, windows, channels, inner, 0, half, leak};
    const Channels<I> c = {channels, inner};
    I i = first_element<I, V>();
    if (i >= n) return;
    if (V == 1 || i + V <= n) {
        f32 th[V], none[V];
        per_channel<MODE, V>(theta, i, c, th);
        backward_group<C, G, U, SERIAL, SCALED, SIGNED, LEAK, false, V, I>(grad, start, out, a, i, th, none);
    } else {
        for (; i < n; ++i) {
            f32 th[1], none[1];
            per_channel<MODE, 1>(theta, i, c, th);
            backward_group<C, G, U, SERIAL, SCALED, SIGNED, LEAK, false, 1, I>(grad, start, out, a, i, th, none);
        }
    }
}

SPK_INLINE f32 warp_sum(f32 value) {
#pragma unroll
    for (int distance = 16; distance > 0; distance >>= 1)
        value = add(value, __shfl_down_sync(0xffffffffu, value, (u32)distance));
    return value;
}
// Sum over the 256 threads of a block; the result is that of thread 0. May be called again at once.
SPK_INLINE f32 block_sum(f32 value) {
    __shared__ f32 warps[8];
    value = warp_sum(value);
    if ((threadIdx.x & 31u) == 0u) warps[threadIdx.x >> 5] = value;
    __syncthreads();
    if (threadIdx.x < 32u) value = warp_sum(threadIdx.x < 8u ? warps[threadIdx.x] : 0.0f);
    __syncthreads();
    return value;
}

// Thresholds of channels whose elements lie in runs of `inner` (one threshold: one run): a block row works on one
// channel. partial[gridDim.z * gridDim.x, channels].
template <class C, class G, class U, bool SERIAL, bool SCALED, bool SIGNED, int LEAK, int V, class I>
SPK_INLINE void backward_runs(const G* grad, const U* start, const f32* theta, G* out, f32* partial,
                              const f32* grad_carry, f32* grad_carry_in, I n, u32 windows, u32 channels, I inner,
                              I outer, f32 half, f32 leak) {
    const Back<I> a = {theta, grad_carry, grad_carry_in, n, windows, channels, inner, outer, half, leak};
    const I groups = inner / V;
    for (u32 c = blockIdx.y; c < channels; c += gridDim.y) {
        f32 th[V], sums[V], sum = 0.0f;
#pragma unroll
        for (int k = 0; k < V; ++k) { th[k] = theta[c]; sums[k] = 0.0f; }
        for (I g = (I)blockIdx.x * blockDim.x + threadIdx.x; g < outer * groups; g += (I)gridDim.x * blockDim.x) {
            const I run = g / groups, i = (run * channels + c) * inner + (g - run * groups) * V;
            backward_group<C, G, U, SERIAL, SCALED, SIGNED, LEAK, true, V, I>(grad, start, out, a, i, th, sums);
        }
#pragma unroll
        for (int k = 0; k < V; ++k) sum = add(sum, sums[k]);
        sum = block_sum(sum);
        if (threadIdx.x == 0u) partial[(I)(blockIdx.z * gridDim.x + blockIdx.x) * channels + c] = sum;
    }
}

// Thresholds of channels last: 32 lanes own V channels each, 8 warps share the rows [outer, channels].
// partial[gridDim.z * gridDim.y, channels].
template <class C, class G, class U, bool SERIAL, bool SCALED, bool SIGNED, int LEAK, int V, class I>
SPK_INLINE void backward_last(const G* grad, const U* start, const f32* theta, G* out, f32* partial,
                              const f32* grad_carry, f32* grad_carry_in, I n, u32 windows, u32 channels, I inner,
                              I outer, f32 half, f32 leak) {
    __shared__ f32 rows[8][32 * V + 1];
    const Back<I> a = {theta, grad_carry, grad_carry_in, n, windows, channels, inner, outer, half, leak};
    const u32 lane = threadIdx.x & 31u, warp = threadIdx.x >> 5;
    const u32 first = (blockIdx.x * 32u + lane) * V;
    f32 th[V], sums[V];
#pragma unroll
    for (int k = 0; k < V; ++k) { th[k] = first + k < channels ? theta[first + k] : 1.0f; sums[k] = 0.0f; }
    if (first < channels)
        for (I row = (I)blockIdx.y * 8 + warp; row < outer; row += (I)gridDim.y * 8)
            backward_group<C, G, U, SERIAL, SCALED, SIGNED, LEAK, true, V, I>(grad, start, out, a,
                                                                              row * channels + first, th, sums);
#pragma unroll
    for (int k = 0; k < V; ++k) rows[warp][lane * V + k] = sums[k];
    __syncthreads();
    if (warp == 0u && first < channels)
#pragma unroll
        for (int k = 0; k < V; ++k) {
            f32 sum = 0.0f;
#pragma unroll
            for (int r = 0; r < 8; ++r) sum = add(sum, rows[r][lane * V + k]);
            partial[(I)(blockIdx.z * gridDim.y + blockIdx.y) * channels + first + k] = sum;
        }
}

// Second stage: one block adds the rows of partial[rows, channels] for one channel.
SPK_INLINE void sum_partials(const f32* partial, f32* total, u32 rows, u32 channels) {
    for (u32 c = blockIdx.x; c < channels; c += gridDim.x) {
        f32 sum = 0.0f;
        for (u32 row = threadIdx.x; row < rows; row += blockDim.x) sum = add(sum, partial[(u64)row * channels + c]);
        sum = block_sum(sum);
        if (threadIdx.x == 0u) total[c] = sum;
    }
}

}  // namespace spk
