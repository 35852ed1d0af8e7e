// The SpikePack neuron: the second writing of spikejelly_pack/spec/equations.py, tied to it by tests.
//
// C is a generated type with the constants of one code: T digits, weights q(t) of base TAU, their sum SUM.
// A code is held as a float (exact up to 2^16), so that NaN stays NaN.
namespace spk {

enum { INDEPENDENT = 0, RESIDUAL = 1, MEMBRANE = 2 };                // what a window leaves for the next
enum { NO_VALUE = 0, UNIT = 1, SCALED = 2, CODE_VALUE = 3 };         // d(s), theta * d(s), or P as a float

template <class C> SPK_INLINE f32 least_significant(f32 theta) { return div(theta, C::SUM); }

// Code of the membrane v_0: closed form for TAU = 2, greedy expansion below. SIGNED: with the sign of v_0.
template <class C, bool SIGNED> SPK_INLINE f32 encode(f32 start, f32 lsb, f32 half) {
    const f32 size = SIGNED ? magnitude_of(start) : start;
    f32 code;
    if (C::BINARY) {
        code = round_down(clip(add(div(size, lsb), half), 0.0f, (f32)((1u << C::T) - 1u)));
    } else {
        f32 left = add(size, mul(lsb, half));
        u32 word = 0;
#pragma unroll
        for (int t = 0; t < C::T; ++t) {
            const f32 threshold = mul(lsb, C::q(t));
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
    if (C::BINARY || is_nan(code)) return div(code, C::SUM);
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
