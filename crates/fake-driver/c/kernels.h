// The engine's kernels on the host, as specified in spec/protocol.md section 4, with the parameters of
// crates/engine-cuda/kernels.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int8_t i8;
typedef int32_t i32;
typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

// How a kernel is launched.
struct shape {
    u32 grid_x, grid_y, block, shared_bytes;
};

// A range of device memory that a kernel reads or writes.
struct range {
    u64 address, bytes;
};

enum { MOST_RANGES = 8 };

// A kernel: `ranges` returns which memory it uses, and false if the shape is not the one that its head requires; `run`
// computes, with one bit of its output wrong if that is requested. A kernel without `ranges` is known and does nothing.
struct kernel {
    const char *name;
    bool (*ranges)(const struct shape *shape, void **parameters, struct range *ranges);
    void (*run)(const struct shape *shape, void **parameters, bool flip);
};

// The kernel of that name, or null.
const struct kernel *kernel_named(const char *name);
