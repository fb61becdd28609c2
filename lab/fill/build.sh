#!/bin/bash
# Builds out/: the fill kernel (build.sh NAME [nvcc -D flags...] -> out/NAME.cubin), the reference kernels, the harness and
# the vectors. Needs nvcc in .kern: see ../README.md.
set -e
cd "$(dirname "$0")"
mkdir -p out
name=${1:-base}; shift || true
cuda=$(ls -d ../../.kern/lib/python3*/site-packages/nvidia/cu13)
$cuda/bin/nvcc -cubin -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Xptxas -v "$@" ../../crates/engine-cuda/kernels/fill_sm90a.cu -o out/$name.cubin
$cuda/bin/nvcc -cubin -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a reference.cu -o out/reference.cubin
g++ -O2 -std=c++17 -I$cuda/include lab.cpp -o out/lab -ldl -lpthread
python3 vectors.py ../../spec/vectors/v1.json > out/vectors.txt
