// Transaction barriers in shared memory (PTX `mbarrier`), one instruction a function.
#pragma once
#include <cstdint>

namespace ptx {

/// The 32-bit shared-window address that PTX operands take.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
    // Kept in a register, or the compiler derives it anew from the CTA's rank at every use.
    asm volatile("" : "+r"(address));
    return address;
}

__device__ __forceinline__ void mbarrier_init(uint32_t barrier, uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/// Makes initialised barriers visible to the cluster and to the copy engine.
__device__ __forceinline__ void fence_mbarrier_init() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive_expect_tx(uint32_t barrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

/// The address of the same shared-memory location in the CTA of that rank in the cluster.
__device__ __forceinline__ uint32_t map_to_rank(uint32_t address, uint32_t rank) {
    uint32_t mapped;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(mapped) : "r"(address), "r"(rank));
    return mapped;
}

/// Arrives on a barrier of any CTA of the cluster; the address comes from `map_to_rank`. Without `.cluster` scope: what it
/// orders are the tensor cores' and the copy engine's accesses, complete by then; the scoped form costs a fence of the whole
/// GPU (MEMBAR.ALL.GPU), a fifth of the fill's speed.
__device__ __forceinline__ void mbarrier_arrive_cluster(uint32_t mapped_barrier) {
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(mapped_barrier) : "memory");
}

/// One bounded wait for the phase of that parity to complete; the hardware may suspend the thread meanwhile.
/// Not at cluster scope: that would empty the L1 at every wait.
__device__ __forceinline__ bool mbarrier_try_wait(uint32_t barrier, uint32_t parity) {
    uint32_t done;
    asm volatile(
        "{\n\t.reg .pred p;\n\t"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
        "selp.u32 %0, 1, 0, p;\n\t}"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
    return done != 0;
}

__device__ __forceinline__ void mbarrier_wait(uint32_t barrier, uint32_t parity) {
    while (!mbarrier_try_wait(barrier, parity)) {
    }
}

}  // namespace ptx
