// The fill for tensor cores with mma.sync (spec §4; sm_80 and later): X = fold(A * B^T), its tiles and their fill digests.
//
// Launch:  grid = number of matrices * (n / 128) * (n / 256), block = 256, dynamic shared memory = 98304 (fits the
//          99 KiB of sm_86, sm_89 and sm_120).
// Memory:  a[matrices][n][k] and b[n][k] i8, k contiguous, 16-byte aligned; n a multiple of 256, k of 64.
//          key: a SweepKey's K (16,384 u64) of the fill salt. tiles[matrices * (n / 256)^2][65536] out, 16-byte aligned;
//          digests[matrices * (n / 256)^2] u64, zero before the launch. Tiles and digests start at the first matrix's.
// Shared:  4 stages x { A: 128 rows x 64 bytes | B: 256 rows x 64 bytes }.
//
// A CTA makes the upper or lower half of a tile, a warp 64 x 64 of it. Columns are dealt to the mma fragments so that a
// thread ends up with sixteen neighbouring bytes of eight rows: it stores and digests them from registers.

#include "digest.cuh"
#include "fold.cuh"

namespace {

using i8 = signed char;

constexpr int THREADS = 256;
constexpr int CTA_ROWS = 128;
constexpr int CTA_COLUMNS = 256;
constexpr int WARP_ROWS = 64;
constexpr int WARP_COLUMNS = 64;
constexpr int WARPS_ACROSS = CTA_COLUMNS / WARP_COLUMNS;
constexpr int STAGES = 4;
constexpr int STEP_BYTES = 64;  // of k a stage
constexpr int STEP_VECTORS = STEP_BYTES / 16;
constexpr int MMA_K = 32;
constexpr int ROW_BLOCKS = WARP_ROWS / 16;      // m16 blocks a warp
constexpr int COLUMN_BLOCKS = WARP_COLUMNS / 8;  // n8 blocks a warp
constexpr int A_BYTES = CTA_ROWS * STEP_BYTES;
constexpr int B_BYTES = CTA_COLUMNS * STEP_BYTES;
constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
constexpr int TILE_ROW_BYTES = 256;
constexpr int TILE_ROW_WORDS = TILE_ROW_BYTES / 4;

// CTAs that run together cover a block of X about as tall as it is wide, for the fewest operand bytes from memory.
constexpr u32 GROUP_ROWS = 16;

static_assert(STAGES * STAGE_BYTES == 98304, "the header's shared memory");
static_assert(CTA_COLUMNS == TILE_ROW_BYTES && 2 * CTA_ROWS * TILE_ROW_BYTES == TILE_BYTES, "two CTAs a tile");
static_assert((CTA_ROWS / WARP_ROWS) * WARPS_ACROSS * 32 == THREADS, "warps cover the CTA");

__device__ __forceinline__ u32 shared_address(const void* pointer) {
    return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void copy_async(u32 target, const i8* source) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target), "l"(source) : "memory");
}

