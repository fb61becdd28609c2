// One sweep of a device's tiles (spec §4): the pair digest of every leaf of a random matching.
//
//   sweep_bulk  sm_90 and later: tiles stream through a ring of shared memory by the bulk copy engine
//   sweep_load  any architecture: tiles stream through registers
//
// Both read tiles[num_tiles][65536] (16-byte aligned) and a SweepKey (digest.cuh, written by key.cu), and write
// leaves[ceil(num_tiles / 2)].
//
// sweep_bulk
//   Launch:  grid = min(number of SMs, leaves), block = 544, dynamic shared memory = stages * 32768, with as many
//            stages as fit the device's opt-in limit less 1024 bytes, 2 to 16: 7 on sm_90 and sm_100, 3 on sm_120.
//            The key's ticket counter is 0 at the start: a key serves one launch.
//   Shared:  stages x { 16 KiB of tile a | 16 KiB of tile b }, then barriers, leaf numbers and partial sums (static).
//   Warps 0..15 multiply, each thread with its 32 words of K in registers for the whole sweep; warp 16 takes leaves
//   by ticket, works out which tiles they pair and keeps the ring full. The ring holds some six times the bytes that
//   latency times bandwidth asks for, so that neither jumps between tiles nor a slow page walk show.
//
// sweep_load
//   Launch:  grid = number of SMs, block = 512. Shared: tile numbers and partial sums (static).

#include "digest.cuh"

namespace {

constexpr u32 VECTOR_WORDS = 4;
constexpr u32 TILE_VECTORS = TILE_WORDS / VECTOR_WORDS;

// Which leaf each ticket is, and which tiles a leaf pairs: here those of one device, all of them by a matching.
template <class Matching>
struct SweepPairs {
    const u8* tiles;
    u32 num_tiles;
    Matching matching;

    __device__ __forceinline__ SweepPairs(const u8* tiles, u32 num_tiles, const SweepKey* key)
        : tiles(tiles), num_tiles(num_tiles), matching(num_tiles, key) {}

    __device__ __forceinline__ u32 num_leaves() const { return num_tiles / 2 + num_tiles % 2; }

    __device__ __forceinline__ u32 leaf(u32 ticket) const { return ticket; }

    // The number of a leaf's tile a (which = 0) or b (which = 1): of an odd last tile both are the same.
    __device__ __forceinline__ u32 tile(u32 leaf, u32 which) const {
        const u32 position = 2 * leaf + which;
        return matching.tile(position < num_tiles ? position : num_tiles - 1);
    }

    // Where the tiles of these numbers are.
    __device__ __forceinline__ const u8* a(u32 tile) const { return tiles + static_cast<u64>(tile) * TILE_BYTES; }
    __device__ __forceinline__ const u8* b(u32, u32 tile) const { return a(tile); }

    __device__ __forceinline__ u32 shift(u32 leaf) const { return matching.shift(leaf); }
};

}  // namespace

#if __CUDA_ARCH__ >= 900 || !defined(__CUDA_ARCH__)

namespace bulk {

constexpr u32 PART_BYTES = 16384;
constexpr u32 PARTS = TILE_BYTES / PART_BYTES;
constexpr u32 PART_VECTORS = PART_BYTES / sizeof(uint4);
constexpr u32 STAGE_BYTES = 2 * PART_BYTES;
constexpr u32 MAX_STAGES = 16;
constexpr u32 CONSUMER_WARPS = 16;
constexpr u32 CONSUMERS = CONSUMER_WARPS * 32;
constexpr u32 THREADS = CONSUMERS + 32;
constexpr u32 VECTORS_A_THREAD = PART_VECTORS / CONSUMERS;
constexpr u32 NO_LEAF = 0xFFFFFFFFu;

static_assert(PART_VECTORS % CONSUMERS == 0, "consumers share a part evenly");

struct Control {
    u64 full[MAX_STAGES];
    u64 empty[MAX_STAGES];
    u32 leaf[MAX_STAGES];
    u64 partial[2][CONSUMER_WARPS];
};

// A place in the ring, and the parity of the round that it is in.
struct Cursor {
    u32 stage = 0;
    u32 parity = 0;

