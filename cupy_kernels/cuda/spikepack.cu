// The SpikePack neuron: the second writing of spikejelly_pack/spec/equations.py, tied to it by tests.
//
// C is a generated type with the constants of one code: T digits, weights q(t) of base TAU, their sum SUM.
// A code is held as a float (exact up to 2^16), so that NaN stays NaN.
namespace spk {

enum { INDEPENDENT = 0, RESIDUAL = 1, MEMBRANE = 2 };                // what a window leaves for the next
enum { NO_VALUE = 0, UNIT = 1, SCALED = 2, CODE_VALUE = 3 };         // d(s), theta * d(s), or P as a float

// A threshold as elements are compared with it. `inverse` is 0 where quotients by it must be divisions.
struct Level { f32 lsb, inverse, most; };
template <class C> SPK_INLINE Level least_significant(f32 theta) {
    Level level = {div(theta, C::SUM), 0.0f, add(theta, theta)};
    if (ge(theta, 0x1p-60f) && ge(0x1p60f, theta)) level.inverse = div(1.0f, level.lsb);
    return level;
}
// For a single element: a reciprocal would not pay, and takes registers.
template <class C> SPK_INLINE Level level_of_one(f32 theta) {
    const Level level = {div(theta, C::SUM), 0.0f, 0.0f};
    return level;
}
// size / lsb where that is between 0 and 2 SUM, else the nearer of the two, which rounds to the same code; NaN stays.
template <class C> SPK_INLINE f32 in_levels(f32 size, const Level& level) {
    if (level.inverse == 0.0f) return clip(div(size, level.lsb), 0.0f, 2.0f * C::SUM);
    const f32 inside = quotient(smaller(larger(size, 0.0f), level.most), level.lsb, level.inverse);
    return is_nan(size) ? size : inside;
}

// Code of the membrane v_0: closed form for TAU = 2, greedy expansion below. SIGNED: with the sign of v_0.
template <class C, bool SIGNED> SPK_INLINE f32 encode(f32 start, const Level& level, f32 half) {
    const f32 size = SIGNED ? magnitude_of(start) : start;
    f32 code;
    if (C::BINARY) {
        const f32 levels = in_levels<C>(size, level);
        code = round_down(smaller(add(levels, half), (f32)((1u << C::T) - 1u)));
        code = is_nan(levels) ? levels : code;
    } else {
        f32 left = add(size, mul(level.lsb, half));
        u32 word = 0;
#pragma unroll
        for (int t = 0; t < C::T; ++t) {
            const f32 threshold = mul(level.lsb, C::q(t));
            const bool spike = ge(left, threshold);
            if (spike) left = sub(left, threshold);
            word = 2u * word + (spike ? 1u : 0u);
        }
        code = is_nan(start) ? start : (f32)word;
    }
    return SIGNED ? mul(code, sign_of(start)) : code;
}

// Decoded value d(s) of a float code.
template <class C> SPK_INLINE f32 decode(f32 code) {
    // A whole number by a constant; the sign is put back for the sake of -0.
    if (C::BINARY) return float_of(bits_of(quotient(code, C::SUM, C::INVERSE)) | (bits_of(code) & 0x80000000u));
    if (is_nan(code)) return code;
    const u32 word = (u32)magnitude_of(code);
    const f32 sign = sign_of(code);
    f32 total = 0.0f;
#pragma unroll
    for (int t = 0; t < C::T; ++t) {
        const f32 share = mul((word >> (C::T - 1 - t)) & 1u ? sign : 0.0f, C::q(t));
        total = t == 0 ? share : add(total, share);
    }
    return div(total, C::SUM);
}

// Digit t = 0..T-1 of a float code, most significant first; a sign goes to every digit.
template <class C, bool SIGNED> SPK_INLINE f32 digit(f32 code, int t) {
    if (is_nan(code)) return code;
    const f32 bit = ((u32)magnitude_of(code) >> (C::T - 1 - t)) & 1u ? 1.0f : 0.0f;
    return SIGNED ? mul(bit, sign_of(code)) : bit;
}

// The code with the digits after t set to zero: what has been emitted by step t.
template <class C, bool SIGNED> SPK_INLINE f32 emitted(f32 code, int t) {
    if (is_nan(code)) return code;
    const f32 prefix = (f32)((u32)magnitude_of(code) >> (C::T - 1 - t) << (C::T - 1 - t));
    return SIGNED ? mul(prefix, sign_of(code)) : prefix;
}

SPK_INLINE f32 residual(f32 start, f32 theta, f32 decoded) { return sub(start, mul(theta, decoded)); }

// Without anything carried the potential stays as it is: adding zero would turn -0 into +0.
template <int LEAK> SPK_INLINE f32 carry_start(f32 potential, f32 leak, f32 carry, bool carried) {
    return LEAK == INDEPENDENT || !carried ? potential : add(potential, mul(leak, carry));
}

// Before the clamp to [-theta, theta].
template <class C, int LEAK> SPK_INLINE f32 unclamped_carry(f32 start, f32 theta, f32 code) {
    return LEAK == MEMBRANE ? start : residual(start, theta, decode<C>(code));
}

template <class C> SPK_INLINE f32 value_of(f32 code, f32 theta, int amplitude) {
    if (amplitude == CODE_VALUE) return code;
    const f32 unit = decode<C>(code);
    return amplitude == SCALED ? mul(theta, unit) : unit;
}

// What all elements of a launch share. Absent arrays are null; n elements a window.
template <class I> struct Launch {
    const f32* theta;
    const f32* carry_in;
    f32* carry_out;
    u32* nan_seen;
    I n;
    u32 windows;
    Channels<I> channels;
    f32 half, leak;
};

}  // namespace spk
