// The fill of spec §4 for Hopper: X_i = fold(A_i * B^T) for all matrices of a device in one launch, with the fill digest
// of every tile. Operands are made on the chip: B and the first batch of A by `fill_sm90a_operands`, every later batch of A
// by idle warps of `fill_sm90a` itself while the tensor cores work on the batch before.
//
// MEMORY (n = 256 * columns):
//   a_panels   2 * batch_panels * 256 * k bytes: two batches of A, batch b in half b & 1 (16-byte aligned)
//   b          n * k bytes
//   dataset    num_panels * columns tiles of 65,536 bytes (16-byte aligned)
//   digests    num_panels * columns u64
//   key_words  K of the fill salt, 16,384 u64
//   progress   2 * ceil(num_panels / batch_panels) u32: consumed[batches] | generated[batches]
//   abandon    one u32, 0. The host writes another value (from another stream) to a launch that does not end, because not
//              all its CTAs became resident: none waits for operands any longer, the launch ends, its results are void.
//
// LAYOUT. The matrices A_i stacked are one matrix of `num_panels = num_matrices * n/256` panels of 256 rows. Panel p and
// tile column tc give the tile of index p * n/256 + tc, 65,536 bytes at that index of `dataset`, its digest at that index of
// `digests`. Panels are worked on in batches of `batch_panels`: 16 where a panel is large, up to 64 where it is small (about
// 64 MiB a batch at most sizes), so that a batch lasts several rounds of all clusters.
//
// LAUNCH, in this order on one stream:
//   cuMemsetD8Async       digests and progress, whole, to zero
//   fill_sm90a_operands   any grid, block 256
//   fill_sm90a            grid = kClusterCtas * min(clusters the device holds at once (cuOccupancyMaxActiveClusters), tiles)
//                         cluster kClusterCtas x 1 x 1, block kThreads, dynamic shared memory kSharedBytes.
//                         All CTAs MUST be resident at once: they wait for each other's operands (see abandon).
//   digests and dataset are complete when the kernel is.
//
// TENSOR MAPS (cuTensorMapEncodeTiled; UINT8, interleave NONE, SWIZZLE_128B, L2 promotion 256B, no OOB fill beyond zeros,
// element strides 1); n and k in elements:
//   a_map  over a_panels: rank 2, dims {k, 2 * batch_panels * 256}, strides {k}, box {128, 128}
//   b_map  over B (n x k, row-major): rank 5, dims {k, 2, 4, 8, n/64}, strides {k, 16k, 2k, 64k},
//          box {128, 2, 4, 8, 4 / kClusterCtas}
// b_map brings row 64g + 16c + 2j + e of B to row 64g + 8j + 2c + e of the tile in shared memory. wgmma gives lane c of a
// quad columns 8j + 2c + {0, 1}, so each thread ends up with sixteen neighbouring bytes of X: stores and digests need no
// exchange. A k that is a multiple of 64 alone reads zeros past its end, which add nothing.
//
// SHARED MEMORY: kStages stages of {A: 128 rows x 128 bytes, B: 256 rows x 128 bytes}, then the barriers full[kStages],
// empty[kStages].
#include <cuda.h>

#include "chacha8.cuh"
#include "digest.cuh"
#include "fold.cuh"
#include "ptx/ptx_mbarrier.cuh"
#include "ptx/ptx_order.cuh"
#include "ptx/ptx_tma.cuh"
#include "ptx/ptx_wgmma.cuh"

/// The operand key as kernel parameter: its 32 bytes as little-endian words.
struct OperandKey {
    uint32_t words[8];
};

