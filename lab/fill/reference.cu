// The fill once more, the slow plain way, for comparison on the device.
#include <cstdint>

#include "../../crates/engine-cuda/kernels/chacha8.cuh"

struct KeystreamKey {
    u32 words[8];
};

extern "C" __global__ void ref_keystream(uint8_t* out, const KeystreamKey key, uint32_t nonce0, uint64_t index, uint32_t blocks) {
    for (uint32_t block = blockIdx.x * blockDim.x + threadIdx.x; block < blocks; block += gridDim.x * blockDim.x) {
        const ChaCha8Block words = ChaCha8Stream(key.words, nonce0, uint32_t(index), uint32_t(index >> 32)).block(block);
        for (int i = 0; i < 16; ++i) reinterpret_cast<uint32_t*>(out)[uint64_t(block) * 16 + i] = words.word[i];
    }
}

// One matrix: a, b are n x k; tiles is the matrix's n*n bytes in tile order. report = {mismatches, first r, first c, expected, got}
extern "C" __global__ void ref_compare(const int8_t* a, const int8_t* b, const uint8_t* tiles, uint32_t n, uint32_t k, uint32_t* report) {
    uint32_t c = blockIdx.x * 16 + threadIdx.x, r = blockIdx.y * 16 + threadIdx.y;
    const int4* ra = reinterpret_cast<const int4*>(a + uint64_t(r) * k);
    const int4* rb = reinterpret_cast<const int4*>(b + uint64_t(c) * k);
    int acc = 0;
    for (uint32_t q = 0; q < k / 16; ++q) {
        int4 x = ra[q], y = rb[q];
        acc = __dp4a(x.x, y.x, acc); acc = __dp4a(x.y, y.y, acc); acc = __dp4a(x.z, y.z, acc); acc = __dp4a(x.w, y.w, acc);
    }
    uint32_t h = uint32_t(acc) * 0x9E3779B1u;
    h ^= h >> 15;
    h *= 0x85EBCA6Bu;
    uint8_t want = h >> 24;
    uint8_t got = tiles[(uint64_t(r / 256) * (n / 256) + c / 256) * 65536 + (r % 256) * 256 + c % 256];
    if (want != got && atomicAdd(report, 1) == 0) { report[1] = r; report[2] = c; report[3] = want; report[4] = got; }
}

// A CTA a tile: compares digests[tile] with the keyed sum of the tile's words.
extern "C" __global__ void ref_digest(const uint32_t* dataset, const u64* key_words, const u64* digests, uint32_t* report) {
    __shared__ unsigned long long sum;
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    unsigned long long part = 0;
    for (uint32_t j = threadIdx.x; j < 16384; j += blockDim.x) part += key_words[j] * dataset[uint64_t(blockIdx.x) * 16384 + j];
    atomicAdd(&sum, part);
    __syncthreads();
    if (threadIdx.x == 0 && sum != digests[blockIdx.x]) atomicAdd(report + 5, 1);
}