__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int kPending>
__device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ __forceinline__ void load_matrices(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// Exact: without .satfinite the accumulator wraps, and |acc| <= 2^30 (spec §4) never comes near.
__device__ __forceinline__ void multiply_add(int (&acc)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(acc[0]), "+r"(acc[1]), "+r"(acc[2]), "+r"(acc[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Where 16-byte vector `v` of row `row` lies. Two rows fill the 32 banks; `scatter` differs among the rows of equal parity
// that one ldmatrix phase reads, so that its eight vectors meet eight different bank groups.
__device__ __forceinline__ u32 vector_offset(int row, int v, int scatter) {
    return static_cast<u32>(row * STEP_VECTORS + (v ^ (scatter & 3))) * 16;
}

// A's fragments take rows in order; B's take them as `b_row` deals them.
__device__ __forceinline__ int scatter_of_a(int row) { return row / 2; }
__device__ __forceinline__ int scatter_of_b(int row) { return row / 16; }

// The row of B (column of X) within a warp's 64 that column `c` of n8 block `block` stands for: thread t of a quad, which
// holds columns 2t and 2t + 1 of every block, gets columns 16t .. 16t + 15 of X.
__device__ __forceinline__ int b_row(int block, int c) { return 16 * (c / 2) + 2 * block + c % 2; }

__device__ __forceinline__ void load_stage(u32 stage, const i8* a, const i8* b, u32 k) {
#pragma unroll
    for (int i = 0; i < CTA_ROWS * STEP_VECTORS / THREADS; ++i) {
        const int vector = i * THREADS + static_cast<int>(threadIdx.x);
        const int row = vector / STEP_VECTORS;
        const int v = vector % STEP_VECTORS;
        copy_async(stage + vector_offset(row, v, scatter_of_a(row)), a + static_cast<u64>(row) * k + v * 16);
    }
#pragma unroll
    for (int i = 0; i < CTA_COLUMNS * STEP_VECTORS / THREADS; ++i) {
        const int vector = i * THREADS + static_cast<int>(threadIdx.x);
        const int row = vector / STEP_VECTORS;
        const int v = vector % STEP_VECTORS;
        copy_async(stage + A_BYTES + vector_offset(row, v, scatter_of_b(row)), b + static_cast<u64>(row) * k + v * 16);
    }
}

__device__ __forceinline__ void multiply_stage(int (&acc)[ROW_BLOCKS][COLUMN_BLOCKS][4], u32 stage, int warp_row,
                                               int warp_column) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int a_lane_row = warp_row * WARP_ROWS + lane % 16;
    const int b_lane_row = warp_column * WARP_COLUMNS + b_row(lane / 16, lane % 8);
#pragma unroll
    for (int half = 0; half < STEP_BYTES / MMA_K; ++half) {
        u32 a[ROW_BLOCKS][4];
        u32 b[COLUMN_BLOCKS / 2][4];
#pragma unroll
        for (int i = 0; i < ROW_BLOCKS; ++i) {
            const int row = a_lane_row + i * 16;
            load_matrices(a[i], stage + vector_offset(row, 2 * half + lane / 16, scatter_of_a(row)));
        }
#pragma unroll
        for (int i = 0; i < COLUMN_BLOCKS / 2; ++i) {
            const int row = b_lane_row + b_row(2 * i, 0);
            load_matrices(b[i], stage + A_BYTES + vector_offset(row, 2 * half + lane / 8 % 2, scatter_of_b(row)));
        }
#pragma unroll
        for (int i = 0; i < ROW_BLOCKS; ++i) {
#pragma unroll
            for (int j = 0; j < COLUMN_BLOCKS; ++j)
                multiply_add(acc[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }
}

struct Place {
    u32 matrix;
    u32 row_block;
    u32 column_block;
};

__device__ __forceinline__ Place place_of(u32 cta, u32 n) {
    const u32 row_blocks = n / CTA_ROWS;
    const u32 column_blocks = n / CTA_COLUMNS;
    const u32 in_matrix = cta % (row_blocks * column_blocks);
    const u32 group_ctas = GROUP_ROWS * column_blocks;
    const u32 first_row = in_matrix / group_ctas * GROUP_ROWS;
    const u32 rows = row_blocks - first_row < GROUP_ROWS ? row_blocks - first_row : GROUP_ROWS;
    const u32 in_group = in_matrix % group_ctas;
    return {cta / (row_blocks * column_blocks), first_row + in_group % rows, in_group / rows};
}

}  // namespace

extern "C" __global__ __launch_bounds__(THREADS, 1) void fill_mma(const i8* __restrict__ a, const i8* __restrict__ b,
                                                                  const u64* __restrict__ key, u8* __restrict__ tiles,
                                                                  u64* __restrict__ digests, u32 n, u32 k) {
    extern __shared__ __align__(128) u8 stages[];
    const u32 stages_address = shared_address(stages);
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int warp_row = warp / WARPS_ACROSS;
    const int warp_column = warp % WARPS_ACROSS;

    const Place place = place_of(blockIdx.x, n);
    a += (static_cast<u64>(place.matrix) * n + place.row_block * CTA_ROWS) * k;
    b += static_cast<u64>(place.column_block) * CTA_COLUMNS * k;

    int acc[ROW_BLOCKS][COLUMN_BLOCKS][4] = {};
    const u32 steps = k / STEP_BYTES;
    u32 loaded = 0;
    for (; loaded < STAGES - 1; ++loaded) {
        if (loaded < steps) load_stage(stages_address + loaded * STAGE_BYTES, a + loaded * STEP_BYTES, b + loaded * STEP_BYTES, k);
        copy_commit();
    }
    for (u32 step = 0; step < steps; ++step, ++loaded) {
        copy_wait<STAGES - 2>();
        __syncthreads();  // this step's bytes are there for all, and all are done with the stage loaded next
        if (loaded < steps)
            load_stage(stages_address + loaded % STAGES * STAGE_BYTES, a + loaded * STEP_BYTES, b + loaded * STEP_BYTES, k);
        copy_commit();
        multiply_stage(acc, stages_address + step % STAGES * STAGE_BYTES, warp_row, warp_column);
    }

    const u32 tiles_across = n / TILE_ROW_BYTES;
    const u64 tile = (static_cast<u64>(place.matrix) * tiles_across + place.row_block / 2) * tiles_across + place.column_block;
    const int thread_row = static_cast<int>(place.row_block % 2) * CTA_ROWS + warp_row * WARP_ROWS + lane / 4;
    const int thread_column = warp_column * WARP_COLUMNS + lane % 4 * 16;
    u8* out = tiles + tile * TILE_BYTES;
    u64 sum = 0;
#pragma unroll
    for (int i = 0; i < ROW_BLOCKS; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = thread_row + i * 16 + half * 8;
            u32 word[4];
#pragma unroll
            for (int w = 0; w < 4; ++w) {
                const int* left = &acc[i][2 * w][2 * half];
                const int* right = &acc[i][2 * w + 1][2 * half];
                word[w] = fold_word(left[0], left[1], right[0], right[1]);
            }
            const uint4 words = make_uint4(word[0], word[1], word[2], word[3]);
            *reinterpret_cast<uint4*>(out + row * TILE_ROW_BYTES + thread_column) = words;
            add_fill_products(sum, key + row * TILE_ROW_WORDS + thread_column / 4, words);
        }
    }
    sum = sum_over_warp(sum);
    if (lane == 0) atomicAdd(&digests[tile], sum);
}