namespace {

constexpr uint32_t kPanelRows = 256;  // a tile's rows and columns (spec §4)
constexpr uint32_t kTileBytes = kPanelRows * kPanelRows;
constexpr uint32_t kClusterCtas = 2;  // one tile a cluster; 4 also works, but leaves SMs of odd GPCs idle
constexpr uint32_t kCtaRows = 128;
constexpr uint32_t kStageDepth = 128;  // bytes of k a stage holds: one swizzle span
constexpr uint32_t kStages = 4;
constexpr uint32_t kStageBytesA = kCtaRows * kStageDepth;
constexpr uint32_t kStageBytesB = kPanelRows * kStageDepth;
constexpr uint32_t kStageBytes = kStageBytesA + kStageBytesB;
constexpr uint32_t kSliceRowsB = kPanelRows / kClusterCtas;  // what one CTA loads for the whole cluster
constexpr uint32_t kSharedBytes = kStages * kStageBytes + 2 * kStages * 8;

constexpr uint32_t kConsumerWarps = 8;  // two warpgroups of 64 rows each
constexpr uint32_t kThreads = 128 + kConsumerWarps * 32;
constexpr uint32_t kGeneratorThreads = 96;  // three warps beside the one that issues copies
constexpr uint32_t kPanelsPerUnit = kClusterCtas * kCtaRows / kPanelRows;

// 168 a thread at launch (65,536 / 384, rounded down to eights); the two budgets must not need more in total.
constexpr uint32_t kProducerRegisters = 72;
constexpr uint32_t kConsumerRegisters = 216;
static_assert(128 * kProducerRegisters + 256 * kConsumerRegisters <= 168 * kThreads);
static_assert(kClusterCtas == 2 || kClusterCtas == 4, "a unit is whole tiles, and a slice of B whole groups of 64 rows");
static_assert(kStageBytesA % 1024 == 0 && kStageBytes % 1024 == 0, "swizzled tiles are 1024-aligned");
static_assert(kSharedBytes <= 227 * 1024);

/// Where a cluster's next product lies.
struct Unit {
    uint32_t batch;
    uint32_t panel;   // its first panel within the batch
    uint32_t column;  // tile column
};

/// The order of work: batch after batch; within one, tile columns one after the other and all the batch's panels under
/// each. The panels of a batch stay in the L2 while B streams past, once a batch.
struct Schedule {
    uint32_t num_panels, batch_panels, columns;

    __device__ uint32_t batches() const { return (num_panels + batch_panels - 1) / batch_panels; }
    __device__ uint32_t panels_in(uint32_t batch) const { return min(batch_panels, num_panels - batch * batch_panels); }
    __device__ uint32_t units_in(uint32_t batch) const {
        return (panels_in(batch) + kPanelsPerUnit - 1) / kPanelsPerUnit * columns;
    }
};

/// A cluster's walk through the schedule, `stride` units a step.
struct Walk {
    const Schedule& schedule;
    uint32_t batch = 0;
    uint32_t index;  // within the batch

    __device__ bool next(Unit& unit) {
        while (batch < schedule.batches() && index >= schedule.units_in(batch)) index -= schedule.units_in(batch++);
        if (batch >= schedule.batches()) return false;
        const uint32_t groups = schedule.units_in(batch) / schedule.columns;
        unit = {batch, index % groups * kPanelsPerUnit, index / groups};
        return true;
    }
};

/// A position in the ring of stages.
struct Ring {
    uint32_t stage = 0;
    uint32_t phase = 0;

    __device__ __forceinline__ void advance() {
        if (++stage == kStages) {
            stage = 0;
            phase ^= 1;
        }
    }
};

struct Shared {
    uint32_t base;

    __device__ uint32_t a(uint32_t stage) const { return base + stage * kStageBytes; }
    __device__ uint32_t b(uint32_t stage) const { return a(stage) + kStageBytesA; }
    __device__ uint32_t full(uint32_t stage) const { return base + kStages * kStageBytes + stage * 8; }
    __device__ uint32_t empty(uint32_t stage) const { return full(kStages) + stage * 8; }
};

/// Block `counter` of the keystream of one operand matrix: 64 bytes of a row, as k is a multiple of 64.
__device__ __forceinline__ void generate_block(uint4* destination, const OperandKey& key, uint32_t nonce_word,
                                               uint64_t matrix, uint32_t counter) {
    const ChaCha8Stream stream(key.words, nonce_word, static_cast<uint32_t>(matrix),
                               static_cast<uint32_t>(matrix >> 32));
    const ChaCha8Block out = stream.block(counter);
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
        destination[i] = make_uint4(out.word[4 * i], out.word[4 * i + 1], out.word[4 * i + 2], out.word[4 * i + 3]);
    }
}

