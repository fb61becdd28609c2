// A substitute for the NVIDIA driver library, for running gpu-attestor's CUDA engine on a host without a GPU.
//
// It implements the calls that the engine makes, keeps device memory in the process, and computes the kernels on the host
// (kernels.c). Work is done before a call returns, so nothing is ever pending. It refuses what the driver would refuse:
// more memory than there is, launches with another shape than the kernel's head requires (status 1), and accesses outside
// the device's allocations, which lose the context (status 700). Environment variables make it misbehave:
//
//   FC_DEVICES=N            devices shown (1)
//   FC_INIT=S               status of cuInit (0)
//   FC_COUNT=S              status of cuDeviceGetCount (0)
//   FC_VERSION=V            what cuDriverGetVersion returns (12080)
//   FC_MEM=BYTES            memory of a device (256 MiB)
//   FC_FREE=BYTES           what cuMemGetInfo reports as free on an unused device (FC_MEM less 1 MiB)
//   FC_ALLOC=BYTES          the most that one cuMemAlloc allocates, whatever is free
//   FC_CC=75                compute capability
//   FC_NAME=TEXT            model; \e and \xHH denote bytes
//   FC_BAD=CALL:DEVICE:S    that call returns status S for that device (-1: all; CALL as in cuMemGetInfo); comma-separated
//   FC_LAUNCH_FAIL=N:S[:D]  the N-th launch on device D (each) returns S, and so do all later calls in its context
//   FC_LOST=FILE            while that file exists, every call in a context returns 999; allocations are lost after that
//   FC_FLIP=KERNEL:N[:D]    from its N-th launch on device D (each) on, one bit of that kernel's output is wrong
//   FC_HANG=CALL:N[:D]      that call does not return from its N-th time on, counted for device D (all)
//   FC_SLEEP=CALL:MS        that call takes that long
//   FC_PEER=0               no device has access to the memory of another (all have)
//   FC_SAMEPCI=1            all devices have one PCI address; FC_SAMEUUID=1: one UUID
#define _GNU_SOURCE
#include <pthread.h>

#include "fault.h"
#include "kernels.h"

typedef int status;

enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    PEER_ACCESS_UNSUPPORTED = 217,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    PEER_ACCESS_ALREADY_ENABLED = 704,
    UNKNOWN = 999,
};

enum { MOST_DEVICES = 16, MOST_KERNELS = 32, MOST_ALLOCATIONS = 4096 };

// The state of a device whose context is in use.
static struct {
    status lost;  // the status that every call in its context returns once a launch has failed
    bool away;    // it was lost at the last check: FC_LOST
    bool peers[MOST_DEVICES];  // whose memory its context has access to
    long launches;
    struct {
        const struct kernel *kernel;
        long launches;
    } kernels[MOST_KERNELS];
} devices[MOST_DEVICES];