    __device__ __forceinline__ void advance(u32 stages) {
        if (++stage == stages) {
            stage = 0;
            parity ^= 1;
        }
    }
};

__device__ __forceinline__ u32 shared_address(const void* pointer) {
    return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void barrier_init(u64* barrier, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void barrier_init_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ __forceinline__ void barrier_arrive(u64* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

__device__ __forceinline__ void barrier_arrive_expecting(u64* barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void barrier_wait(u64* barrier, u32 parity) {
    u32 done;
    do {
        asm volatile(
            "{\n\t"
            ".reg .pred complete;\n\t"
            "mbarrier.try_wait.parity.shared::cta.b64 complete, [%1], %2;\n\t"
            "selp.u32 %0, 1, 0, complete;\n\t"
            "}"
            : "=r"(done)
            : "r"(shared_address(barrier)), "r"(parity)
            : "memory");
    } while (!done);
}

// Without an L2 hint: evict_first changes nothing, evict_normal costs an eighth of the bandwidth.
__device__ __forceinline__ void copy_to_shared(u8* target, const u8* source, u32 bytes, u64* barrier) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
            shared_address(target)),
        "l"(source), "r"(bytes), "r"(shared_address(barrier))
        : "memory");
}

__device__ __forceinline__ void consumers_sync() { asm volatile("bar.sync 1, %0;" ::"n"(CONSUMERS) : "memory"); }

// Keeps the ring full, from the first ticket to the first that names no leaf.
template <class Pairs>
__device__ __forceinline__ void produce(const Pairs& pairs, u32 num_leaves, u32* tickets, Control& control, u8* ring,
                                        u32 stages) {
    const u32 lane = threadIdx.x % 32;
    Cursor at;
    u32 ticket = 0;
    if (lane == 0) ticket = atomicAdd(tickets, 1);
    ticket = __shfl_sync(0xffffffffu, ticket, 0);
    while (ticket < num_leaves) {
        u32 next = 0;
        if (lane == 0) next = atomicAdd(tickets, 1);  // its latency passes while this leaf's parts are issued

        // Lane 0 finds a and lane 1 b.
        const u32 leaf = pairs.leaf(ticket);
        const u32 tile = pairs.tile(leaf, lane & 1);
        const u8* a = pairs.a(__shfl_sync(0xffffffffu, tile, 0));
        const u8* b = pairs.b(leaf, __shfl_sync(0xffffffffu, tile, 1));
        const u32 part_shift = pairs.shift(leaf) / (PART_VECTORS * VECTOR_WORDS);

        for (u32 part = 0; part < PARTS; ++part) {
            barrier_wait(&control.empty[at.stage], at.parity ^ 1);
            if (lane == 0) {
                u64* full = &control.full[at.stage];
                u8* stage = ring + at.stage * STAGE_BYTES;
                control.leaf[at.stage] = leaf;
                barrier_arrive_expecting(full, STAGE_BYTES);
                copy_to_shared(stage, a + part * PART_BYTES, PART_BYTES, full);
                copy_to_shared(stage + PART_BYTES, b + (part ^ part_shift) * PART_BYTES, PART_BYTES, full);
            }
            at.advance(stages);
        }
        ticket = __shfl_sync(0xffffffffu, next, 0);
    }
    barrier_wait(&control.empty[at.stage], at.parity ^ 1);
    if (lane == 0) {
        control.leaf[at.stage] = NO_LEAF;
        barrier_arrive(&control.full[at.stage]);
    }
}

template <class Pairs>
__device__ __forceinline__ void consume(const Pairs& pairs, const u64* __restrict__ key, u64* leaves, Control& control,
                                        const u8* ring, u32 stages) {
    const u32 thread = threadIdx.x;
    const u32 warp = thread / 32;
    const u32 lane = thread % 32;

    u64 k[PARTS][VECTORS_A_THREAD][VECTOR_WORDS];
#pragma unroll
    for (u32 part = 0; part < PARTS; ++part) {
#pragma unroll
        for (u32 v = 0; v < VECTORS_A_THREAD; ++v)
            load_key_vector(k[part][v], key + (part * PART_VECTORS + v * CONSUMERS + thread) * VECTOR_WORDS);
    }

    Cursor at;
    for (u32 round = 0;; ++round) {
        barrier_wait(&control.full[at.stage], at.parity);
        const u32 leaf = control.leaf[at.stage];
        if (leaf == NO_LEAF) return;
        const u32 shift = pairs.shift(leaf);
        const u32 vector_shift = shift / VECTOR_WORDS % PART_VECTORS;

        u64 sum = 0;
#pragma unroll
        for (u32 part = 0; part < PARTS; ++part) {
            if (part > 0) barrier_wait(&control.full[at.stage], at.parity);
            const uint4* a = reinterpret_cast<const uint4*>(ring + at.stage * STAGE_BYTES);
            const uint4* b = a + PART_VECTORS;
#pragma unroll
            for (u32 v = 0; v < VECTORS_A_THREAD; ++v) {
                const u32 i = v * CONSUMERS + thread;
                add_pair_products(sum, k[part][v], a[i], shift_within_vector(b[i ^ vector_shift], shift));
            }
            barrier_arrive(&control.empty[at.stage]);  // each thread for its own reads: racecheck can follow that
            at.advance(stages);
        }

        // Two sets of partial sums take turns, so that one barrier a leaf is enough.
        sum = sum_over_warp(sum);
        u64* partial = control.partial[round % 2];
        if (lane == 0) partial[warp] = sum;
        consumers_sync();
        if (warp == 0) {
            sum = sum_over_warp(lane < CONSUMER_WARPS ? partial[lane] : 0);
            if (lane == 0) leaves[leaf] = sum;
        }
    }
}

template <class Pairs>
__device__ __forceinline__ void sweep(const Pairs& pairs, SweepKey* key, u64* leaves, u32 stages, u8* ring,
                                      Control& control) {
    const u32 num_leaves = pairs.num_leaves();
    if (threadIdx.x == 0) {
        for (u32 i = 0; i < stages; ++i) {
            barrier_init(&control.full[i], 1);
            barrier_init(&control.empty[i], CONSUMERS);
        }
        barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x < CONSUMERS)
        consume(pairs, key->k, leaves, control, ring, stages);
    else
        produce(pairs, num_leaves, &key->tickets, control, ring, stages);
}

}  // namespace bulk

#ifndef SWEEP_TEMPLATES_ONLY
extern "C" __global__ __launch_bounds__(bulk::THREADS, 1) void sweep_bulk(const u8* __restrict__ tiles, u32 num_tiles,
                                                                          SweepKey* key, u64* __restrict__ leaves,
                                                                          u32 stages) {
    extern __shared__ __align__(128) u8 ring[];
    __shared__ bulk::Control control;
    bulk::sweep(SweepPairs<RandomMatching>(tiles, num_tiles, key), key, leaves, stages, ring, control);
}
#endif

#endif

namespace load {

constexpr u32 WARPS = 16;
constexpr u32 THREADS = WARPS * 32;
constexpr u32 VECTORS_A_THREAD = TILE_VECTORS / THREADS;
constexpr u32 VECTORS_IN_FLIGHT = 4;  // of each tile: beside 64 registers of K more would spill
constexpr u32 MATCHING_WARP = WARPS - 1;

struct Control {
    u32 tile[2][2];
    u64 partial[2][WARPS];
};

__device__ __forceinline__ uint4 read_once(const uint4* source) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(source));
    return v;
}

