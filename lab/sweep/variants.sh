#!/bin/sh
# Builds the variants of sweep.cu that bench.py --variants times: each one edit away from the kernel as it is.
set -eu
nvcc=$(echo .kern/lib/python3*/site-packages/nvidia/cu13/bin/nvcc)
kernels=crates/engine-cuda/kernels
out=target/sweep-lab
mkdir -p "$out/src"
variant() { # name, sed script
    sed "$2" $kernels/sweep.cu > "$out/src/$1.cu"
    cmp -s $kernels/sweep.cu "$out/src/$1.cu" && { echo "variant $1 changes nothing"; exit 1; }
    "$nvcc" -std=c++17 -O3 -cubin -I $kernels -gencode=arch=compute_90,code=sm_90 "$out/src/$1.cu" -o "$out/sweep.$1.cubin"
}
variant part8k 's/PART_BYTES = 16384/PART_BYTES = 8192/'
variant part32k 's/PART_BYTES = 16384/PART_BYTES = 32768/'
variant dealt 's/leaf = atomicAdd(tickets, 1)/leaf = blockIdx.x/; s/next = atomicAdd(tickets, 1)/next = leaf + gridDim.x/'
for priority in first normal; do
    variant evict_$priority 's/^\( *\)"cp.async.bulk.*$/\1"{.reg .b64 policy; createpolicy.fractional.L2::evict_'$priority'.b64 policy, 1.0; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], policy;}" ::"r"(/'
done
variant copy4k 's/^\( *\)copy_to_shared(\(stage[^,]*\), \(.*\), PART_BYTES, full);/\1for (u32 o = 0; o < PART_BYTES; o += 4096) copy_to_shared(\2 + o, \3 + o, 4096, full);/'
variant arrive_warp 's/barrier_init(&control.empty\[i\], CONSUMERS)/barrier_init(\&control.empty[i], CONSUMER_WARPS)/; s/^\( *\)barrier_arrive(&control.empty\[at.stage\]);.*/\1__syncwarp(); if (lane == 0) barrier_arrive(\&control.empty[at.stage]);/'
