// The root of a device's leaves, and the salt of its next sweep (spec §4).
//
// Launch:  grid = ceil(num_leaves / 8192), block = 64: a thread a BLAKE3 chunk of 128 leaves. The last CTA to finish
//          joins the subtrees of all, then derives the salt.
// Memory:  leaves[num_leaves] u64, 16-byte aligned, 1 <= num_leaves <= 2^31. root[8] out.
//          subtrees[grid] Words8: scratch. finished: one u32, 0 before the first launch; each launch leaves it 0.
//          next_salt[8] out = derive("next sweep salt", salt | root | u32 ordinal), or null where there is none (salt is
//          not read then). context_key: BLAKE3's derive_key context key of that purpose. next_salt may not be salt.
// Shared:  the chaining values of the CTA's 64 chunks (2 KiB).

#include "blake3.cuh"

namespace {

constexpr u32 THREADS = 64;
constexpr u32 BLOCK_LEAVES = blake3::BLOCK_BYTES / 8;
constexpr u32 CHUNK_LEAVES = blake3::CHUNK_BYTES / 8;

// A block of leaves as message words, zeros past the last leaf.
__device__ __forceinline__ void load_block(u32 (&block)[16], const u64* leaves, u32 first, u32 end) {
    if (first + BLOCK_LEAVES <= end) {
        const uint4* source = reinterpret_cast<const uint4*>(leaves + first);
#pragma unroll
        for (int v = 0; v < 4; ++v) {
            const uint4 words = __ldcg(source + v);
            block[4 * v] = words.x;
            block[4 * v + 1] = words.y;
            block[4 * v + 2] = words.z;
            block[4 * v + 3] = words.w;
        }
    } else {
#pragma unroll
        for (u32 i = 0; i < BLOCK_LEAVES; ++i) {
            const u64 leaf = first + i < end ? __ldcg(leaves + first + i) : 0;
            block[2 * i] = static_cast<u32>(leaf);
            block[2 * i + 1] = static_cast<u32>(leaf >> 32);
        }
    }
}

// The chaining value of the chunk of leaves first..end; the next block is loaded while one is compressed.
__device__ __forceinline__ Words8 hash_chunk(const u64* leaves, u32 first, u32 end, u32 chunk, u32 root_flag) {
    Words8 value = blake3::unkeyed();
    u32 flags = blake3::CHUNK_START;
    u32 block[16];
    load_block(block, leaves, first, end);
#pragma unroll 1
    while (end - first > BLOCK_LEAVES) {
        u32 next[16];
        load_block(next, leaves, first + BLOCK_LEAVES, end);
        value = blake3::compress(value, block, chunk, blake3::BLOCK_BYTES, flags);
        flags = 0;
        first += BLOCK_LEAVES;
#pragma unroll
        for (int i = 0; i < 16; ++i) block[i] = next[i];
    }
    return blake3::compress(value, block, chunk, (end - first) * 8, flags | blake3::CHUNK_END | root_flag);
}

// Joins neighbours, level by level, until one node is left in nodes[0]; an odd last node moves up as it is. Since
// every CTA's nodes start at a multiple of its power of two, this is BLAKE3's own tree. All threads call it; `root_flag`
// marks the last join.
__device__ __forceinline__ void join_nodes(Words8* nodes, u32 count, u32 root_flag) {
    while (count > 1) {
        const u32 joins = count / 2;
        const u32 left = count - joins;
        for (u32 first = 0; first < left; first += THREADS) {
            const u32 i = first + threadIdx.x;
            Words8 node;
            if (i < joins)
                node = blake3::parent(nodes[2 * i], nodes[2 * i + 1], count == 2 ? root_flag : 0);
            else if (i < left)
                node = nodes[2 * i];
            __syncthreads();  // what the threads read lies in the way of what they write
            if (i < left) nodes[i] = node;
            __syncthreads();
        }
        count = left;
    }
}

__device__ __forceinline__ Words8 derive_next_salt(const Words8& context_key, const Words8& salt, const Words8& root,
                                                   u32 ordinal) {
    u32 block[16];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        block[i] = salt.word[i];
        block[8 + i] = root.word[i];
    }
    const u32 flags = blake3::DERIVE_KEY_MATERIAL;
    const Words8 value =
        blake3::compress(context_key, block, 0, blake3::BLOCK_BYTES, flags | blake3::CHUNK_START);
    const u32 last[16] = {ordinal};
    return blake3::compress(value, last, 0, 4, flags | blake3::CHUNK_END | blake3::ROOT);
}

}  // namespace

extern "C" __global__ __launch_bounds__(THREADS) void commit(const u64* __restrict__ leaves, u32 num_leaves,
                                                             Words8* subtrees, u32* finished, Words8* root,
                                                             Words8 context_key, const Words8* salt, u32 ordinal,
                                                             Words8* next_salt) {
    __shared__ Words8 nodes[THREADS];
    __shared__ bool is_last;
    const u32 num_chunks = num_leaves / CHUNK_LEAVES + (num_leaves % CHUNK_LEAVES != 0);
    const u32 first_chunk = blockIdx.x * THREADS;
    const u32 chunk = first_chunk + threadIdx.x;
    const u32 chunks_here = num_chunks - first_chunk < THREADS ? num_chunks - first_chunk : THREADS;
    const u32 root_flag = gridDim.x == 1 ? blake3::ROOT : 0;

    if (chunk < num_chunks) {
        const u32 first = chunk * CHUNK_LEAVES;
        const u32 end = num_leaves - first < CHUNK_LEAVES ? num_leaves : first + CHUNK_LEAVES;
        nodes[threadIdx.x] = hash_chunk(leaves, first, end, chunk, num_chunks == 1 ? blake3::ROOT : 0);
    }
    __syncthreads();
    join_nodes(nodes, chunks_here, root_flag);

    if (threadIdx.x == 0) {
        subtrees[blockIdx.x] = nodes[0];
        __threadfence();
        is_last = atomicAdd(finished, 1) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (!is_last) return;

    join_nodes(subtrees, gridDim.x, blake3::ROOT);
    if (threadIdx.x == 0) {
        const Words8 value = subtrees[0];
        *root = value;
        *finished = 0;
        if (next_salt != nullptr) *next_salt = derive_next_salt(context_key, *salt, value, ordinal);
    }
}
