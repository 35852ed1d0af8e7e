// Tiles of bytes on their way to the tensor cores: memory, shared memory (copied while others are multiplied), fragments.
//
// A row of a tile has 64 bytes, four chunks of 16. Chunk c of row r lies at place c ^ (r / 2 % 4) of the row: the eight
// rows of which ldmatrix reads one chunk each then lie in different banks.
//
// Layout of one mma.m16n8k32 (PTX ISA, "Matrix Fragments for mma.m16n8k32"); lane = 4 * g + t, four bytes a word:
//   a[0] row g,     k 4t..4t+3     a[2] row g,     k 16+4t..     b[0] k 4t..4t+3,  column g
//   a[1] row g + 8, k 4t..4t+3     a[3] row g + 8, k 16+4t..     b[1] k 16+4t..,   column g
//   c[0], c[1] row g, columns 2t, 2t+1;   c[2], c[3] row g + 8, the same columns
namespace spk {

// Blocks on a multiprocessor, of which the registers of a thread follow: for Blackwell the compiler needs more than 128.
#if __CUDA_ARCH__ >= 1000
#define SPK_TILE_BLOCKS(wide) (wide ? 1 : 2)
#elif __CUDA_ARCH__ >= 800
#define SPK_TILE_BLOCKS(wide) (wide ? 2 : 3)
#else
#define SPK_TILE_BLOCKS(wide) 2
#endif

enum { TILE_K = 64 };
typedef Group<u32, 4> Chunk;

SPK_INLINE u32 place(u32 row, u32 chunk) { return 4u * row + (chunk ^ ((row >> 1) & 3u)); }

// copy_async: a chunk, or zeros where there is none, to shared memory; it is there once its group is waited for.
// wait_copies<N>: for all groups but the last N. load_matrices: lane l names row l % 8 of matrix l / 8, eight rows of
// 16 bytes each; word i is the lane's part of matrix i: of row g the bytes from 4t on.
#ifdef SPK_EMULATION
SPK_INLINE void copy_async(Chunk* to, const void* from, bool there) { cpu::copy_async(to, from, there); }
SPK_INLINE void close_group() { cpu::close_group(); }
template <int N> SPK_INLINE void wait_copies() { cpu::wait_copies(N); }
SPK_INLINE void load_matrices(u32 (&words)[4], const Chunk* row) { cpu::load_matrices(words, row); }
template <class X> SPK_INLINE void mma(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { cpu::mma<X, i8>(c, a, b); }
#else
SPK_INLINE u32 shared_address(const void* p) {
    u32 r;
    asm("{ .reg .u64 a; cvta.to.shared.u64 a, %1; cvt.u32.u64 %0, a; }" : "=r"(r) : "l"(p));
    return r;
}
SPK_INLINE void load_matrices(u32 (&words)[4], const Chunk* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(shared_address(row))
                 : "memory");
}
#if __CUDA_ARCH__ >= 800
SPK_INLINE void copy_async(Chunk* to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 16u : 0u)
                 : "memory");
}
SPK_INLINE void close_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> SPK_INLINE void wait_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
#define SPK_MMA(TYPE)                                                                                              \
    asm("mma.sync.aligned.m16n8k32.row.col.s32." TYPE ".s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "   \
                 "{%0,%1,%2,%3};"                                                                                  \
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
template <class X> SPK_INLINE void mma(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]);
template <> SPK_INLINE void mma<u8>(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { SPK_MMA("u8"); }
template <> SPK_INLINE void mma<i8>(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { SPK_MMA("s8"); }
#else  // Turing: copies are waited for at once; four small products, whose lanes hold the same words
SPK_INLINE void copy_async(Chunk* to, const void* from, bool there) {
    const Chunk nothing = {{0u, 0u, 0u, 0u}};
    *to = there ? *reinterpret_cast<const Chunk*>(from) : nothing;
}
SPK_INLINE void close_group() {}
template <int N> SPK_INLINE void wait_copies() {}
#define SPK_MMA(TYPE, C, A, B)                                                                                     \
    asm("mma.sync.aligned.m8n8k16.row.col.s32." TYPE ".s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"              \
                 : "+r"(c[C]), "+r"(c[C + 1])                                                                      \
                 : "r"(a[A]), "r"(b[B]))
#define SPK_MMA4(TYPE) SPK_MMA(TYPE, 0, 0, 0); SPK_MMA(TYPE, 0, 2, 1); SPK_MMA(TYPE, 2, 1, 0); SPK_MMA(TYPE, 2, 3, 1)
template <class X> SPK_INLINE void mma(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]);
template <> SPK_INLINE void mma<u8>(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { SPK_MMA4("u8"); }
template <> SPK_INLINE void mma<i8>(i32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) { SPK_MMA4("s8"); }
#endif
#endif

// One step along k of a warp's M x N small products: rows from m of the left tile, columns from n of the right one.
template <class X, int M, int N>
SPK_INLINE void multiply(const Chunk* left, const Chunk* right, u32 m, u32 n, i32 (&sums)[M][N][4]) {
    const u32 lane = threadIdx.x & 31u;
    const u32 left_row = m + (lane & 15u), left_chunk = lane >> 4;
    const u32 right_row = n + (lane & 7u) + ((lane >> 4) << 3), right_chunk = (lane >> 3) & 1u;
#pragma unroll
    for (u32 chunk = 0; chunk < TILE_K / 16u; chunk += 2u) {
        u32 a[M][4], b[N][2];
#pragma unroll
        for (u32 i = 0; i < M; ++i) load_matrices(a[i], left + place(left_row + 16u * i, chunk + left_chunk));
#pragma unroll
        for (u32 j = 0; j < N; j += 2u) {
            u32 words[4];
            load_matrices(words, right + place(right_row + 8u * j, chunk + right_chunk));
            b[j][0] = words[0], b[j][1] = words[1], b[j + 1u][0] = words[2], b[j + 1u][1] = words[3];
        }
#pragma unroll
        for (u32 i = 0; i < M; ++i)
#pragma unroll
            for (u32 j = 0; j < N; ++j) mma<X>(sums[i][j], a[i], b[j]);
    }
}

}  // namespace spk
