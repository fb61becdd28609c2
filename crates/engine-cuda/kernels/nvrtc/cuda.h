// What the kernels need of the CUDA driver's header where there is no CUDA installation: NVRTC has no headers of its own.
#pragma once

/// A tensor map as the copy engine reads it; opaque here, made by cuTensorMapEncodeTiled on the host.
struct alignas(64) CUtensorMap {
    unsigned long long opaque[16];
};