template <class Pairs>
__device__ __forceinline__ void find_tiles(const Pairs& pairs, u32 ticket, u32 (&tile)[2]) {
    const u32 lane = threadIdx.x % 32;
    if (threadIdx.x / 32 != MATCHING_WARP || lane > 1) return;
    tile[lane] = pairs.tile(pairs.leaf(ticket), lane);
}

template <class Pairs>
__device__ __forceinline__ void sweep(const Pairs& pairs, const SweepKey* key, u64* leaves, Control& control) {
    const u32 num_leaves = pairs.num_leaves();
    const u32 warp = threadIdx.x / 32;
    const u32 lane = threadIdx.x % 32;

    u64 k[VECTORS_A_THREAD][VECTOR_WORDS];
#pragma unroll
    for (u32 v = 0; v < VECTORS_A_THREAD; ++v) load_key_vector(k[v], key->k + (v * THREADS + threadIdx.x) * VECTOR_WORDS);

    if (blockIdx.x < num_leaves) find_tiles(pairs, blockIdx.x, control.tile[0]);
    __syncthreads();
    u32 turn = 0;
    for (u64 next = blockIdx.x; next < num_leaves; turn ^= 1) {
        const u32 leaf = pairs.leaf(static_cast<u32>(next));
        next += gridDim.x;
        const uint4* a = reinterpret_cast<const uint4*>(pairs.a(control.tile[turn][0]));
        const uint4* b = reinterpret_cast<const uint4*>(pairs.b(leaf, control.tile[turn][1]));
        const u32 shift = pairs.shift(leaf);

        u64 sum = 0;
#pragma unroll
        for (u32 first = 0; first < VECTORS_A_THREAD; first += VECTORS_IN_FLIGHT) {
            uint4 of_a[VECTORS_IN_FLIGHT];
            uint4 of_b[VECTORS_IN_FLIGHT];
#pragma unroll
            for (u32 v = 0; v < VECTORS_IN_FLIGHT; ++v) {
                const u32 i = (first + v) * THREADS + threadIdx.x;
                of_a[v] = read_once(a + i);
                of_b[v] = read_once(b + (i ^ shift / VECTOR_WORDS));
            }
            // One warp finds the next leaf's tiles while loads are in flight.
            if (first == 0 && next < num_leaves)
                find_tiles(pairs, static_cast<u32>(next), control.tile[turn ^ 1]);
#pragma unroll
            for (u32 v = 0; v < VECTORS_IN_FLIGHT; ++v)
                add_pair_products(sum, k[first + v], of_a[v], shift_within_vector(of_b[v], shift));
        }

        sum = sum_over_warp(sum);
        if (lane == 0) control.partial[turn][warp] = sum;
        __syncthreads();
        if (warp == 0) {
            sum = sum_over_warp(lane < WARPS ? control.partial[turn][lane] : 0);
            if (lane == 0) leaves[leaf] = sum;
        }
    }
}

}  // namespace load

#ifndef SWEEP_TEMPLATES_ONLY
extern "C" __global__ __launch_bounds__(load::THREADS, 1) void sweep_load(const u8* __restrict__ tiles, u32 num_tiles,
                                                                          const SweepKey* __restrict__ key,
                                                                          u64* __restrict__ leaves) {
    __shared__ load::Control control;
    load::sweep(SweepPairs<RandomMatching>(tiles, num_tiles, key), key, leaves, control);
}
#endif
