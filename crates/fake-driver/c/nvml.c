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
//   FN_LIMIT=MW             enforced power limit (the default limit, 700 W)
//   FN_ECC=ERRORS           uncorrected errors since the driver was loaded (0); FN_ECC_OFF=1: error correction is off
//   FN_PCIE=WIDTH           current width of the PCIe link (16)
//   FN_LINKS=N[:D]          NVLink links that are up, of device D (all) (18)
//   FN_FIELDS=ID:VALUE      fields of nvmlDeviceGetFieldValues; comma-separated
//   FN_PROCESSES=N          processes that compute on the device (0)
//
// Functions that it lacks, such as those for confidential computing, are missing for the caller as in an old library.
#include <stdint.h>

#include "fault.h"

typedef int status;

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

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
    *now = *pending = setting("FN_ECC_OFF") == NULL;
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
    CALL(DeviceGetNvLinkState);
    const char *links = setting("FN_LINKS");
    int up = 18, only;
    if (links && sscanf(links, "%d:%d", &up, &only) == 2 && (uintptr_t)device != (uintptr_t)(16 + only)) up = 18;
    *active = (int)link < up;
    return SUCCESS;
}

status nvmlDeviceGetTotalEccErrors(void *device, int type, int counter, unsigned long long *errors) {
    (void)device;
    CALL(DeviceGetTotalEccErrors);
    *errors = type == 1 && counter == 0 ? number("FN_ECC", 0) : 0;
    return SUCCESS;
}

struct field {
    unsigned id, scope;
    long long timestamp, latency;
    int type;
    status status;
    union {
        unsigned value;
        unsigned long long whole;
    };
};

// Those of a healthy card, whose rows are remapped and whose pages are never retired.
status nvmlDeviceGetFieldValues(void *device, int count, struct field *fields) {
    (void)device;
    CALL(DeviceGetFieldValues);
    for (int i = 0; i < count; ++i) {
        char id[16];
        snprintf(id, sizeof id, "%u", fields[i].id);
        const char *list = setting("FN_FIELDS"), *value = entry(&list, id);
        bool is_retired_page = fields[i].id >= 29 && fields[i].id <= 31;
        fields[i].status = value || !is_retired_page ? SUCCESS : NOT_SUPPORTED;
        fields[i].type = 1;
        fields[i].whole = 0;
        fields[i].value = value ? (unsigned)strtoul(value, NULL, 0) : 0;
    }
    return SUCCESS;
}

struct process {
    unsigned pid;
    unsigned long long memory;
    unsigned gpu_instance, compute_instance;
};

status nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct process *processes) {
    (void)device;
    CALL(DeviceGetProcesses);
    unsigned room = *count, here = (unsigned)number("FN_PROCESSES", 0);
    *count = here;
    if (room < here) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < here; ++i) processes[i] = (struct process){.pid = 100 + i, .memory = 1 << 20};
    return SUCCESS;
}

TELLS(nvmlDeviceGetName, DeviceGetName, setting("FN_NAME") ? setting("FN_NAME") : "NVIDIA H100 80GB HBM3")
TELLS(nvmlDeviceGetSerial, DeviceGetSerial, "1650000000001")
ANSWERS(nvmlDeviceGetEnforcedPowerLimit, DeviceGetEnforcedPowerLimit, unsigned, number("FN_LIMIT", 700000))
ANSWERS(nvmlDeviceGetPowerManagementDefaultLimit, DeviceGetDefaultPowerLimit, unsigned, 700000)
ANSWERS(nvmlDeviceGetCurrPcieLinkGeneration, DeviceGetPcieGeneration, unsigned, 5)
ANSWERS(nvmlDeviceGetMaxPcieLinkGeneration, DeviceGetMaxPcieGeneration, unsigned, 5)
ANSWERS(nvmlDeviceGetCurrPcieLinkWidth, DeviceGetPcieWidth, unsigned, number("FN_PCIE", 16))
ANSWERS(nvmlDeviceGetMaxPcieLinkWidth, DeviceGetMaxPcieWidth, unsigned, 16)
ANSWERS(nvmlDeviceGetPcieReplayCounter, DeviceGetPcieReplays, unsigned, 0)
ANSWERS(nvmlDeviceGetPowerUsage, DeviceGetPowerUsage, unsigned, number("FN_POWER", 350000))
ANSWERS(nvmlDeviceGetCurrentClocksThrottleReasons, DeviceGetThrottle, unsigned long long, number("FN_THROTTLE", 0))
ANSWERS(nvmlDeviceGetTotalEnergyConsumption, DeviceGetEnergy, unsigned long long, energy())
ANSWERS_OF(nvmlDeviceGetClockInfo, DeviceGetClockInfo, unsigned, 1980)
ANSWERS_OF(nvmlDeviceGetMaxClockInfo, DeviceGetMaxClockInfo, unsigned, 1980)
ANSWERS_OF(nvmlDeviceGetTemperature, DeviceGetTemperature, unsigned, number("FN_TEMP", 41))
ANSWERS_OF(nvmlDeviceGetNvLinkVersion, DeviceGetNvLinkVersion, unsigned, 4)
