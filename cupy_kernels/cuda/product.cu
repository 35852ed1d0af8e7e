// Codes times 8-bit weights on the tensor cores, with the integer fire as epilogue: accumulators stay in registers.
//
// out[m, n] = fire(sum_k codes[m, k] * weight[n, k]). A convolution is the same product over patches that are never
// written down: images lie channels last, k counts (kernel row, kernel column, channel). A block of 8 warps makes
// 128 x 64 outputs, a warp 32 x 32 of them, in steps of 64 along k through two buffers of shared memory.
//
// Layout of one mma.m16n8k32 (PTX ISA, "Matrix Fragments for mma.m16n8k32"); lane = 4 * g + t, four bytes a word:
//   a[0] row g,     k 4t..4t+3     a[2] row g,     k 16+4t..     b[0] k 4t..4t+3,  column g
//   a[1] row g + 8, k 4t..4t+3     a[3] row g + 8, k 16+4t..     b[1] k 16+4t..,   column g
//   c[0], c[1] row g, columns 2t, 2t+1;   c[2], c[3] row g + 8, the same columns
namespace spk {

enum { TILE_M = 128, TILE_N = 64, TILE_K = 64, ROW = 5 };  // ROW: groups of 16 bytes, one of padding: no bank conflict

#ifdef SPK_EMULATION
template <class X> SPK_INLINE void mma(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { cpu::mma<X, i8>(c, a, b); }
#elif __CUDA_ARCH__ >= 800
#define SPK_MMA(TYPE)                                                                                              \
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." TYPE ".s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "   \
                 "{%0,%1,%2,%3};"                                                                                  \
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
template <class X> SPK_INLINE void mma(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]);
template <> SPK_INLINE void mma<u8>(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { SPK_MMA("u8"); }
template <> SPK_INLINE void mma<i8>(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { SPK_MMA("s8"); }
#else  // Turing: four of the small ones, whose lanes hold the same words
#define SPK_MMA(TYPE, C, A, B)                                                                                     \
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32." TYPE ".s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"              \
                 : "+r"(c[C]), "+r"(c[C + 1])                                                                      \
                 : "r"(a[A]), "r"(b[B]))
#define SPK_MMA4(TYPE) SPK_MMA(TYPE, 0, 0, 0); SPK_MMA(TYPE, 0, 2, 1); SPK_MMA(TYPE, 2, 1, 0); SPK_MMA(TYPE, 2, 3, 1)
template <class X> SPK_INLINE void mma(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]);
template <> SPK_INLINE void mma<u8>(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { SPK_MMA4("u8"); }
template <> SPK_INLINE void mma<i8>(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { SPK_MMA4("s8"); }
#endif

struct Shape {  // of the images; depth = kernel_y * kernel_x * channels
    u32 depth, channels, height, width, out_height, out_width, kernel_x;
    u32 stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
};

// Where one row of the left matrix lies. CONV: a patch; what it has in the padding is code 0.
template <bool CONV, class I> struct PatchRow {
    bool inside;
    I base;
    i32 y, x;
    SPK_INLINE PatchRow(I row, I rows, const Shape& s) : inside(row < rows), base(row * s.depth), y(0), x(0) {
        if (!CONV) return;
        const I line = row / s.out_width, image = line / s.out_height;
        y = (i32)((u32)(line % s.out_height) * s.stride_y) - (i32)s.pad_y;
        x = (i32)((u32)(row % s.out_width) * s.stride_x) - (i32)s.pad_x;
        base = image * s.height * s.width * s.channels;
    }
    SPK_INLINE bool find(u32 k, const Shape& s, I& at) const {
        if (!inside || k >= s.depth) return false;
        at = base + k;
        if (!CONV) return true;
        const u32 tap = k / s.channels, ky = tap / s.kernel_x;
        const i32 row = y + (i32)(ky * s.dilation_y), column = x + (i32)((tap - ky * s.kernel_x) * s.dilation_x);
        if (row < 0 || column < 0 || row >= (i32)s.height || column >= (i32)s.width) return false;
        at = base + ((I)row * s.width + (I)column) * s.channels + (k - tap * s.channels);
        return true;
    }
};

// 16 neighbours along k as four words. V = 16: they lie together and aligned; V = 1: each is looked up.
template <int V, class A, class R, class I>
SPK_INLINE Group<u32, 4> sixteen(const A* matrix, const R& row, u32 k, const Shape& s) {
    Group<u32, 4> words = {{0u, 0u, 0u, 0u}};
    I at;
    if (V == 16) {
        if (row.find(k, s, at)) words = read<4>(reinterpret_cast<const u32*>(matrix + at));
        return words;
    }
#pragma unroll
    for (u32 w = 0; w < 4u; ++w)
#pragma unroll 1
        for (u32 b = 0; b < 4u; ++b)
            if (row.find(k + 4u * w + b, s, at)) words.at[w] |= (u32)(u8)matrix[at] << (8u * b);
    return words;
}

template <class X>
SPK_INLINE void multiply(const Group<u32, 4>* left, const Group<u32, 4>* right, u32 m, u32 n, i32 (&sums)[2][4][4]) {
    const u32* lefts = reinterpret_cast<const u32*>(left);
    const u32* rights = reinterpret_cast<const u32*>(right);
    const u32 g = (threadIdx.x & 31u) >> 2, t = threadIdx.x & 3u;
#pragma unroll
    for (u32 word = 0; word < TILE_K / 4u; word += 8u) {
        u32 a[2][4], b[4][2];
#pragma unroll
        for (u32 i = 0; i < 2u; ++i)
#pragma unroll
            for (u32 r = 0; r < 4u; ++r)
                a[i][r] = lefts[(m + 16u * i + g + 8u * (r & 1u)) * (4u * ROW) + word + t + 4u * (r >> 1)];
#pragma unroll
        for (u32 j = 0; j < 4u; ++j)
#pragma unroll
            for (u32 r = 0; r < 2u; ++r) b[j][r] = rights[(n + 8u * j + g) * (4u * ROW) + word + t + 4u * r];
#pragma unroll
        for (u32 i = 0; i < 2u; ++i)
#pragma unroll
            for (u32 j = 0; j < 4u; ++j) mma<X>(sums[i][j], a[i], b[j]);
    }
}

template <class X, class P, bool FIRE, bool SIGNED, bool CONV, int V, class I>
SPK_INLINE void product(const X* codes, const i8* weight, const i32* bias, const i32* theta, P* out, I rows,
                        u32 columns, u32 theta_step, u32 half, u32 max_code, u32 depth, u32 channels, u32 height,
                        u32 width, u32 out_height, u32 out_width, u32 kernel_x, u32 stride_y, u32 stride_x, u32 pad_y,
                        u32 pad_x, u32 dilation_y, u32 dilation_x) {
    __shared__ Group<u32, 4> left[2][TILE_M * ROW];
    __shared__ Group<u32, 4> right[2][TILE_N * ROW];
    const Shape s = {depth, channels, height, width, out_height, out_width, kernel_x, stride_y, stride_x, pad_y, pad_x,
                     dilation_y, dilation_x};
    const I first = (I)blockIdx.x * TILE_M;
    const u32 first_column = blockIdx.y * TILE_N, warp = threadIdx.x >> 5;
    // A thread carries 16 bytes of two rows of codes and of one row of weights into shared memory.
    const u32 line = threadIdx.x >> 2, part = threadIdx.x & 3u;
    const PatchRow<CONV, I> upper(first + line, rows, s), lower(first + line + 64u, rows, s);
    const PatchRow<false, I> filter(first_column + line, columns, s);
    const u32 m = (warp >> 1) * 32u, n = (warp & 1u) * 32u;
    i32 sums[2][4][4] = {};
    u32 buffer = 0;
    for (u32 k = 0; k < depth; k += TILE_K, buffer ^= 1u) {
        left[buffer][line * ROW + part] = sixteen<V, X, PatchRow<CONV, I>, I>(codes, upper, k + 16u * part, s);
        left[buffer][(line + 64u) * ROW + part] = sixteen<V, X, PatchRow<CONV, I>, I>(codes, lower, k + 16u * part, s);
        right[buffer][line * ROW + part] = sixteen<V, i8, PatchRow<false, I>, I>(weight, filter, k + 16u * part, s);
        __syncthreads();  // one is enough: the other buffer is written while slower warps still read this one
        multiply<X>(left[buffer], right[buffer], m, n, sums);
    }
    const u32 g = (threadIdx.x & 31u) >> 2, t = threadIdx.x & 3u;
#pragma unroll
    for (u32 j = 0; j < 4u; ++j)
#pragma unroll
        for (u32 c = 0; c < 2u; ++c) {
            const u32 column = first_column + n + 8u * j + 2u * t + c;
            if (column >= columns) continue;
            const i32 b = bias ? bias[column] : 0, th = FIRE ? theta[column * theta_step] : 1;
#pragma unroll
            for (u32 i = 0; i < 4u; ++i) {  // rows g, g + 8 of both tiles
                const I row = first + m + 8u * i + g;
                const i32 sum = sums[i >> 1][j][2u * (i & 1u) + c];
                if (row < rows)
                    out[row * columns + column] = FIRE ? (P)integer_code<SIGNED>(sum, b, th, half, max_code) : (P)(sum + b);
            }
        }
}

}  // namespace spk
