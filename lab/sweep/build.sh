#!/bin/sh
# Builds the kernels that check.py and bench.py load, for Hopper, into target/sweep-lab; with --all, also for every other
# architecture, to see that they build. Run from the repository root after the toolchain is in .kern.
set -eu
nvcc=$(echo .kern/lib/python3*/site-packages/nvidia/cu13/bin/nvcc)
[ -x "$nvcc" ] || nvcc=nvcc
kernels=crates/engine-cuda/kernels
out=target/sweep-lab
mkdir -p "$out"
# No intermediate PTX is kept for the driver: what is checked is what runs.
build() { "$nvcc" -std=c++17 -O3 -cubin -Xptxas -v,-warn-spills -gencode=arch=compute_"$2",code=sm_"$2" "$1" -o "$out/$3.cubin"; }
for name in keystream key commit sweep fill_mma fill_dp4a; do
    echo "== $name sm_90" && build $kernels/$name.cu 90 $name
done
echo "== probe sm_90" && build $kernels/address_order.cu 90 probe
[ "${1:-}" = --all ] || exit 0
for name in keystream key commit sweep fill_mma fill_dp4a; do
    for arch in 80 86 89 100a 120; do
        echo "== $name sm_$arch" && build $kernels/$name.cu $arch $name.sm_$arch
    done
    # PTX of the older architectures also runs on Hopper, compiled by the driver: check.py --images target/sweep-lab/compute_75
    for arch in 75 80; do
        [ $name$arch = fill_mma75 ] && continue
        mkdir -p "$out/compute_$arch"
        echo "== $name compute_$arch" && "$nvcc" -std=c++17 -O3 -ptx -arch=compute_$arch $kernels/$name.cu -o "$out/compute_$arch/$name.ptx"
    done
done
