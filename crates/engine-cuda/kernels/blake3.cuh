// BLAKE3 as far as spec §4 needs it: unkeyed hashes, and `derive` under a context key that the host worked out.
#pragma once

using u32 = unsigned int;
using u64 = unsigned long long;

// Eight words: a chaining value, a root, a salt or a context key, each 32 bytes little-endian.
struct Words8 {
    u32 word[8];
};

namespace blake3 {

constexpr u32 CHUNK_START = 1;
constexpr u32 CHUNK_END = 2;
constexpr u32 PARENT = 4;
constexpr u32 ROOT = 8;
constexpr u32 DERIVE_KEY_MATERIAL = 64;

constexpr u32 BLOCK_BYTES = 64;
constexpr u32 CHUNK_BYTES = 1024;
constexpr int ROUNDS = 7;

__device__ __forceinline__ Words8 unkeyed() {
    return {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};
}

__device__ __forceinline__ u32 rotate_right(u32 x, int bits) { return __funnelshift_r(x, x, bits); }

__device__ __forceinline__ void mix(u32 (&v)[16], int a, int b, int c, int d, u32 x, u32 y) {
    v[a] += v[b] + x;
    v[d] = rotate_right(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = rotate_right(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 7);
}

// The chaining value after one block; `counter` is the chunk's number, 0 in a parent.
__device__ __forceinline__ Words8 compress(const Words8& chaining, const u32 (&block)[16], u32 counter, u32 bytes,
                                           u32 flags) {
    const Words8 iv = unkeyed();
    u32 v[16];
    u32 m[16];
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = chaining.word[i];
#pragma unroll
    for (int i = 0; i < 4; ++i) v[8 + i] = iv.word[i];
    v[12] = counter;
    v[13] = 0;
    v[14] = bytes;
    v[15] = flags;
#pragma unroll
    for (int i = 0; i < 16; ++i) m[i] = block[i];

#pragma unroll
    for (int round = 0; round < ROUNDS; ++round) {
        mix(v, 0, 4, 8, 12, m[0], m[1]);
        mix(v, 1, 5, 9, 13, m[2], m[3]);
        mix(v, 2, 6, 10, 14, m[4], m[5]);
        mix(v, 3, 7, 11, 15, m[6], m[7]);
        mix(v, 0, 5, 10, 15, m[8], m[9]);
        mix(v, 1, 6, 11, 12, m[10], m[11]);
        mix(v, 2, 7, 8, 13, m[12], m[13]);
        mix(v, 3, 4, 9, 14, m[14], m[15]);
        // The message schedule of the next round: renaming only, once unrolled.
        const u32 next[16] = {m[2], m[6],  m[3],  m[10], m[7], m[0],  m[4],  m[13],
                              m[1], m[11], m[12], m[5],  m[9], m[14], m[15], m[8]};
#pragma unroll
        for (int i = 0; i < 16; ++i) m[i] = next[i];
    }

    Words8 out;
#pragma unroll
    for (int i = 0; i < 8; ++i) out.word[i] = v[i] ^ v[8 + i];
    return out;
}

__device__ __forceinline__ Words8 parent(const Words8& left, const Words8& right, u32 root_flag) {
    u32 block[16];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        block[i] = left.word[i];
        block[8 + i] = right.word[i];
    }
    return compress(unkeyed(), block, 0, BLOCK_BYTES, PARENT | root_flag);
}

}  // namespace blake3
