// ChaCha8 in the IETF layout (spec §4 `keystream`): 32-byte key, 12-byte nonce, 32-bit block counter.
//
// A block is 64 bytes, held as sixteen little-endian u32 words.
#pragma once

using u32 = unsigned int;
using u64 = unsigned long long;

struct ChaCha8Block {
    u32 word[16];
};

namespace chacha8 {

constexpr u32 BLOCK_BYTES = 64;
constexpr int DOUBLE_ROUNDS = 4;

__device__ __forceinline__ u32 rotate_left(u32 x, int bits) { return __funnelshift_l(x, x, bits); }

__device__ __forceinline__ void quarter_round(ChaCha8Block& x, int a, int b, int c, int d) {
    x.word[a] += x.word[b];
    x.word[d] = rotate_left(x.word[d] ^ x.word[a], 16);
    x.word[c] += x.word[d];
    x.word[b] = rotate_left(x.word[b] ^ x.word[c], 12);
    x.word[a] += x.word[b];
    x.word[d] = rotate_left(x.word[d] ^ x.word[a], 8);
    x.word[c] += x.word[d];
    x.word[b] = rotate_left(x.word[b] ^ x.word[c], 7);
}

__device__ __forceinline__ void diagonal_round(ChaCha8Block& x) {
    quarter_round(x, 0, 5, 10, 15);
    quarter_round(x, 1, 6, 11, 12);
    quarter_round(x, 2, 7, 8, 13);
    quarter_round(x, 3, 4, 9, 14);
}

__device__ __forceinline__ void column_round(ChaCha8Block& x) {
    quarter_round(x, 0, 4, 8, 12);
    quarter_round(x, 1, 5, 9, 13);
    quarter_round(x, 2, 6, 10, 14);
    quarter_round(x, 3, 7, 11, 15);
}

}  // namespace chacha8

// One keystream: everything of a block that doesn't depend on the counter.
//
// The counter sits in column 0, so the first round's other three columns are the same in every block: they are
// computed once here, which saves a tenth of the work of each block.
struct ChaCha8Stream {
    ChaCha8Block initial;
    ChaCha8Block columns_done;

    __device__ __forceinline__ ChaCha8Stream(const u32* __restrict__ key, u32 nonce0, u32 nonce1, u32 nonce2) {
        initial.word[0] = 0x61707865;
        initial.word[1] = 0x3320646e;
        initial.word[2] = 0x79622d32;
        initial.word[3] = 0x6b206574;
#pragma unroll
        for (int i = 0; i < 8; ++i) initial.word[4 + i] = key[i];
        initial.word[12] = 0;
        initial.word[13] = nonce0;
        initial.word[14] = nonce1;
        initial.word[15] = nonce2;

        columns_done = initial;
        chacha8::quarter_round(columns_done, 1, 5, 9, 13);
        chacha8::quarter_round(columns_done, 2, 6, 10, 14);
        chacha8::quarter_round(columns_done, 3, 7, 11, 15);
    }

    __device__ __forceinline__ ChaCha8Block block(u32 counter) const {
        ChaCha8Block x = columns_done;
        x.word[12] = counter;
        chacha8::quarter_round(x, 0, 4, 8, 12);
        chacha8::diagonal_round(x);
#pragma unroll
        for (int i = 1; i < chacha8::DOUBLE_ROUNDS; ++i) {
            chacha8::column_round(x);
            chacha8::diagonal_round(x);
        }
#pragma unroll
        for (int i = 0; i < 16; ++i) x.word[i] += i == 12 ? counter : initial.word[i];
        return x;
    }
};
