// Codes times 8-bit weights on the tensor cores, with the integer fire as epilogue: accumulators stay in registers.
//
// out[m, n] = fire(sum_k codes[m, k] * weight[n, k]). A convolution is the same product over patches that are never
// written down: images lie channels last, k counts (kernel row, kernel column, channel). A block of 8 warps makes
// 128 x 64 outputs, WIDE 128 x 128, a warp 32 x 32 (WIDE 64 x 32) of them, in steps of 64 along k through three
// buffers: two steps are on their way from memory while one is multiplied.
namespace spk {

enum { TILE_M = 128, BUFFERS = 3 };

struct Shape {  // of the images; depth = kernel_y * kernel_x * channels
    u32 depth, channels, height, width, out_height, out_width, kernel_x;
    u32 stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
};

// Where along k a chunk begins. CONV: at which channel, how far from the corner of the patch, and how much further in
// memory. Offsets wrap around as unsigned numbers do; a place that exists comes out right.
template <bool CONV, class I> struct Along {
    u32 k, channel, tap_x, down, right;
    I offset;
    SPK_INLINE Along(u32 first, const Shape& s) : k(first), channel(0), tap_x(0), down(0), right(0), offset(first) {
        if (!CONV) return;
        const u32 tap = first / s.channels, tap_y = tap / s.kernel_x;
        channel = first - tap * s.channels;
        tap_x = tap - tap_y * s.kernel_x;
        down = tap_y * s.dilation_y;
        right = tap_x * s.dilation_x;
        offset = ((I)down * s.width + right) * s.channels + channel;
    }
    SPK_INLINE void advance(const Shape& s) {
        k += TILE_K;
        offset += TILE_K;
        channel += TILE_K;
        while (CONV && channel >= s.channels) {
            channel -= s.channels;
            right += s.dilation_x;
            offset += (I)(s.dilation_x - 1u) * s.channels;
            if (++tap_x < s.kernel_x) continue;
            tap_x = 0;
            offset += ((I)s.dilation_y * s.width - right) * s.channels;
            right = 0;
            down += s.dilation_y;
        }
    }
};

// Where one row of a matrix lies. CONV: a patch; what it has in the padding is code 0.
template <bool CONV, class I> struct PatchRow {
    bool inside;
    I base;
    u32 y, x;  // of the corner; above and left of the image they wrap around
    SPK_INLINE PatchRow(I row, I rows, const Shape& s) : inside(row < rows), base(row * s.depth), y(0), x(0) {
        if (!CONV) return;
        const I line = row / s.out_width, image = line / s.out_height;
        const u32 down = (u32)(line % s.out_height) * s.stride_y, right = (u32)(row % s.out_width) * s.stride_x;
        y = down - s.pad_y;
        x = right - s.pad_x;
        base = ((image * s.height + down - s.pad_y) * s.width + right - s.pad_x) * s.channels;
    }
    SPK_INLINE bool find(const Along<CONV, I>& along, const Shape& s, I& at) const {
        const bool found = inside && along.k < s.depth &&
                           (!CONV || (y + along.down < s.height && x + along.right < s.width));
        at = found ? base + along.offset : 0;
        return found;
    }
};

// The chunk that begins at `along`. V = 16: its bytes lie together and aligned; V = 1: each is looked up.
template <int V, bool CONV, class A, class I>
SPK_INLINE void fetch(Chunk* to, const A* matrix, const PatchRow<CONV, I>& row, const Along<CONV, I>& along,
                      const Shape& s) {
    I at;
    if (V == 16) {
        const bool there = row.find(along, s, at);
        copy_async(to, matrix + at, there);
        return;
    }
    Chunk words = {{0u, 0u, 0u, 0u}};
#pragma unroll
    for (u32 w = 0; w < 4u; ++w)
#pragma unroll 1
        for (u32 b = 0; b < 4u; ++b)
            if (row.find(Along<CONV, I>(along.k + 4u * w + b, s), s, at)) words.at[w] |= (u32)(u8)matrix[at] << (8u * b);
    *to = words;
}

// Sums to codes (or sums with bias), two neighbours of a row at a time. They are gathered in shared memory first where
// a code is shorter than a sum: memory is written in whole sectors then.
template <class P, bool FIRE, bool SIGNED, int WIDTH, class I> struct Outputs {
    enum { SHORT = sizeof(P) < 4, PER_CHUNK = 16 / sizeof(P), ROW = WIDTH + PER_CHUNK };  // padded: no bank conflict
    enum { BYTES = SHORT ? TILE_M * ROW * sizeof(P) : 0 };
    const IntegerNeuron<SIGNED>* neurons;  // of the block's columns, in shared memory
    P* out;
    I rows, first;
    u32 columns, first_column;

    // What the lane has of the sums from row m and column n of the block on.
    template <int M, int N> SPK_INLINE void put(P* tile, u32 m, u32 n, const i32 (&sums)[M][N][4]) const {
        const u32 g = (threadIdx.x & 31u) >> 2, t = threadIdx.x & 3u;
        const bool even = (columns & 1u) == 0u && (reinterpret_cast<u64>(out) & (2u * sizeof(P) - 1u)) == 0u;
#pragma unroll
        for (u32 j = 0; j < N; ++j) {
            const u32 near = n + 8u * j + 2u * t;
            const IntegerNeuron<SIGNED> one = neurons[near], two = neurons[near + 1u];
#pragma unroll
            for (u32 i = 0; i < 2u * M; ++i) {  // rows g and g + 8 of every small product
                const u32 line = m + 8u * i + g;
                const i32* sum = &sums[i >> 1][j][2u * (i & 1u)];
                const Group<P, 2> pair = {{(P)(FIRE ? one.code(sum[0]) : sum[0] + one.bias),
                                           (P)(FIRE ? two.code(sum[1]) : sum[1] + two.bias)}};
                if (SHORT)
                    write<2>(tile + line * ROW + near, pair);
                else if (first + line < rows)
                    direct(out + (first + line) * columns + first_column + near, first_column + near, even, pair);
            }
        }
    }
    SPK_INLINE void direct(P* to, u32 column, bool even, const Group<P, 2>& pair) const {
        if (even && column < columns) {
            write<2>(to, pair);
            return;
        }
        if (column < columns) to[0] = pair.at[0];
        if (column + 1u < columns) to[1] = pair.at[1];
    }
    SPK_INLINE void copy_out(const P* tile) const {
        const bool whole = ((reinterpret_cast<u64>(out) | (u64)columns * sizeof(P)) & 15u) == 0u;
        for (u32 index = threadIdx.x; index < TILE_M * (WIDTH / PER_CHUNK); index += blockDim.x) {
            const u32 line = index / (WIDTH / PER_CHUNK), near = index % (WIDTH / PER_CHUNK) * PER_CHUNK;
            const I row = first + line;
            if (row >= rows || first_column + near >= columns) continue;
            const P* const from = tile + line * ROW + near;
            P* const to = out + row * columns + first_column + near;
            if (whole)
                write<PER_CHUNK>(to, read<PER_CHUNK>(from));
            else
                for (u32 k = 0; k < PER_CHUNK && first_column + near + k < columns; ++k) to[k] = from[k];
        }
    }
};

template <class X, class P, bool FIRE, bool SIGNED, bool CONV, int V, bool WIDE, class I>
SPK_INLINE void product(const X* codes, const i8* weight, const i32* bias, const i32* theta, P* out, I rows,
                        u32 columns, u32 theta_step, u32 half, u32 max_code, u32 depth, u32 channels, u32 height,
                        u32 width, u32 out_height, u32 out_width, u32 kernel_x, u32 stride_y, u32 stride_x, u32 pad_y,
                        u32 pad_x, u32 dilation_y, u32 dilation_x) {
    enum {
        M = WIDE ? 4 : 2, N = 4, ACROSS = M, TILE_N = ACROSS * 8 * N,  // small products of a warp, warps of a block
        LEFT = 4 * TILE_M, ALL = LEFT + 4 * TILE_N
    };
    __shared__ Chunk tiles[BUFFERS * ALL];
    const Shape s = {depth, channels, height, width, out_height, out_width, kernel_x, stride_y, stride_x, pad_y, pad_x,
                     dilation_y, dilation_x};
    const I first = (I)blockIdx.x * TILE_M;
    const u32 first_column = blockIdx.y * TILE_N, warp = threadIdx.x >> 5;
    // A thread carries a chunk of two rows of codes and of every 64th row of weights into shared memory.
    const u32 line = threadIdx.x >> 2, part = threadIdx.x & 3u;
    const PatchRow<CONV, I> upper(first + line, rows, s), lower(first + line + 64u, rows, s);
    Along<CONV, I> along(16u * part, s);
    i32 sums[M][N][4] = {};
    const auto bring = [&](u32 buffer) {
        if (along.k - 16u * part < depth) {
            Chunk* const left = tiles + buffer * ALL;
            const Along<false, I> flat(along.k, s);
            fetch<V>(left + place(line, part), codes, upper, along, s);
            fetch<V>(left + place(line + 64u, part), codes, lower, along, s);
#pragma unroll
            for (u32 n = 0; n < TILE_N; n += 64u) {
                const PatchRow<false, I> filter(first_column + line + n, columns, s);
                fetch<V>(left + LEFT + place(line + n, part), weight, filter, flat, s);
            }
            along.advance(s);
        }
        close_group();
    };
    for (u32 buffer = 0; buffer < BUFFERS - 1u; ++buffer) bring(buffer);
    // A thread brings the constants of one column, long before they are needed.
    const u32 mine = first_column + threadIdx.x;
    const bool has = threadIdx.x < TILE_N && mine < columns;
    const i32 near_bias = has && bias ? bias[mine] : 0, near_theta = has && FIRE ? theta[mine * theta_step] : 1;
    const u32 m = warp / ACROSS * (16u * M), n = warp % ACROSS * (8u * N);
    u32 next = BUFFERS - 1u, buffer = 0;
    for (u32 k = 0; k < depth; k += TILE_K) {
        wait_copies<BUFFERS - 2>();
        __syncthreads();  // the step's tiles are there, and all have read those that are overwritten next
        multiply<X, M, N>(tiles + buffer * ALL, tiles + buffer * ALL + LEFT, m, n, sums);
        bring(next);  // the copies begin in the shadow of the products, which is faster than before them
        next = next + 1u < BUFFERS ? next + 1u : 0u;
        buffer = buffer + 1u < BUFFERS ? buffer + 1u : 0u;
    }
    typedef Outputs<P, FIRE, SIGNED, TILE_N, I> Out;
    typedef IntegerNeuron<SIGNED> Neuron;
    static_assert(Out::BYTES + TILE_N * sizeof(Neuron) <= sizeof(tiles), "outputs and constants fit the buffers");
    P* const tile = reinterpret_cast<P*>(tiles);
    Neuron* const neurons = reinterpret_cast<Neuron*>(tiles + Out::BYTES / sizeof(Chunk));
    __syncthreads();  // the last tiles have been read
    if (threadIdx.x < TILE_N) neurons[threadIdx.x] = Neuron(near_bias, near_theta, half, max_code);
    __syncthreads();
    const Out outputs = {neurons, out, rows, first, columns, first_column};
    outputs.put(tile, m, n, sums);
    if (!Out::SHORT) return;
    __syncthreads();
    outputs.copy_out(tile);
}

}  // namespace spk