static struct {
    u64 address, bytes;
    int device;
} allocations[MOST_ALLOCATIONS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  // of both
static __thread int current = -1;                         // the device whose context is current

static status fault(const char *call, int device) {
    delay(call, device, "FC_HANG", "FC_SLEEP");
    const char *list = setting("FC_BAD"), *value;
    while ((value = entry(&list, call))) {
        int of, answer;
        if (sscanf(value, "%d:%d", &of, &answer) == 2 && (of < 0 || of == device)) return answer;
    }
    return SUCCESS;
}

// Why a device is lost, if it is. A device that comes back has lost all its memory.
static status loss(int device) {
    const char *file = setting("FC_LOST");
    bool away = file && !access(file, F_OK);
    pthread_mutex_lock(&lock);
    bool is_back = devices[device].away && !away;
    devices[device].away = away;
    for (int i = 0; is_back && i < MOST_ALLOCATIONS; ++i) {
        if (!allocations[i].bytes || allocations[i].device != device) continue;
        allocations[i].bytes = 0;
        free((void *)(uintptr_t)allocations[i].address);
    }
    pthread_mutex_unlock(&lock);
    return away ? UNKNOWN : devices[device].lost;
}

// A call about a device, and one in the current context: both return here if they have to fail.
#define ABOUT(call, device)                          \
    do {                                             \
        status s_ = fault(#call, device);            \
        if (s_) return s_;                           \
    } while (0)
#define IN_CONTEXT(call)                                   \
    do {                                                   \
        if (current < 0) return 201; /* invalid context */ \
        status lost_ = loss(current);                      \
        if (lost_) return lost_;                           \
        ABOUT(call, current);                              \
    } while (0)

// ---- the library and its devices ----

static int count(void) { return (int)number("FC_DEVICES", 1); }
static u64 memory(void) { return number("FC_MEM", 256ull << 20); }

status cuInit(unsigned flags) {
    (void)flags;
    ABOUT(cuInit, -1);
    return (status)number("FC_INIT", SUCCESS);
}

status cuDriverGetVersion(int *version) {
    *version = (int)number("FC_VERSION", 12080);
    return SUCCESS;
}

status cuDeviceGetCount(int *devices) {
    *devices = count();
    return (status)number("FC_COUNT", SUCCESS);
}

status cuDeviceGet(int *device, int ordinal) {
    ABOUT(cuDeviceGet, ordinal);
    if (ordinal < 0 || ordinal >= count() || ordinal >= MOST_DEVICES) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}

status cuDeviceGetName(char *out, int length, int device) {
    ABOUT(cuDeviceGetName, device);
    const char *text = setting("FC_NAME");
    int n = 0;
    for (text = text ? text : "NVIDIA H100 80GB HBM3"; *text && n < length - 1; ++text) {
        unsigned byte;
        if (text[0] == '\\' && text[1] == 'e') {
            out[n++] = 27;
            text += 1;
        } else if (sscanf(text, "\\x%2x", &byte) == 1) {
            out[n++] = (char)byte;
            text += 3;
        } else {
            out[n++] = *text;
        }
    }
    out[n] = 0;
    return SUCCESS;
}

status cuDeviceGetPCIBusId(char *out, int length, int device) {
    ABOUT(cuDeviceGetPCIBusId, device);
    snprintf(out, (size_t)length, "0000:%02x:00.0", setting("FC_SAMEPCI") ? 0x19 : 0x19 + device);
    return SUCCESS;
}

status cuDeviceGetUuid_v2(u8 *out, int device) {
    ABOUT(cuDeviceGetUuid, device);
    for (int i = 0; i < 16; ++i) out[i] = (u8)(0xa0 + i);
    if (!setting("FC_SAMEUUID")) out[15] = (u8)device;
    return SUCCESS;
}

status cuDeviceTotalMem_v2(size_t *bytes, int device) {
    ABOUT(cuDeviceTotalMem, device);
    *bytes = memory();
    return SUCCESS;
}

status cuDeviceGetAttribute(int *value, int attribute, int device) {
    ABOUT(cuDeviceGetAttribute, device);
    int capability = (int)number("FC_CC", 75);
    switch (attribute) {
        case 16: *value = 4; break;  // multiprocessors
        case 75: *value = capability / 10; break;
        case 76: *value = capability % 10; break;
        case 97: *value = 232448; break;  // shared memory that a block can request
        default: *value = 0;
    }
    return SUCCESS;
}

status cuDeviceCanAccessPeer(int *can, int device, int peer) {
    ABOUT(cuDeviceCanAccessPeer, device);
    *can = device != peer && number("FC_PEER", 1);
    return SUCCESS;
}

status cuGetErrorName(status of, const char **name) {
    static const struct {
        status of;
        const char *name;
    } NAMES[] = {
        {1, "CUDA_ERROR_INVALID_VALUE"},
        {2, "CUDA_ERROR_OUT_OF_MEMORY"},
        {34, "CUDA_ERROR_STUB_LIBRARY"},
        {46, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
        {100, "CUDA_ERROR_NO_DEVICE"},
        {101, "CUDA_ERROR_INVALID_DEVICE"},
        {214, "CUDA_ERROR_ECC_UNCORRECTABLE"},
        {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {719, "CUDA_ERROR_LAUNCH_FAILED"},
        {802, "CUDA_ERROR_SYSTEM_NOT_READY"},
        {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"},
        {804, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE"},
        {999, "CUDA_ERROR_UNKNOWN"},
    };
    *name = NULL;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; ++i)
        if (NAMES[i].of == of) *name = NAMES[i].name;
    return *name ? SUCCESS : INVALID_VALUE;
}

status cuGetErrorString(status of, const char **text) {
    status known = cuGetErrorName(of, text);
    if (!known) *text = "(text of the stand-in)";
    return known;
}

// ---- contexts: a handle is the device's number plus a constant ----

static void *const CONTEXTS = (void *)0x1000;

status cuDevicePrimaryCtxRetain(void **context, int device) {
    ABOUT(cuDevicePrimaryCtxRetain, device);
    *context = (char *)CONTEXTS + device;
    return SUCCESS;
}

status cuDevicePrimaryCtxRelease_v2(int device) {
    (void)device;
    return SUCCESS;
}

status cuCtxSetCurrent(void *context) {
    current = (int)((char *)context - (char *)CONTEXTS);
    IN_CONTEXT(cuCtxSetCurrent);
    return SUCCESS;
}

status cuCtxEnablePeerAccess(void *context, unsigned flags) {
    IN_CONTEXT(cuCtxEnablePeerAccess);
    int peer = (int)((char *)context - (char *)CONTEXTS);
    if (flags || peer < 0 || peer >= count() || peer == current) return INVALID_VALUE;
    if (!number("FC_PEER", 1)) return PEER_ACCESS_UNSUPPORTED;
    bool was = devices[current].peers[peer];
    devices[current].peers[peer] = true;
    return was ? PEER_ACCESS_ALREADY_ENABLED : SUCCESS;
}

status cuCtxGetLimit(size_t *value, int limit) {
    (void)limit;
    *value = 1024;
    return SUCCESS;
}

status cuCtxSetLimit(int limit, size_t value) {
    (void)limit;
    (void)value;
    return SUCCESS;
}

status cuCtxSynchronize(void) {
    IN_CONTEXT(cuCtxSynchronize);
    return SUCCESS;
}

// ---- memory ----

static u64 free_bytes(int device) {
    u64 unused = number("FC_FREE", memory() - (1 << 20)), used = 0;
    for (int i = 0; i < MOST_ALLOCATIONS; ++i)
        if (allocations[i].bytes && allocations[i].device == device) used += allocations[i].bytes;
    return unused > used ? unused - used : 0;
}

static bool is_allocated(int device, struct range range) {
    bool found = range.bytes == 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST_ALLOCATIONS && !found; ++i)
        found = allocations[i].device == device && range.address >= allocations[i].address &&
                range.bytes <= allocations[i].bytes &&
                range.address - allocations[i].address <= allocations[i].bytes - range.bytes;
    pthread_mutex_unlock(&lock);
    return found;
}

// Access outside the allocations of the device and of its peers: the context is lost, as on a GPU.
static status access_to(u64 address, u64 bytes) {
    for (int device = 0; device < MOST_DEVICES; ++device) {
        bool may = device == current || devices[current].peers[device];
        if (may && is_allocated(device, (struct range){address, bytes})) return SUCCESS;
    }
    return devices[current].lost = ILLEGAL_ADDRESS;
}

status cuMemGetInfo_v2(size_t *free, size_t *total) {
    IN_CONTEXT(cuMemGetInfo);
    pthread_mutex_lock(&lock);
    *free = free_bytes(current);
    pthread_mutex_unlock(&lock);
    *total = memory();
    return SUCCESS;
}

status cuMemAlloc_v2(u64 *address, size_t bytes) {
    IN_CONTEXT(cuMemAlloc);
    status answer = OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < MOST_ALLOCATIONS && allocations[i].bytes) ++i;
    if (i < MOST_ALLOCATIONS && bytes && bytes <= free_bytes(current) && bytes <= number("FC_ALLOC", -1ull)) {
        void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
        if (memory) {
            *address = allocations[i].address = (u64)(uintptr_t)memory;
            allocations[i].bytes = bytes;
            allocations[i].device = current;
            answer = SUCCESS;
        }
    }
    pthread_mutex_unlock(&lock);
    return answer;
}

status cuMemFree_v2(u64 address) {
    status answer = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST_ALLOCATIONS; ++i) {
        if (allocations[i].bytes && allocations[i].address == address) {
            allocations[i].bytes = 0;
            free((void *)(uintptr_t)address);
            answer = SUCCESS;
        }
    }
    pthread_mutex_unlock(&lock);
    return answer;
}

status cuMemHostAlloc(void **address, size_t bytes, unsigned flags) {
    (void)flags;
    IN_CONTEXT(cuMemHostAlloc);
    *address = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    return *address ? SUCCESS : OUT_OF_MEMORY;
}

status cuMemFreeHost(void *address) {
    free(address);
    return SUCCESS;
}

status cuMemcpyDtoHAsync_v2(void *host, u64 device, size_t bytes, void *stream) {
    (void)stream;
    IN_CONTEXT(cuMemcpyDtoHAsync);
    status denied = access_to(device, bytes);
    if (!denied) memcpy(host, (void *)(uintptr_t)device, bytes);
    return denied;
}

status cuMemcpyHtoDAsync_v2(u64 device, const void *host, size_t bytes, void *stream) {
    (void)stream;
    IN_CONTEXT(cuMemcpyHtoDAsync);
    status denied = access_to(device, bytes);
    if (!denied) memcpy((void *)(uintptr_t)device, host, bytes);
    return denied;
}

status cuMemcpyPeerAsync(u64 to, void *to_context, u64 from, void *from_context, size_t bytes, void *stream) {
    (void)stream;
    IN_CONTEXT(cuMemcpyPeerAsync);
    int to_device = (int)((char *)to_context - (char *)CONTEXTS);
    int from_device = (int)((char *)from_context - (char *)CONTEXTS);
    if (!is_allocated(to_device, (struct range){to, bytes}) || !is_allocated(from_device, (struct range){from, bytes}))
        return INVALID_VALUE;
    memcpy((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes);
    return SUCCESS;
}

status cuMemsetD8Async(u64 device, u8 value, size_t bytes, void *stream) {
    (void)stream;
    IN_CONTEXT(cuMemsetD8Async);
    status denied = access_to(device, bytes);
    if (!denied) memset((void *)(uintptr_t)device, value, bytes);
    return denied;
}

// ---- code, streams, events ----

status cuModuleLoadData(void **module, const void *image) {
    (void)image;
    IN_CONTEXT(cuModuleLoadData);
    *module = (void *)1;
    return SUCCESS;
}

status cuModuleUnload(void *module) {
    (void)module;
    return SUCCESS;
}

status cuModuleGetFunction(void **function, void *module, const char *name) {
    (void)module;
    IN_CONTEXT(cuModuleGetFunction);
    *function = (void *)kernel_named(name);
    return *function ? SUCCESS : NOT_FOUND;
}

status cuFuncSetAttribute(void *function, int attribute, int value) {
    (void)function;
    (void)attribute;
    (void)value;
    return SUCCESS;
}

status cuOccupancyMaxActiveClusters(int *clusters, void *function, const void *config) {
    (void)function;
    (void)config;
    *clusters = 2;
    return SUCCESS;
}

status cuTensorMapEncodeTiled(void) { return SUCCESS; }  // nothing reads the map

status cuStreamCreate(void **stream, unsigned flags) {
    (void)flags;
    IN_CONTEXT(cuStreamCreate);
    *stream = (void *)2;
    return SUCCESS;
}

status cuStreamDestroy_v2(void *stream) {
    (void)stream;
    return SUCCESS;
}

status cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
    (void)stream;
    (void)event;
    (void)flags;
    IN_CONTEXT(cuStreamWaitEvent);
    return SUCCESS;
}

status cuEventCreate(void **event, unsigned flags) {
    (void)flags;
    IN_CONTEXT(cuEventCreate);
    *event = (void *)3;
    return SUCCESS;
}

status cuEventDestroy_v2(void *event) {
    (void)event;
    return SUCCESS;
}

status cuEventRecord(void *event, void *stream) {
    (void)event;
    (void)stream;
    IN_CONTEXT(cuEventRecord);
    return SUCCESS;
}

status cuEventQuery(void *event) {
    (void)event;
    IN_CONTEXT(cuEventQuery);
    return SUCCESS;
}

// ---- launches ----

// CUlaunchConfig.
struct config {
    u32 grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
    void *stream, *attributes;
    u32 num_attributes;
};

// Counts a launch, and returns whether it fails and whether its result is to be wrong.
static status counted(const struct kernel *kernel, bool *flip) {
    long launches, of_kernel = 0, n;
    int answer, device = -1;
    pthread_mutex_lock(&lock);
    launches = ++devices[current].launches;
    for (int i = 0; i < MOST_KERNELS && !of_kernel; ++i) {
        if (!devices[current].kernels[i].kernel) devices[current].kernels[i].kernel = kernel;
        if (devices[current].kernels[i].kernel == kernel) of_kernel = ++devices[current].kernels[i].launches;
    }
    pthread_mutex_unlock(&lock);
    const char *list = setting("FC_FLIP"), *value = entry(&list, kernel->name);
    *flip = value && sscanf(value, "%ld:%d", &n, &device) >= 1 && of_kernel >= n && (device < 0 || device == current);
    device = -1;
    value = setting("FC_LAUNCH_FAIL");
    bool fails = value && sscanf(value, "%ld:%d:%d", &n, &answer, &device) >= 2 && launches >= n;
    return fails && (device < 0 || device == current) ? answer : SUCCESS;
}

status cuLaunchKernelEx(const struct config *config, const struct kernel *kernel, void **parameters, void **extra) {
    (void)extra;
    IN_CONTEXT(cuLaunchKernelEx);
    bool flip;
    status failure = counted(kernel, &flip);
    if (failure) return devices[current].lost = failure;
    if (!kernel->ranges) return SUCCESS;
    struct shape shape = {config->grid_x, config->grid_y, config->block_x, config->shared_bytes};
    struct range ranges[MOST_RANGES] = {0};
    if (!kernel->ranges(&shape, parameters, ranges)) return INVALID_VALUE;
    for (int i = 0; i < MOST_RANGES; ++i) {
        status denied = access_to(ranges[i].address, ranges[i].bytes);
        if (denied) return denied;
    }
    kernel->run(&shape, parameters, flip);
    return SUCCESS;
}
