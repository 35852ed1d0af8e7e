// Integer fire: accumulators of integer weights and codes to codes, without a scale anywhere.
namespace spk {

// Within one unit in the last place; without the function call that a correctly rounded division may make.
SPK_INLINE f32 about_one_over(f32 a) {
#ifdef SPK_EMULATION
    return 1.0f / a;
#else
    f32 r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(a));
    return r;
#endif
}

// P = clamp(floor((V + b + floor(theta / 2)) / theta), 0, 2^T - 1); SIGNED: on |V + b|, with its sign.
//
// The estimate of a quotient below 2^16, four roundings away from it, is wrong by less than 2^-5: its floor is at most
// one off, which the remainder tells. Where theta * 2^T fits 31 bits, V is cut to what lies within theta * (2^T - 1)
// of -b, which changes no code: after that no sum leaves 32 bits. Elsewhere sums are taken in 64 bits.
template <bool SIGNED> struct alignas(16) IntegerNeuron {
    i32 bias, theta, half, low, high;
    u32 max_code, fits;
    f32 inverse;

    SPK_INLINE IntegerNeuron(i32 b, i32 th, u32 round, u32 top)
        : bias(b), theta(th), half(round ? th / 2 : 0), low(0), high(0), max_code(top), fits(0),
          inverse(about_one_over((f32)th)) {
        const i64 limit = (i64)th * top, least = -limit - b, most = limit - b;
        fits = limit + th <= 0x7fffffff;
        low = least < -0x7fffffff - 1 ? -0x7fffffff - 1 : (i32)least;
        high = most > 0x7fffffff ? 0x7fffffff : (i32)most;
    }
    SPK_INLINE i32 code(i32 membrane) const {
        if (!fits) return code_of_long(membrane);
        const i32 cut = membrane < low ? low : membrane > high ? high : membrane;
        const i32 start = cut + bias, size = (SIGNED && start < 0 ? -start : start) + half;
        if (!SIGNED && size < 0) return 0;
        i32 quotient = (i32)mul((f32)size, inverse);
        const i32 left = size - quotient * theta;
        quotient += left < 0 ? -1 : left >= theta ? 1 : 0;
        return SIGNED && start < 0 ? -quotient : quotient;
    }
    SPK_INLINE i32 code_of_long(i32 membrane) const {
        const i64 start = (i64)membrane + bias, size = (SIGNED && start < 0 ? -start : start) + half;
        if (size < 0) return 0;
        i32 quotient = (i32)max_code;
        if (size < (i64)theta * max_code) {
            quotient = (i32)mul((f32)size, inverse);
            const i64 left = size - (i64)quotient * theta;
            quotient += left < 0 ? -1 : left >= theta ? 1 : 0;
        }
        return SIGNED && start < 0 ? -quotient : quotient;
    }
};

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
    for (int k = 0; k < V; ++k) out.at[k] = (P)IntegerNeuron<SIGNED>(b[k], th[k], half, max_code).code(in.at[k]);
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
