// Operands (spec §4): ChaCha8 keystreams in one launch.
//
//   keystream       several consecutive matrices, for a fill
//   keystream_rows  256 rows each from anywhere in any operand, for single tiles
//
// keystream
//   Launch:  grid = (CTAs a matrix, number of matrices), block = 256.
//            A CTA takes blocks of 16 KiB in strides of grid.x; 16 or more a CTA amortise its set-up.
//            A_i: tag 0x41, first_index = the first matrix's global index. B: tag 0x42, first_index 0, one matrix.
//   Memory:  out[matrix][n * k] bytes, 16-byte aligned; blocks_per_matrix = n * k / 64, a multiple of 256.
//            key[8], little-endian words of operand_key.
//   Shared:  8 warps x 2 KiB, in which a warp turns its 32 blocks (a lane each) into 512-byte rows of stores.
//
// keystream_rows
//   Launch:  grid = (CTAs a panel, number of panels), block = 256.
//   Memory:  out[panel][256 * k] bytes, 16-byte aligned; blocks_per_panel = 4 * k, a multiple of 256; key as above.
//            places[panel] = tag, low and high half of the matrix's index, first block of the rows: 4 * k * row block.
//   Shared:  as above.

#include "chacha8.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int VECTORS_PER_BLOCK = 4;
constexpr int VECTORS_PER_WARP = 32 * VECTORS_PER_BLOCK;

static_assert(chacha8::BLOCK_BYTES == VECTORS_PER_BLOCK * sizeof(uint4), "a block is four vectors");

// Where vector `v` of lane `lane`'s block lies: eight consecutive lanes, writing the same v or reading consecutive
// vectors, meet eight different 16-byte banks.
__device__ __forceinline__ int swizzled(int lane, int v) { return lane * VECTORS_PER_BLOCK + (v ^ (lane >> 1 & 3)); }

__device__ __forceinline__ void store_coalesced(uint4* out, uint4* staging, const ChaCha8Block& x, int lane) {
#pragma unroll
    for (int v = 0; v < VECTORS_PER_BLOCK; ++v)
        staging[swizzled(lane, v)] = make_uint4(x.word[4 * v], x.word[4 * v + 1], x.word[4 * v + 2], x.word[4 * v + 3]);
    __syncwarp();
#pragma unroll
    for (int row = 0; row < VECTORS_PER_BLOCK; ++row) {
        const int vector = row * 32 + lane;
        out[vector] = staging[swizzled(vector / VECTORS_PER_BLOCK, vector % VECTORS_PER_BLOCK)];
    }
    __syncwarp();
}

// Blocks first_block .. first_block + num_blocks of a keystream, by the CTAs of a grid row.
__device__ __forceinline__ void generate(uint4* out, const ChaCha8Stream& stream, u32 first_block, u32 num_blocks) {
    __shared__ uint4 staging[WARPS][VECTORS_PER_WARP];
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    for (u32 first = blockIdx.x * THREADS + warp * 32; first < num_blocks; first += gridDim.x * THREADS) {
        store_coalesced(out + static_cast<u64>(first) * VECTORS_PER_BLOCK, staging[warp],
                        stream.block(first_block + first + lane), lane);
    }
}

}  // namespace

extern "C" __global__ __launch_bounds__(THREADS, 4) void keystream(uint4* __restrict__ out, const u32* __restrict__ key,
                                                                   u32 tag, u64 first_index, u32 blocks_per_matrix) {
    const u32 matrix = blockIdx.y;
    const u64 index = first_index + matrix;
    const ChaCha8Stream stream(key, tag, static_cast<u32>(index), static_cast<u32>(index >> 32));
    generate(out + static_cast<u64>(matrix) * blocks_per_matrix * VECTORS_PER_BLOCK, stream, 0, blocks_per_matrix);
}

extern "C" __global__ __launch_bounds__(THREADS, 4) void keystream_rows(uint4* __restrict__ out, const u32* __restrict__ key,
                                                                        const uint4* __restrict__ places,
                                                                        u32 blocks_per_panel) {
    const u32 panel = blockIdx.y;
    const uint4 place = places[panel];
    const ChaCha8Stream stream(key, place.x, place.y, place.z);
    generate(out + static_cast<u64>(panel) * blocks_per_panel * VECTORS_PER_BLOCK, stream, place.w, blocks_per_panel);
}
