// Digests and the matching of a sweep (spec §4).
#pragma once

using u8 = unsigned char;
using u32 = unsigned int;
using u64 = unsigned long long;

constexpr u32 TILE_BYTES = 65536;
constexpr u32 TILE_WORDS = TILE_BYTES / 4;

// A key as key.cu lays it out: K, the four Feistel keys, z, and the sweep's ticket counter.
struct SweepKey {
    u64 k[TILE_WORDS];
    u32 feistel[4];
    u32 z;
    u32 tickets;
    u32 padding[2];
};

static_assert(sizeof(SweepKey) == 131104, "key.cu writes 131,104 bytes");

// MurmurHash3's finalizer.
__device__ __forceinline__ u32 fmix32(u32 x) {
    x ^= x >> 16;
    x *= 0x85EBCA6Bu;
    x ^= x >> 13;
    x *= 0xC2B2AE35u;
    return x ^ x >> 16;
}

// The random matching of `num_tiles` tiles and the word shift of its leaves.
struct RandomMatching {
    u32 num_tiles;
    u32 half_bits;
    u32 feistel[4];
    u32 z;

    __device__ __forceinline__ RandomMatching(u32 tiles, const SweepKey* key) : num_tiles(tiles), half_bits(1), z(key->z) {
        while (half_bits < 16 && 1u << 2 * half_bits < tiles) ++half_bits;
#pragma unroll
        for (int i = 0; i < 4; ++i) feistel[i] = key->feistel[i];
    }

    // With other keys, and without shifts.
    __device__ __forceinline__ RandomMatching(u32 tiles, const uint4& keys)
        : num_tiles(tiles), half_bits(1), feistel{keys.x, keys.y, keys.z, keys.w}, z(0) {
        while (half_bits < 16 && 1u << 2 * half_bits < tiles) ++half_bits;
    }

    // permute(x): a Feistel network over the smallest even number of bits, walked until it falls below num_tiles.
    __device__ __forceinline__ u32 tile(u32 x) const {
        const u32 mask = (1u << half_bits) - 1;
        do {
            u32 left = x >> half_bits;
            u32 right = x & mask;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const u32 next = left ^ (fmix32(right ^ feistel[i]) & mask);
                left = right;
                right = next;
            }
            x = left << half_bits | right;
        } while (x >= num_tiles);
        return x;
    }

    // m: word i of tile a meets word i ^ m of tile b.
    __device__ __forceinline__ u32 shift(u32 leaf) const { return fmix32(leaf ^ z) & (TILE_WORDS - 1); }
};

__device__ __forceinline__ u64 sum_over_warp(u64 sum) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    return sum;
}

// The four words of b that meet those of a under the low two bits of the shift.
__device__ __forceinline__ uint4 shift_within_vector(uint4 b, u32 shift) {
    const bool odd = shift & 1;
    const bool upper = shift & 2;
    const u32 x = odd ? b.y : b.x;
    const u32 y = odd ? b.x : b.y;
    const u32 z = odd ? b.w : b.z;
    const u32 w = odd ? b.z : b.w;
    return upper ? make_uint4(z, w, x, y) : make_uint4(x, y, z, w);
}

// Adds K_i * a_i * b_i over four words that meet.
__device__ __forceinline__ void add_pair_products(u64& sum, const u64 (&k)[4], uint4 a, uint4 b) {
    sum += k[0] * (static_cast<u64>(a.x) * b.x);
    sum += k[1] * (static_cast<u64>(a.y) * b.y);
    sum += k[2] * (static_cast<u64>(a.z) * b.z);
    sum += k[3] * (static_cast<u64>(a.w) * b.w);
}

__device__ __forceinline__ void load_key_vector(u64 (&k)[4], const u64* __restrict__ source) {
    const ulonglong2 low = reinterpret_cast<const ulonglong2*>(source)[0];
    const ulonglong2 high = reinterpret_cast<const ulonglong2*>(source)[1];
    k[0] = low.x;
    k[1] = low.y;
    k[2] = high.x;
    k[3] = high.y;
}

// Adds K_j * w_j over four words of a tile: a part of its fill digest.
__device__ __forceinline__ void add_fill_products(u64& sum, const u64* __restrict__ key, uint4 words) {
    u64 k[4];
    load_key_vector(k, key);
    sum += k[0] * words.x + k[1] * words.y + k[2] * words.z + k[3] * words.w;
}
