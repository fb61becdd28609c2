// The fold of an accumulator to a byte of X (spec §4): not linear, so no algebra answers for it.
#pragma once

using u32 = unsigned int;

// The folded byte is the top byte of the result.
__device__ __forceinline__ u32 fold_high(int acc) {
    u32 h = static_cast<u32>(acc) * 0x9E3779B1u;
    h ^= h >> 15;
    return h * 0x85EBCA6Bu;
}

// Four neighbours of a row as one little-endian word of the tile.
__device__ __forceinline__ u32 fold_word(int acc0, int acc1, int acc2, int acc3) {
    const u32 low = __byte_perm(fold_high(acc0), fold_high(acc1), 0x0073);
    const u32 high = __byte_perm(fold_high(acc2), fold_high(acc3), 0x0073);
    return __byte_perm(low, high, 0x5410);
}
