// What sweep.cu is measured against: the same bytes in address order. No session runs these.
//
//   sweep_bulk_address_order  sm_90 and later: sweep_bulk with leaf j = tiles 2j and 2j + 1, no shift; launched as it is
//   keyed_sum                 any architecture: sum of K_j * w_j of each tile into sums[num_tiles], tiles in order, through
//                             registers; block = 1024, any grid

#define SWEEP_TEMPLATES_ONLY
#include "sweep.cu"

#if __CUDA_ARCH__ >= 900 || !defined(__CUDA_ARCH__)

struct AddressOrder {
    __device__ __forceinline__ AddressOrder(u32, const SweepKey*) {}
    __device__ __forceinline__ u32 tile(u32 x) const { return x; }
    __device__ __forceinline__ u32 shift(u32) const { return 0; }
};

extern "C" __global__ __launch_bounds__(bulk::THREADS, 1) void sweep_bulk_address_order(const u8* __restrict__ tiles,
                                                                                        u32 num_tiles, SweepKey* key,
                                                                                        u64* __restrict__ leaves,
                                                                                        u32 stages) {
    extern __shared__ __align__(128) u8 ring[];
    __shared__ bulk::Control control;
    bulk::sweep(SweepPairs<AddressOrder>(tiles, num_tiles, key), key, leaves, stages, ring, control);
}

#endif

extern "C" __global__ __launch_bounds__(1024, 1) void keyed_sum(const u8* __restrict__ tiles, u32 num_tiles,
                                                                const SweepKey* __restrict__ key,
                                                                u64* __restrict__ sums) {
    __shared__ u64 partial[2][32];
    const u32 warp = threadIdx.x / 32;
    const u32 lane = threadIdx.x % 32;
    u64 k[4][4];
#pragma unroll
    for (u32 v = 0; v < 4; ++v) load_key_vector(k[v], key->k + (v * 1024 + threadIdx.x) * 4);
    u32 turn = 0;
    for (u32 tile = blockIdx.x; tile < num_tiles; tile += gridDim.x, turn ^= 1) {
        const uint4* words = reinterpret_cast<const uint4*>(tiles + static_cast<u64>(tile) * TILE_BYTES);
        uint4 w[4];
#pragma unroll
        for (u32 v = 0; v < 4; ++v) w[v] = load::read_once(words + v * 1024 + threadIdx.x);
        u64 sum = 0;
#pragma unroll
        for (u32 v = 0; v < 4; ++v) sum += k[v][0] * w[v].x + k[v][1] * w[v].y + k[v][2] * w[v].z + k[v][3] * w[v].w;
        sum = sum_over_warp(sum);
        if (lane == 0) partial[turn][warp] = sum;
        __syncthreads();
        if (warp == 0) {
            sum = sum_over_warp(partial[turn][lane]);
            if (lane == 0) sums[tile] = sum;
        }
    }
}