/// Blocks `first`, `first + stride`, ... of a batch of A, into its half of `a_panels`.
__device__ void generate_batch(const Schedule& schedule, uint32_t batch, uint8_t* a_panels, const OperandKey& key,
                               uint64_t matrix_offset, uint32_t k, uint32_t first, uint32_t stride) {
    const uint32_t blocks_per_panel = kPanelRows / chacha8::BLOCK_BYTES * k;
    const uint32_t blocks_per_matrix = blocks_per_panel * schedule.columns;  // n/256 panels a matrix, as tile columns
    const uint32_t first_panel = batch * schedule.batch_panels;
    const uint64_t first_matrix = matrix_offset + first_panel / schedule.columns;
    const uint32_t skipped = first_panel % schedule.columns * blocks_per_panel;
    const uint32_t blocks = schedule.panels_in(batch) * blocks_per_panel;
    uint4* const destination =
        reinterpret_cast<uint4*>(a_panels + uint64_t{batch & 1} * schedule.batch_panels * kPanelRows * k);

    for (uint32_t block = first; block < blocks; block += stride) {
        const uint32_t position = skipped + block;
        generate_block(destination + uint64_t{block} * 4, key, 'A', first_matrix + position / blocks_per_matrix,
                       position % blocks_per_matrix);
    }
}

/// One thread: fills the ring with the operands of this cluster's units. B's slices go to the whole cluster, so a stage
/// is free only when the consumers of every CTA have left it.
__device__ void produce(const Shared& shared, const Schedule& schedule, const CUtensorMap* a_map,
                        const CUtensorMap* b_map, const uint32_t* generated, const uint32_t* abandon,
                        uint32_t depth_steps, uint32_t rank, uint32_t cluster, uint32_t clusters) {
    constexpr uint16_t everyone = (1 << kClusterCtas) - 1;
    const uint32_t generator_warps = gridDim.x * (kGeneratorThreads / 32);
    Ring ring;
    Unit unit;
    uint32_t batch = 0;  // made before this kernel
    for (Walk walk{schedule, 0, cluster}; walk.next(unit); walk.index += clusters) {
        if (unit.batch != batch) {
            batch = unit.batch;
            while (ptx::load_acquire(&generated[batch]) < generator_warps && ptx::load_acquire(abandon) == 0) {
            }
            ptx::fence_proxy_async();
        }
        const int32_t a_row = ((batch & 1) * schedule.batch_panels + unit.panel) * kPanelRows + rank * kCtaRows;
        const int32_t b_group = unit.column * (kPanelRows / 64) + rank * (kSliceRowsB / 64);
        for (uint32_t step = 0; step < depth_steps; ++step, ring.advance()) {
            ptx::mbarrier_wait(shared.empty(ring.stage), ring.phase ^ 1);
            const uint32_t full = shared.full(ring.stage);
            ptx::mbarrier_arrive_expect_tx(full, kStageBytes);
            ptx::tma_load_2d(shared.a(ring.stage), a_map, full, step * kStageDepth, a_row);
            ptx::tma_load_5d_multicast(shared.b(ring.stage) + rank * kSliceRowsB * kStageDepth, b_map, full, everyone,
                                       step * kStageDepth, 0, 0, 0, b_group);
        }
    }
}

/// Three warps: the batches of A after the first, each as soon as the batch that had its half of `a_panels` is read.
__device__ void generate(const Schedule& schedule, uint8_t* a_panels, uint32_t* generated, const uint32_t* consumed,
                         const uint32_t* abandon, const OperandKey& key, uint64_t matrix_offset, uint32_t k) {
    const uint32_t thread = blockIdx.x * kGeneratorThreads + threadIdx.x - 32;
    for (uint32_t batch = 1; batch < schedule.batches(); ++batch) {
        if (batch >= 2) {
            const uint32_t readers = schedule.units_in(batch - 2) * kClusterCtas * kConsumerWarps;
            while (ptx::load_acquire(&consumed[batch - 2]) < readers && ptx::load_acquire(abandon) == 0) {
                __nanosleep(500);
            }
            __syncwarp();
        }
        generate_batch(schedule, batch, a_panels, key, matrix_offset, k, thread, gridDim.x * kGeneratorThreads);
        ptx::fence_proxy_async();
        __syncwarp();
        if (threadIdx.x % 32 == 0) ptx::add_release(&generated[batch], 1);
    }
}

