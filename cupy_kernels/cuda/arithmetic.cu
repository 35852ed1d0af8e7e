// Types, and float arithmetic that no compiler switch can change.
//
// CuPy compiles with -ftz=true and NVRTC contracts a * b + c into one rounding. Written as PTX with .rn and
// without .ftz, every operation rounds once, to nearest even, and keeps subnormal numbers: the results are
// those of IEEE 754, of numpy and of torch. No header is included: the NVRTC that pip installs has none.
typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef float f32;

#define SPK_INLINE __device__ __forceinline__

namespace spk {

#ifdef SPK_EMULATION
SPK_INLINE u32 bits_of(f32 a) { u32 b; std::memcpy(&b, &a, 4); return b; }
SPK_INLINE f32 float_of(u32 b) { f32 a; std::memcpy(&a, &b, 4); return a; }
#else
SPK_INLINE u32 bits_of(f32 a) { return __float_as_uint(a); }
SPK_INLINE f32 float_of(u32 b) { return __uint_as_float(b); }
#endif
SPK_INLINE bool is_nan(f32 a) { return (bits_of(a) & 0x7fffffffu) > 0x7f800000u; }

// Of `larger` and `smaller` the number, where one of the two is NaN.
#ifdef SPK_EMULATION  // a CPU: compiled with -ffp-contract=off
SPK_INLINE f32 add(f32 a, f32 b) { return a + b; }
SPK_INLINE f32 sub(f32 a, f32 b) { return a - b; }
SPK_INLINE f32 mul(f32 a, f32 b) { return a * b; }
SPK_INLINE f32 div(f32 a, f32 b) { return a / b; }
SPK_INLINE f32 fma(f32 a, f32 b, f32 c) { return std::fma(a, b, c); }
SPK_INLINE f32 larger(f32 a, f32 b) { return a < b || is_nan(a) ? b : a; }
SPK_INLINE f32 smaller(f32 a, f32 b) { return a > b || is_nan(a) ? b : a; }
SPK_INLINE f32 add_downwards(f32 a, f32 b) { return std::floor(a) + b; }  // b = 2^23 and 0 <= a < 2^22
SPK_INLINE bool ge(f32 a, f32 b) { return a >= b; }
#else
SPK_INLINE f32 add(f32 a, f32 b) { f32 r; asm("add.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
SPK_INLINE f32 sub(f32 a, f32 b) { f32 r; asm("sub.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
SPK_INLINE f32 mul(f32 a, f32 b) { f32 r; asm("mul.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
SPK_INLINE f32 div(f32 a, f32 b) { f32 r; asm("div.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
SPK_INLINE f32 fma(f32 a, f32 b, f32 c) {
    f32 r;
    asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(r) : "f"(a), "f"(b), "f"(c));
    return r;
}
SPK_INLINE f32 larger(f32 a, f32 b) { f32 r; asm("max.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
SPK_INLINE f32 smaller(f32 a, f32 b) { f32 r; asm("min.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
SPK_INLINE f32 add_downwards(f32 a, f32 b) {
    f32 r;
    asm("add.rm.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}
SPK_INLINE bool ge(f32 a, f32 b) {
    u32 r;
    asm("{ .reg .pred p; setp.ge.f32 p, %1, %2; selp.u32 %0, 1, 0, p; }" : "=r"(r) : "f"(a), "f"(b));
    return r != 0;
}
#endif

// The whole number below, 0 <= a < 2^22: a float of 2^23 has no digits behind the point. Conversions would do the same
// at a quarter of the speed, and there is one for every element.
SPK_INLINE f32 round_down(f32 a) { return sub(add_downwards(a, 8388608.0f), 8388608.0f); }
// A whole number below 2^22 in size: the last bits of the float 1.5 * 2^23 + a.
SPK_INLINE i32 whole_number(f32 a) { return (i32)(bits_of(add(a, 12582912.0f)) - 0x4b400000u); }
// a / b, correctly rounded, from inverse = 1 / b, correctly rounded. The first product is wrong by less than two units
// in the last place, the second value by less than one; from such a value and its exact remainder the third is right
// (Markstein 1990). For a / b >= 2^-20 with 2^-77 < b < 2^61; a smaller quotient comes out below 2^-19.
SPK_INLINE f32 quotient(f32 a, f32 b, f32 inverse) {
    f32 q = mul(a, inverse);
    q = fma(fma(-q, b, a), inverse, q);
    return fma(fma(-q, b, a), inverse, q);
}

SPK_INLINE f32 magnitude_of(f32 a) { return float_of(bits_of(a) & 0x7fffffffu); }
// -1, 0 or 1; 0 for NaN and both zeros, as torch.sign.
SPK_INLINE f32 sign_of(f32 a) {
    const u32 size = bits_of(a) & 0x7fffffffu;
    const f32 one = bits_of(a) >> 31 ? -1.0f : 1.0f;
    return size == 0u || size > 0x7f800000u ? 0.0f : one;
}
// NaN stays NaN, infinities saturate.
SPK_INLINE f32 clip(f32 a, f32 low, f32 high) {
    if (is_nan(a)) return a;
    if (!ge(a, low)) return low;
    return ge(high, a) ? a : high;
}

}  // namespace spk
