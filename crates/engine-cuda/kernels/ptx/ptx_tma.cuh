// The bulk tensor copy engine (PTX `cp.async.bulk.tensor`), one instruction a function.
#pragma once
#include <cuda.h>

#include <cstdint>

namespace ptx {

__device__ __forceinline__ void tma_prefetch_map(const CUtensorMap* map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/// Loads a two-dimensional box into this CTA's shared memory.
__device__ __forceinline__ void tma_load_2d(uint32_t destination, const CUtensorMap* map, uint32_t barrier, int32_t c0,
                                            int32_t c1) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
            destination),
        "l"(map), "r"(barrier), "r"(c0), "r"(c1)
        : "memory");
}

/// Loads a five-dimensional box to the same offset in every CTA of `cta_mask`, completing on each one's own barrier.
__device__ __forceinline__ void tma_load_5d_multicast(uint32_t destination, const CUtensorMap* map, uint32_t barrier,
                                                      uint16_t cta_mask, int32_t c0, int32_t c1, int32_t c2, int32_t c3,
                                                      int32_t c4) {
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
        " [%0], [%1, {%4, %5, %6, %7, %8}], [%2], %3;" ::"r"(destination),
        "l"(map), "r"(barrier), "h"(cta_mask), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
        : "memory");
}

}  // namespace ptx
