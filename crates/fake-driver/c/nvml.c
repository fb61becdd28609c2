// A substitute for NVIDIA's management library, used together with cuda.c: its devices, by their UUIDs. Environment
// variables make it misbehave:
//
//   FN_INIT=S               status of nvmlInit (0)
//   FN_BAD=CALL:S           that call returns status S (CALL as in DeviceGetMemoryInfo); comma-separated
//   FN_HANG=CALL:N          that call does not return from its N-th time on
//   FN_SLEEP=CALL:MS        that call takes that long
//   FN_MIG=1                the devices are slices, known as MIG-..., of a card
//   FN_CARD=BYTES           memory of the card (FC_MEM, as in cuda.c)
//   FN_NAME=TEXT            name of the card
//   FN_THROTTLE=MASK        reasons why the clocks are reduced
//   FN_TEMP=C, FN_POWER=MW  temperature and power, any unsigned number
//
// Functions that it lacks, such as those for processes or confidential computing, are missing for the caller as in an old
// library.
#include <stdint.h>

#include "fault.h"

typedef int status;

enum { SUCCESS = 0, NOT_FOUND = 6 };

static status fault(const char *call) {
    delay(call, -1, "FN_HANG", "FN_SLEEP");
    const char *list = setting("FN_BAD"), *value = entry(&list, call);
    return value ? atoi(value) : SUCCESS;
}

#define CALL(call)                     \
    do {                               \
        status s_ = fault(#call);      \
        if (s_) return s_;             \
    } while (0)

// A query about a device that returns one number.
#define ANSWERS(function, call, type, value)        \
    status function(void *device, type *answer) {   \
        (void)device;                               \
        CALL(call);                                 \
        *answer = (type)(value);                    \
        return SUCCESS;                             \
    }

// The same if the query states which of several values is meant.
#define ANSWERS_OF(function, call, type, value)                     \
    status function(void *device, unsigned which, type *answer) {   \
        (void)which;                                                \
        (void)device;                                               \
        CALL(call);                                                 \
        *answer = (type)(value);                                    \
        return SUCCESS;                                             \
    }

// A query that returns text.
#define TELLS(function, call, text)                                  \
    status function(void *device, char *out, unsigned length) {      \
        (void)device;                                                \
        CALL(call);                                                  \
        snprintf(out, length, "%s", text);                           \
        return SUCCESS;                                              \
    }

static unsigned long long energy(void) {
    static unsigned long long millijoules;
    return __sync_add_and_fetch(&millijoules, 1000);
}

status nvmlInit_v2(void) {
    CALL(Init);
    return (status)number("FN_INIT", SUCCESS);
}

status nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(status of) {
    (void)of;
    return "(text of the stand-in)";
}

status nvmlSystemGetDriverVersion(char *out, unsigned length) {
    CALL(SystemGetDriverVersion);
    snprintf(out, length, "570.86.15");
    return SUCCESS;
}

// A handle is 16 more than the last byte of the UUID, which is the device's number.
status nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    CALL(DeviceGetHandleByUUID);
    if (strncmp(uuid, setting("FN_MIG") ? "MIG-" : "GPU-", 4)) return NOT_FOUND;
    *device = (void *)(uintptr_t)(16 + strtol(uuid + strlen(uuid) - 2, NULL, 16));
    return SUCCESS;
}

status nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *slice, void **card) {
    CALL(MigParent);
    *card = (char *)slice + 256;
    return SUCCESS;
}

status nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *pending) {
    (void)device;
    CALL(DeviceGetMigMode);
    *now = *pending = setting("FN_MIG") != NULL;
    return SUCCESS;
}

status nvmlDeviceGetEccMode(void *device, unsigned *now, unsigned *pending) {
    (void)device;
    CALL(DeviceGetEccMode);
    *now = *pending = 1;
    return SUCCESS;
}

struct memory {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

status nvmlDeviceGetMemoryInfo_v2(void *device, struct memory *memory) {
    (void)device;
    CALL(DeviceGetMemoryInfo);
    memory->total = number("FN_CARD", number("FC_MEM", 256ull << 20));
    memory->reserved = 0;
    memory->free = memory->used = memory->total / 2;
    return SUCCESS;
}

status nvmlDeviceGetNvLinkState(void *device, unsigned link, unsigned *active) {
    (void)device;
    CALL(DeviceGetNvLinkState);
    *active = link < 18;
    return SUCCESS;
}

TELLS(nvmlDeviceGetName, DeviceGetName, setting("FN_NAME") ? setting("FN_NAME") : "NVIDIA H100 80GB HBM3")
TELLS(nvmlDeviceGetSerial, DeviceGetSerial, "1650000000001")
ANSWERS(nvmlDeviceGetEnforcedPowerLimit, DeviceGetEnforcedPowerLimit, unsigned, 700000)
ANSWERS(nvmlDeviceGetPowerUsage, DeviceGetPowerUsage, unsigned, number("FN_POWER", 350000))
ANSWERS(nvmlDeviceGetCurrentClocksThrottleReasons, DeviceGetThrottle, unsigned long long, number("FN_THROTTLE", 0))
ANSWERS(nvmlDeviceGetTotalEnergyConsumption, DeviceGetEnergy, unsigned long long, energy())
ANSWERS_OF(nvmlDeviceGetClockInfo, DeviceGetClockInfo, unsigned, 1980)
ANSWERS_OF(nvmlDeviceGetMaxClockInfo, DeviceGetMaxClockInfo, unsigned, 1980)
ANSWERS_OF(nvmlDeviceGetTemperature, DeviceGetTemperature, unsigned, number("FN_TEMP", 41))
ANSWERS_OF(nvmlDeviceGetNvLinkVersion, DeviceGetNvLinkVersion, unsigned, 4)
