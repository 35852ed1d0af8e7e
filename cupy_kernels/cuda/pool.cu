// Exact max-pooling of codes. The maximum of codes is not the digit-wise maximum (max(0b10, 0b01) is 0b10, the
// digits' maxima make 0b11): most significant digit first, with a mask of the inputs that are still tied.
//
// One thread an output. Memory is [outer, height, width, inner]: NCHW has outer = N * C and inner = 1, channels last
// has outer = N and inner = C. Padding is not there at all: it never wins, whatever the sign of the codes.
namespace spk {

struct Pool {
    u32 height, width, out_height, out_width;
    u32 kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
};

template <class I> struct Place {  // of one output
    I plane;                       // offset of [outer, 0, 0, inner]
    i32 y, x;                      // first tap, may lie in the padding
    I inner;
    SPK_INLINE Place(I output, const Pool& p, I channels) : inner(channels) {
        const I c = output % channels, pixel = output / channels;
        const I column = pixel % p.out_width, line = pixel / p.out_width;
        const I row = line % p.out_height, batch = line / p.out_height;
        plane = batch * p.height * p.width * channels + c;
        y = (i32)(row * p.stride_y) - (i32)p.pad_y;
        x = (i32)(column * p.stride_x) - (i32)p.pad_x;
    }
    // Whether tap (ky, kx) is inside the image, and where.
    SPK_INLINE bool find(const Pool& p, u32 ky, u32 kx, I& at) const {
        const i32 row = y + (i32)(ky * p.dilation_y), column = x + (i32)(kx * p.dilation_x);
        if (row < 0 || column < 0 || row >= (i32)p.height || column >= (i32)p.width) return false;
        at = plane + ((I)row * p.width + (I)column) * inner;
        return true;
    }
};

#define SPK_POOL_PARAMETERS                                                                                    \
    u32 height, u32 width, u32 out_height, u32 out_width, u32 kernel_y, u32 kernel_x, u32 stride_y,            \
        u32 stride_x, u32 pad_y, u32 pad_x, u32 dilation_y, u32 dilation_x
#define SPK_POOL                                                                                               \
    { height, width, out_height, out_width, kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x, dilation_y,  \
      dilation_x }

// Packed: the maximum of integer codes.
template <class P, class I>
SPK_INLINE void pool_codes(const P* codes, P* out, I n, I inner, SPK_POOL_PARAMETERS) {
    const I i = first_element<I, 1>();
    if (i >= n) return;
    const Pool p = SPK_POOL;
    const Place<I> place(i, p, inner);
    bool found = false;
    i32 best = 0;
    I at;
    for (u32 ky = 0; ky < p.kernel_y; ++ky)
        for (u32 kx = 0; kx < p.kernel_x; ++kx)
            if (place.find(p, ky, kx, at)) {
                const i32 code = (i32)codes[at];
                best = !found || code > best ? code : best;
                found = true;
            }
    out[i] = (P)best;
}

// Serial multi-step: digits[windows, steps, image] to the digits of the winning code. NaN wins and stays.
template <class D, class I>
SPK_INLINE void pool_digits(const D* digits, D* out, I n, I inner, I image, u32 windows, u32 steps,
                            SPK_POOL_PARAMETERS) {
    const I i = first_element<I, 1>();
    if (i >= n) return;
    const Pool p = SPK_POOL;
    const Place<I> place(i, p, inner);
    for (u32 w = blockIdx.y; w < windows; w += gridDim.y) {
        const D* train = digits + (I)w * steps * image;
        bool found = false;
        f32 best = 0.0f;
        I at, winner = 0;
        for (u32 ky = 0; ky < p.kernel_y; ++ky)
            for (u32 kx = 0; kx < p.kernel_x; ++kx) {
                if (!place.find(p, ky, kx, at)) continue;
                f32 word = 0.0f;
                for (u32 t = 0; t < steps; ++t) word = add(mul(2.0f, word), load(train[(I)t * image + at]));
                if (found && !is_nan(word) && !(word > best)) continue;
                found = true;
                best = word;
                winner = at;
            }
        for (u32 t = 0; t < steps; ++t) out[((I)w * steps + t) * n + i] = train[(I)t * image + winner];
    }
}

// Serial single-step: one digit of the maximum. alive[words, n]: one bit a tap, still tied; written, and read
// except at the first digit.
template <class D, class I>
SPK_INLINE void pool_step(const D* digits, D* out, u32* alive, I n, I inner, u32 first, SPK_POOL_PARAMETERS) {
    const I i = first_element<I, 1>();
    if (i >= n) return;
    const Pool p = SPK_POOL;
    const Place<I> place(i, p, inner);
    const u32 taps = p.kernel_y * p.kernel_x;
    bool found = false;
    f32 best = 0.0f;
    I at;
    for (u32 tap = 0; tap < taps; ++tap) {
        if (!first && !(alive[(I)(tap >> 5) * n + i] >> (tap & 31u) & 1u)) continue;
        if (!place.find(p, tap / p.kernel_x, tap % p.kernel_x, at)) continue;
        const f32 digit = load(digits[at]);
        if (!found || is_nan(digit) || digit > best) best = is_nan(best) && found ? best : digit;
        found = true;
    }
    for (u32 word = 0; word * 32u < taps; ++word) {
        const u32 before = first ? 0xffffffffu : alive[(I)word * n + i];
        u32 after = 0;
        for (u32 bit = 0; bit < 32u && word * 32u + bit < taps; ++bit) {
            const u32 tap = word * 32u + bit;
            if (!(before >> bit & 1u) || !place.find(p, tap / p.kernel_x, tap % p.kernel_x, at)) continue;
            const f32 digit = load(digits[at]);
            if (digit == best || is_nan(digit)) after |= 1u << bit;
        }
        alive[(I)word * n + i] = after;
    }
    out[i] = store<D>(best);
}

}  // namespace spk
