"""The least of the CUDA driver API that check.py and bench.py need, through ctypes: nothing but NumPy has to be installed."""

import ctypes
import os
import statistics

import numpy as np

GUARD_BYTES, POISON = 4096, 0xA5
u32, u64 = ctypes.c_uint32, ctypes.c_uint64
pointer = ctypes.c_uint64

_cuda = ctypes.CDLL("libcuda.so.1")


def call(name, *args):
    status = getattr(_cuda, name)(*args)
    if status != 0:
        text = ctypes.c_char_p()
        _cuda.cuGetErrorName(status, ctypes.byref(text))
        raise RuntimeError(f"{name}: {(text.value or b'?').decode()}")


class Buffer:
    """Poisoned device memory with a guard past its end: what isn't written shows, and what is written too far.

    With `poisoned` False only the guard is: then compute-sanitizer's initcheck sees what was never written."""

    poisoned = True

    def __init__(self, size_or_data, keep=False):
        data = None if isinstance(size_or_data, int) else np.ascontiguousarray(size_or_data).view(np.uint8).ravel()
        self.size = size_or_data if data is None else data.size
        self.address = ctypes.c_uint64()
        call("cuMemAlloc_v2", ctypes.byref(self.address), u64(self.size + GUARD_BYTES))
        if not keep:
            self.poison(0 if Buffer.poisoned else self.size)
        if data is not None:
            self.write(data.tobytes())

    def poison(self, start=0):
        call("cuMemsetD8_v2", self.at(start), ctypes.c_ubyte(POISON), u64(self.size + GUARD_BYTES - start))

    def zero(self, offset=0, size=None):
        call("cuMemsetD8_v2", u64(self.address.value + offset), ctypes.c_ubyte(0), u64(self.size if size is None else size))
        return self

    def write(self, data):
        call("cuMemcpyHtoD_v2", self.address, data, u64(len(data)))

    def at(self, offset):
        return u64(self.address.value + offset)

    def read(self, dtype=np.uint8, offset=0, size=None):
        whole = size is None
        size = self.size - offset + GUARD_BYTES if whole else size
        out = np.empty(size, np.uint8)
        call("cuMemcpyDtoH_v2", out.ctypes.data_as(ctypes.c_void_p), u64(self.address.value + offset), u64(size))
        if whole:
            assert (out[-GUARD_BYTES:] == POISON).all(), "written past the end of a buffer"
            out = out[:-GUARD_BYTES]
        return out.view(dtype)

    def __del__(self):
        _cuda.cuMemFree_v2(self.address)


class Device:
    def __init__(self, folder):
        self.folder = folder
        self.modules = {}
        self.functions = {}
        call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        call("cuDeviceGet", ctypes.byref(device), 0)
        call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        call("cuCtxSetCurrent", context)
        name = ctypes.create_string_buffer(100)
        call("cuDeviceGetName", name, 100, device)
        self.name = name.value.decode()
        sms = ctypes.c_int()
        call("cuDeviceGetAttribute", ctypes.byref(sms), 16, device)
        self.sms = sms.value

    def free_bytes(self):
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def function(self, image, name, shared=0):
        if (image, name) not in self.functions:
            if image not in self.modules:
                self.modules[image] = ctypes.c_void_p()
                path = f"{self.folder}/{image}.cubin"
                path = path if os.path.exists(path) else f"{self.folder}/{image}.ptx"  # compiled by the driver
                call("cuModuleLoadData", ctypes.byref(self.modules[image]), open(path, "rb").read())
            function = ctypes.c_void_p()
            call("cuModuleGetFunction", ctypes.byref(function), self.modules[image], name.encode())
            self.functions[image, name] = function
        function = self.functions[image, name]
        if shared > 48 * 1024:
            call("cuFuncSetAttribute", function, 8, shared)  # largest dynamic shared memory
        return function

    def launch(self, kernel, grid, block, *args, shared=0):
        """Launches "image:kernel"; buffers go as their address, ctypes scalars and bytes (structs) by value."""
        image, _, name = kernel.partition(":")
        function = self.function(image, name or image, shared)
        grid = grid if isinstance(grid, tuple) else (grid, 1)
        values = [a.address if isinstance(a, Buffer) else ctypes.create_string_buffer(a, len(a)) if isinstance(a, bytes) else a for a in args]
        table = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
        call("cuLaunchKernel", function, *grid, 1, block, 1, 1, shared, None, table, None)

    def synchronize(self):
        call("cuCtxSynchronize")

    def time_ms(self, work):
        start, end = ctypes.c_void_p(), ctypes.c_void_p()
        for event in (start, end):
            call("cuEventCreate", ctypes.byref(event), 0)
        call("cuEventRecord", start, None)
        work()
        call("cuEventRecord", end, None)
        call("cuEventSynchronize", end)
        elapsed = ctypes.c_float()
        call("cuEventElapsedTime", ctypes.byref(elapsed), start, end)
        for event in (start, end):
            call("cuEventDestroy_v2", event)
        return elapsed.value

    def median_ms(self, work, repeats=7, before=lambda: None):
        times = []
        for _ in range(repeats + 1):
            before()
            times.append(self.time_ms(work))
        return statistics.median(times[1:])
