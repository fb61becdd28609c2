#!/usr/bin/env bash
# What only a host with NVIDIA GPUs can show, in one go: sessions as users run them, under memory pressure, killed half-way,
# with many engines on a GPU. Prints a line a check and ends with code 1 if one failed.
#
#   contrib/gpu-checks.sh [FOLDER OF THE RELEASE BINARIES] [FOLDER FOR LOGS AND EVIDENCE]
#
# Needs nvidia-smi, python3 and idle GPUs. GPU 0 is put under pressure.
set -uo pipefail
bin=${1:-target/release}
logs=${2:-$(mktemp -d)}
mkdir -p "$logs"
failed=0
for tool in nvidia-smi python3 "$bin/gpu-attestor" "$bin/gpu-validator"; do
    command -v "$tool" >/dev/null || { echo "$tool is needed and not here" >&2; exit 2; }
done
XDG_CONFIG_HOME=$(mktemp -d)
export XDG_CONFIG_HOME
trap 'rm -rf "$XDG_CONFIG_HOME"' EXIT

# check NAME EXPECTED_EXIT_CODE COMMAND...: runs it, its output in a log of that name.
check() {
    local name=$1 expected=$2 actual=0 begin=${EPOCHREALTIME/./}
    shift 2
    "$@" >"$logs/$name.out" 2>"$logs/$name.err" || actual=$?
    local ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
    if ((actual == expected)); then
        printf 'ok      %-24s %6d ms\n' "$name" "$ms"
    else
        printf 'FAILED  %-24s %6d ms  exit code %d, expected %d: %s\n' "$name" "$ms" "$actual" "$expected" \
            "$(tail -n 1 "$logs/$name.err")"
        failed=1
    fi
}

used_mib() { nvidia-smi -i 0 --query-gpu=memory.used --format=csv,noheader,nounits; }

# Memory that comes back takes the driver a moment.
is_idle_again() {
    local before=$1 now
    for _ in $(seq 50); do
        now=$(used_mib)
        ((now <= before + 64)) && return 0
        sleep 0.1
    done
    echo "$now MiB are used on GPU 0, $before before" >&2
    return 1
}

# Holds a share of GPU 0's memory until it is killed.
hold_memory() {
    exec python3 - "$1" <<'PY'
import ctypes, sys, time
cuda = ctypes.CDLL("libcuda.so.1")
context, pointer, free, total = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_size_t(), ctypes.c_size_t()
for status in (
    cuda.cuInit(0),
    cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0),
    cuda.cuCtxSetCurrent(context),
    cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)),
    cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(int(total.value * float(sys.argv[1])))),
):
    if status:
        sys.exit(f"CUDA error {status}")
print("held", flush=True)
time.sleep(600)
PY
}

idle_mib=$(used_mib)
echo "GPU 0 uses $idle_mib MiB before; logs in $logs"

check devices 0 "$bin/gpu-attestor" devices --engine cuda
check standard 0 "$bin/gpu-attestor" attest --engine cuda --preset standard --evidence "$logs/standard.cbor"
check standard-verify 0 "$bin/gpu-validator" verify "$logs/standard.cbor"
check standard-two-cores 0 taskset -c 0,1 "$bin/gpu-attestor" attest --engine cuda --preset standard
check freed-after-sessions 0 is_idle_again "$idle_mib"

# One GPU as eight devices: the host's part of a session of eight. The Attester's processor time is in agent.time.
cat >"$logs/agent.sh" <<AGENT
#!/usr/bin/env bash
TIMEFORMAT='real %R s, user %U s, system %S s'
time "$bin/gpu-attestor" agent --stdio --engine cuda --devices "\$1" --engines-per-gpu "\$2" --memory-limit "\$3"
AGENT
total_mib=$(nvidia-smi -i 0 --query-gpu=memory.total --format=csv,noheader,nounits)
check one-engine 0 "$bin/gpu-validator" attest --preset standard -- \
    bash "$logs/agent.sh" 0 1 "$((total_mib * 9 / 10))MiB"
check eight-engines 0 "$bin/gpu-validator" attest --preset standard --evidence "$logs/eight.cbor" -- \
    bash "$logs/agent.sh" 0,1,2,3,4,5,6,7 8 "$((total_mib * 9 / 80))MiB"
grep -h '^real' "$logs/one-engine.err" "$logs/eight-engines.err"

holds() {
    for _ in $(seq 100); do
        grep -q held "$logs/holder.out" && return 0
        sleep 0.1
    done
    return 1
}

# Another process holds 30 %: the session takes what is left.
hold_memory 0.3 >"$logs/holder.out" &
holder=$!
check holder 0 holds
check under-pressure 0 "$bin/gpu-attestor" attest --engine cuda --devices 0 --preset standard
kill "$holder" 2>/dev/null
wait "$holder" 2>/dev/null
# Too little for one matrix: could not run, with the figures.
check too-little 2 "$bin/gpu-attestor" attest --engine cuda --devices 0 --preset standard --memory-limit 64MiB
check freed-by-holder 0 is_idle_again "$idle_mib"

# Killed in the middle of a fill: everything comes back, and the next session runs.
check killed 137 timeout --signal KILL 4 "$bin/gpu-attestor" attest --engine cuda --preset standard
check freed-after-kill 0 is_idle_again "$idle_mib"
check smoke-after-kill 0 "$bin/gpu-attestor" attest --engine cuda --preset smoke

grep -h 'dataset\|^plan\|^k = \|^[0-9]\+ \|^verdict' "$logs/standard.out" "$logs/under-pressure.out" "$logs/eight-engines.out"
exit "$failed"
