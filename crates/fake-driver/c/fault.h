// What the environment asks the substitutes to do wrong. It is read at every call: only counts are kept between calls.
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// The value of a variable, or null where it is unset or empty.
static inline const char *setting(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static inline unsigned long long number(const char *name, unsigned long long otherwise) {
    const char *value = setting(name);
    return value ? strtoull(value, NULL, 0) : otherwise;
}

static inline void sleep_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

// The text after "NAME:" in an entry of a comma-separated list, for the entry of that name; `from` is where to look next.
static inline const char *entry(const char **from, const char *name) {
    size_t length = strlen(name);
    while (*from) {
        const char *at = *from, *comma = strchr(at, ',');
        *from = comma ? comma + 1 : NULL;
        if (!strncmp(at, name, length) && at[length] == ':') return at + length + 1;
    }
    return NULL;
}

// A call that is to hang (CALL:N[:DEVICE], from its N-th time on, for that device) or to take long (CALL:MS) does so here.
static inline void delay(const char *call, int device, const char *hang, const char *slow) {
    static int calls;  // only one call hangs, so one count is enough
    const char *list = setting(hang), *value = entry(&list, call);
    int first = 0, only;
    bool is_meant = value && (sscanf(value, "%d:%d", &first, &only) < 2 || only == device);
    if (is_meant && __sync_add_and_fetch(&calls, 1) >= first)
        for (;;) pause();
    list = setting(slow);
    value = entry(&list, call);
    if (value) sleep_ms(atol(value));
}