/// Folds and stores this warp's 16 rows of a tile and returns this thread's part of the digest. A thread has sixteen
/// bytes in each of four groups of 64 columns, in two rows eight apart.
__device__ __forceinline__ u64 fold_store_digest(const int32_t (&acc)[128], uint32_t row, uint8_t* tile,
                                                      const u64* key_words) {
    const uint32_t lane_column = threadIdx.x % 4 * 16;
    u64 digest = 0;
#pragma unroll
    for (int lower = 0; lower < 2; ++lower) {
#pragma unroll
        for (int group = 0; group < 4; ++group) {
            uint32_t words[4];
#pragma unroll
            for (int word = 0; word < 4; ++word) {
                const int first = (group * 8 + word * 2) * 4 + lower * 2;
                words[word] = fold_word(acc[first], acc[first + 1], acc[first + 4], acc[first + 5]);
            }
            const uint4 bytes = make_uint4(words[0], words[1], words[2], words[3]);
            const uint32_t offset = (row + lower * 8) * kPanelRows + group * 64 + lane_column;
            ptx::store_streaming(reinterpret_cast<uint4*>(tile + offset), bytes);
            add_fill_products(digest, key_words + offset / 4, bytes);
        }
    }
    return digest;
}

/// A warpgroup: 64 rows of every unit, from stages to bytes. The two warpgroups of a CTA meet only in the ring, so one's
/// epilogue overlaps the other's products.
__device__ void consume(const Shared& shared, const Schedule& schedule, uint8_t* dataset, u64* digests,
                        const u64* key_words, uint32_t* consumed, uint32_t depth_steps, uint32_t rank,
                        uint32_t cluster, uint32_t clusters) {
    const uint32_t thread = threadIdx.x - 128;
    const uint32_t lane = thread % 32;
    const uint32_t warpgroup_row = thread / 128 * 64;
    Ring ring;
    Unit unit;
    int32_t acc[128];

    const auto release = [&](uint32_t stage) {
        if (lane < kClusterCtas) ptx::mbarrier_arrive_cluster(ptx::map_to_rank(shared.empty(stage), lane));
    };

    for (Walk walk{schedule, 0, cluster}; walk.next(unit); walk.index += clusters) {
        uint32_t previous = 0;
        for (uint32_t step = 0; step < depth_steps; ++step, ring.advance()) {
            ptx::mbarrier_wait(shared.full(ring.stage), ring.phase);
            const uint64_t a = ptx::wgmma_descriptor(shared.a(ring.stage) + warpgroup_row * kStageDepth);
            const uint64_t b = ptx::wgmma_descriptor(shared.b(ring.stage));
            ptx::wgmma_fence();
#pragma unroll
            for (uint32_t part = 0; part < kStageDepth / 32; ++part) {
                ptx::wgmma_m64n256k32_s8_s8(acc, a + part * (32 >> 4), b + part * (32 >> 4), part != 0 || step != 0);
            }
            ptx::wgmma_commit();
            ptx::wgmma_wait<1>();
            if (step != 0) release(previous);
            previous = ring.stage;
        }
        ptx::wgmma_wait<0>();
#pragma unroll
        for (int i = 0; i < 128; ++i) asm volatile("" : "+r"(acc[i])::"memory");
        release(previous);

        const uint32_t row = rank * kCtaRows + warpgroup_row + thread % 128 / 32 * 16 + lane / 4;
        const uint32_t panel = unit.panel + row / kPanelRows;
        if (panel < schedule.panels_in(unit.batch)) {
            const uint64_t tile =
                (uint64_t{unit.batch} * schedule.batch_panels + panel) * schedule.columns + unit.column;
            const u64 digest =
                sum_over_warp(fold_store_digest(acc, row % kPanelRows, dataset + tile * kTileBytes, key_words));
            if (lane == 0) ptx::add_relaxed(&digests[tile], digest);
        }
        // This warp is done with the batch: the copies of A landed before its products. No reads of memory are left to be
        // ordered, so no fence: one here would wait for the stores of the tile.
        if (lane == 0) ptx::add_relaxed(&consumed[unit.batch], 1u);
    }
}

}  // namespace

