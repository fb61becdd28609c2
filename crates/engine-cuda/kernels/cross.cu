// A part of one round of a device (spec §4.8): pair digests of its own tiles, and of its own with those of another device.
//
//   cross_bulk  sm_90 and later: sweep_bulk (sweep.cu) with the leaves of a round
//   cross_load  any architecture: sweep_load with these
//
// Both read tiles[num_tiles][65536], other[other_num_tiles][65536] (16-byte aligned; `other` may be another GPU's memory), and a
// SweepKey of the device's own salt, and write 2 * count of the 2 * crossings u64s at `leaves`:
//
//   leaf j, first <= j < first + count:  own tiles perm(2j) and perm(2j + 1)
//   leaf crossings + j, of the same j:   own tile perm(2 * crossings + j), the other's tile other_perm(3 * crossings + j)
//
// other_keys are the four Feistel keys of the other device's salt. If other_num_tiles is 0, `other` has only the tiles of this
// launch, in the order of j.
//
// Launch:  as the sweep of that name, with 2 * count in place of the number of leaves. The key's ticket counter is 0 at the
//          start of cross_bulk.
//
// Leaves of both kinds take turns, so that the link and the device's own memory are busy together.

#define SWEEP_TEMPLATES_ONLY
#include "sweep.cu"

namespace {

struct CrossPairs {
    const u8* tiles;
    const u8* other;
    u32 crossings;
    u32 first;
    u32 count;
    RandomMatching matching;
    RandomMatching other_matching;

    __device__ __forceinline__ CrossPairs(const u8* tiles, u32 num_tiles, const u8* other, u32 other_num_tiles,
                                          const uint4& other_keys, u32 crossings, u32 first, u32 count,
                                          const SweepKey* key)
        : tiles(tiles),
          other(other),
          crossings(crossings),
          first(first),
          count(count),
          matching(num_tiles, key),
          other_matching(other_num_tiles, other_keys) {}

    __device__ __forceinline__ u32 num_leaves() const { return 2 * count; }

    __device__ __forceinline__ u32 leaf(u32 ticket) const { return first + ticket / 2 + (ticket % 2 ? crossings : 0); }

    __device__ __forceinline__ u32 tile(u32 leaf, u32 which) const {
        if (leaf < crossings) return matching.tile(2 * leaf + which);
        if (which == 0) return matching.tile(crossings + leaf);
        if (other_matching.num_tiles == 0) return leaf - crossings - first;
        return other_matching.tile(2 * crossings + leaf);
    }

    __device__ __forceinline__ const u8* a(u32 tile) const { return tiles + static_cast<u64>(tile) * TILE_BYTES; }
    __device__ __forceinline__ const u8* b(u32 leaf, u32 tile) const {
        return (leaf < crossings ? tiles : other) + static_cast<u64>(tile) * TILE_BYTES;
    }

    __device__ __forceinline__ u32 shift(u32 leaf) const { return matching.shift(leaf); }
};

}  // namespace

#if __CUDA_ARCH__ >= 900 || !defined(__CUDA_ARCH__)

extern "C" __global__ __launch_bounds__(bulk::THREADS, 1) void cross_bulk(
    const u8* __restrict__ tiles, u32 num_tiles, const u8* __restrict__ other, u32 other_num_tiles,
    const uint4 other_keys, u32 crossings, u32 first, u32 count, SweepKey* key, u64* __restrict__ leaves, u32 stages) {
    extern __shared__ __align__(128) u8 ring[];
    __shared__ bulk::Control control;
    const CrossPairs pairs(tiles, num_tiles, other, other_num_tiles, other_keys, crossings, first, count, key);
    bulk::sweep(pairs, key, leaves, stages, ring, control);
}

#endif

extern "C" __global__ __launch_bounds__(load::THREADS, 1) void cross_load(
    const u8* __restrict__ tiles, u32 num_tiles, const u8* __restrict__ other, u32 other_num_tiles,
    const uint4 other_keys, u32 crossings, u32 first, u32 count, const SweepKey* __restrict__ key,
    u64* __restrict__ leaves) {
    __shared__ load::Control control;
    const CrossPairs pairs(tiles, num_tiles, other, other_num_tiles, other_keys, crossings, first, count, key);
    load::sweep(pairs, key, leaves, control);
}
