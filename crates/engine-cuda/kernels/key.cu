// key(salt) (spec §4): digest key, matching and shift of one sweep, or the key of the fill digests.
//
// Launch:  grid = 33, block = 64: a thread a ChaCha8 block, for the shortest chain between two sweeps.
// Memory:  salt[8] words in; key out, 131,104 bytes, 16-byte aligned:
//            [0, 131072)        K_j, 16,384 u64
//            [131072, 131088)   the four Feistel keys, u32
//            [131088, 131092)   z, u32
//            [131092, 131096)   the ticket counter of sweep_bulk, set to 0
//            [131096, 131104)   0
// Shared:  none.

#include "chacha8.cuh"

namespace {

constexpr u32 KEY_BLOCKS = 131072 / chacha8::BLOCK_BYTES;

}  // namespace

extern "C" __global__ __launch_bounds__(64) void key(const u32* __restrict__ salt, uint4* __restrict__ out) {
    const u32 counter = blockIdx.x * blockDim.x + threadIdx.x;
    if (counter > KEY_BLOCKS) return;
    const ChaCha8Block x = ChaCha8Stream(salt, 0, 0, 0).block(counter);
    uint4* block = out + static_cast<u64>(counter) * 4;
    block[0] = make_uint4(x.word[0], x.word[1], x.word[2], x.word[3]);
    if (counter == KEY_BLOCKS) {
        block[1] = make_uint4(x.word[4], 0, 0, 0);
        return;
    }
#pragma unroll
    for (int v = 1; v < 4; ++v)
        block[v] = make_uint4(x.word[4 * v], x.word[4 * v + 1], x.word[4 * v + 2], x.word[4 * v + 3]);
}
