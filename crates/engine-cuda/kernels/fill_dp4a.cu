// The fill without tensor cores (spec §4; PTX for compute_75 and later, the last resort): X = fold(A * B^T), its tiles
// and their fill digests.
//
// Launch:  grid = number of matrices * (n / 128)^2, block = 256.
// Memory:  as fill_mma.cu.
// Shared:  A and B, 128 rows x 64 bytes each, as 16 columns of 128 words (static, 16 KiB).
//
// A CTA makes a quarter of a tile, a thread 8 rows of two words (columns 4x.. and 64 + 4x.. of thread column x).

#include "digest.cuh"
#include "fold.cuh"

namespace {

using i8 = signed char;

constexpr int THREADS = 256;
constexpr int CTA_SIDE = 128;
constexpr int STEP_BYTES = 64;  // of k
constexpr int STEP_WORDS = STEP_BYTES / 4;
constexpr int THREAD_ROWS = 8;
constexpr int THREADS_ACROSS = 16;
constexpr int TILE_SIDE = 256;
constexpr int TILE_ROW_WORDS = TILE_SIDE / 4;

using Slab = int[STEP_WORDS][CTA_SIDE];

// Half the threads take the first 32 bytes of a row each, half the others; consecutive threads write consecutive banks.
__device__ __forceinline__ void load_slab(Slab& slab, const i8* rows, u32 k) {
    const int row = static_cast<int>(threadIdx.x) % CTA_SIDE;
    const int half = static_cast<int>(threadIdx.x) / CTA_SIDE;
    const int4* source = reinterpret_cast<const int4*>(rows + static_cast<u64>(row) * k) + half * 2;
#pragma unroll
    for (int v = 0; v < 2; ++v) {
        const int4 words = source[v];
        int(*column)[CTA_SIDE] = &slab[half * 8 + v * 4];
        column[0][row] = words.x;
        column[1][row] = words.y;
        column[2][row] = words.z;
        column[3][row] = words.w;
    }
}

}  // namespace

extern "C" __global__ __launch_bounds__(THREADS, 2) void fill_dp4a(const i8* __restrict__ a, const i8* __restrict__ b,
                                                                   const u64* __restrict__ key, u8* __restrict__ tiles,
                                                                   u64* __restrict__ digests, u32 n, u32 k) {
    __shared__ __align__(16) Slab slab_a;
    __shared__ __align__(16) Slab slab_b;
    const int x = static_cast<int>(threadIdx.x) % THREADS_ACROSS;
    const int y = static_cast<int>(threadIdx.x) / THREADS_ACROSS;

    const u32 across = n / CTA_SIDE;
    const u32 column_block = blockIdx.x % across;
    const u32 row_block = blockIdx.x / across % across;
    const u32 matrix = blockIdx.x / across / across;
    a += (static_cast<u64>(matrix) * n + row_block * CTA_SIDE) * k;
    b += static_cast<u64>(column_block) * CTA_SIDE * k;

    int acc[THREAD_ROWS][2][4] = {};
    for (u32 step = 0; step < k; step += STEP_BYTES) {
        load_slab(slab_a, a + step, k);
        load_slab(slab_b, b + step, k);
        __syncthreads();
#pragma unroll 4
        for (int word = 0; word < STEP_WORDS; ++word) {
            int of_a[THREAD_ROWS];
            int of_b[2][4];
#pragma unroll
            for (int v = 0; v < 2; ++v) {
                const int4 rows = *reinterpret_cast<const int4*>(&slab_a[word][y * THREAD_ROWS + v * 4]);
                of_a[v * 4] = rows.x;
                of_a[v * 4 + 1] = rows.y;
                of_a[v * 4 + 2] = rows.z;
                of_a[v * 4 + 3] = rows.w;
                const int4 columns = *reinterpret_cast<const int4*>(&slab_b[word][v * 64 + x * 4]);
                of_b[v][0] = columns.x;
                of_b[v][1] = columns.y;
                of_b[v][2] = columns.z;
                of_b[v][3] = columns.w;
            }
#pragma unroll
            for (int r = 0; r < THREAD_ROWS; ++r) {
#pragma unroll
                for (int c = 0; c < 8; ++c) acc[r][c / 4][c % 4] = __dp4a(of_a[r], of_b[c / 4][c % 4], acc[r][c / 4][c % 4]);
            }
        }
        __syncthreads();
    }

    const u32 tiles_across = n / TILE_SIDE;
    const u64 tile = (static_cast<u64>(matrix) * tiles_across + row_block / 2) * tiles_across + column_block / 2;
    u32* out = reinterpret_cast<u32*>(tiles + tile * TILE_BYTES);
    u64 sum = 0;
#pragma unroll
    for (int r = 0; r < THREAD_ROWS; ++r) {
        const int row = static_cast<int>(row_block % 2) * CTA_SIDE + y * THREAD_ROWS + r;
#pragma unroll
        for (int v = 0; v < 2; ++v) {
            const int column = static_cast<int>(column_block % 2) * CTA_SIDE + v * 64 + x * 4;
            const int j = row * TILE_ROW_WORDS + column / 4;
            const u32 word = fold_word(acc[r][v][0], acc[r][v][1], acc[r][v][2], acc[r][v][3]);
            out[j] = word;
            sum += key[j] * word;
        }
    }
    sum = sum_over_warp(sum);
    if (threadIdx.x % 32 == 0) atomicAdd(&digests[tile], sum);
}