/// B, whole, and the first batch of A, as `fill_sm90a` takes them. `b` is n x k bytes, n = 256 * columns.
extern "C" __global__ void __launch_bounds__(256)
    fill_sm90a_operands(uint8_t* a_panels, uint8_t* b, const OperandKey operand_key, uint64_t matrix_offset,
                        uint32_t num_panels, uint32_t batch_panels, uint32_t columns, uint32_t k) {
    const Schedule schedule{num_panels, batch_panels, columns};
    const uint32_t thread = blockIdx.x * blockDim.x + threadIdx.x;
    const uint32_t threads = gridDim.x * blockDim.x;
    generate_batch(schedule, 0, a_panels, operand_key, matrix_offset, k, thread, threads);

    const uint32_t blocks = columns * (kPanelRows / chacha8::BLOCK_BYTES) * k;
    for (uint32_t block = thread; block < blocks; block += threads) {
        generate_block(reinterpret_cast<uint4*>(b) + uint64_t{block} * 4, operand_key, 'B', 0, block);
    }
}

/// The fill of `num_panels` panels; see the head of this file.
extern "C" __global__ void __launch_bounds__(kThreads, 1)
    fill_sm90a(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map, uint8_t* a_panels,
               uint8_t* dataset, u64* digests, const u64* __restrict__ key_words, uint32_t* progress,
               const OperandKey operand_key, uint64_t matrix_offset, uint32_t num_panels, uint32_t batch_panels,
               uint32_t columns, uint32_t k, const uint32_t* abandon) {
    extern __shared__ __align__(1024) uint8_t shared_bytes[];
    const Shared shared{ptx::shared_address(shared_bytes)};
    const Schedule schedule{num_panels, batch_panels, columns};
    const uint32_t rank = ptx::cluster_rank();
    const uint32_t cluster = blockIdx.x / kClusterCtas;
    const uint32_t clusters = gridDim.x / kClusterCtas;
    const uint32_t depth_steps = (k + kStageDepth - 1) / kStageDepth;
    uint32_t* const consumed = progress;
    uint32_t* const generated = progress + schedule.batches();

    if (threadIdx.x == 0) {
        for (uint32_t stage = 0; stage < kStages; ++stage) {
            ptx::mbarrier_init(shared.full(stage), 1);
            ptx::mbarrier_init(shared.empty(stage), kClusterCtas * kConsumerWarps);
        }
        ptx::fence_mbarrier_init();
        ptx::tma_prefetch_map(&a_map);
        ptx::tma_prefetch_map(&b_map);
    }
    __syncthreads();
    ptx::cluster_arrive();
    ptx::cluster_wait();

    if (threadIdx.x < 128) {
        ptx::lower_registers<kProducerRegisters>();
        if (threadIdx.x >= 32) {
            generate(schedule, a_panels, generated, consumed, abandon, operand_key, matrix_offset, k);
        } else if (threadIdx.x == 0) {
            produce(shared, schedule, &a_map, &b_map, generated, abandon, depth_steps, rank, cluster, clusters);
        }
        __syncwarp();
    } else {
        ptx::raise_registers<kConsumerRegisters>();
        consume(shared, schedule, dataset, digests, key_words, consumed, depth_steps, rank, cluster, clusters);
    }
    // No CTA leaves while another may still write to its shared memory or arrive on its barriers.
    ptx::cluster_arrive();
    ptx::cluster_wait();
}
