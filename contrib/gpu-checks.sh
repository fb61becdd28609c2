#!/usr/bin/env bash
# Checks that require a host with NVIDIA GPUs, stage by stage, on any number of GPUs. Prints one line per check and ends
# with code 1 if one failed.
#
#   contrib/gpu-checks.sh [-b FOLDER OF THE RELEASE BINARIES] [-t FOLDER OF TEST BINARIES] [-l FOLDER FOR LOGS] [STAGE...]
#
# Without a stage, those that require nothing but gpu-attestor and gpu-validator (built with --features cuda). All stages:
#   inventory   the GPUs of this host; ordinals follow CUDA_VISIBLE_DEVICES, UUIDs follow the card
#   sessions    each GPU alone, then 2, 4 and 8 GPUs, three times: median rates against the same GPU alone; verify; report
#   full        full re-execution on 1, 2, 4 and 8 GPUs
#   cpu         every root of small sessions on 1, 2, 4 and 8 GPUs, recomputed by the CPU engine
#   pressure    another process holds 30 % of GPU 0's memory, then nearly all; too little memory
#   killed      killed during a fill: all memory is released
#   engines     eight engines on one GPU: the host's work in a session of eight
#   peer        memory of another GPU, both ways, and two GPUs as one (gpu-attestor-adversary, see gpu-kit.sh; two GPUs)
#   adversary   every attack on GPU 0 (gpu-attestor-adversary)
#   whole       the same with nine tenths of its memory
#   tests       the test binaries of gpu-kit.sh, one after the other
#   vectors     the specification's vectors on all GPUs concurrently (test binaries)
#   sanitize    compute-sanitizer's four tools on small plans (`rates` of gpu-kit.sh)
#
# Requires nvidia-smi, python3 and idle GPUs.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=target/release tests='' logs=''
while getopts b:t:l: option; do
    case $option in
        b) bin=$OPTARG ;;
        t) tests=$OPTARG ;;
        l) logs=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
bin=$(cd "$bin" && pwd) || exit 2
logs=${logs:-$(mktemp -d)}
mkdir -p "$logs"
for tool in nvidia-smi python3 "$bin/gpu-attestor" "$bin/gpu-validator"; do
    command -v "$tool" >/dev/null || { echo "$tool is needed and not here" >&2; exit 2; }
done
stages=("$@")
((${#stages[@]})) || stages=(inventory sessions full cpu pressure killed engines)

XDG_CONFIG_HOME=$(mktemp -d)
trap 'rm -rf "$XDG_CONFIG_HOME"' EXIT
# Then CUDA uses the same order as nvidia-smi.
export XDG_CONFIG_HOME CUDA_DEVICE_ORDER=PCI_BUS_ID GPU_ATTESTOR_REQUIRE_CUDA=1
export GPU_ATTESTOR_VECTORS=${GPU_ATTESTOR_VECTORS:-$here/../spec/vectors/v1.json}
count=$(nvidia-smi --query-gpu=index --format=csv,noheader | wc -l)
failed=0

# check NAME EXPECTED_EXIT_CODES COMMAND...: runs it for at most five minutes, with its output in logs of that name.
check() {
    local name=$1 expected=$2 actual=0 begin=${EPOCHREALTIME/./}
    shift 2
    local limit=(timeout --signal KILL 300)
    [[ $(type -t "$1") == function ]] && limit=()
    "${limit[@]}" "$@" >"$logs/$name.out" 2>"$logs/$name.err" </dev/null || actual=$?
    local ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
    if [[ " $expected " == *" $actual "* ]]; then
        printf 'ok      %-28s %6d ms\n' "$name" "$ms"
    else
        printf 'FAILED  %-28s %6d ms  exit code %d, expected %s: %s\n' "$name" "$ms" "$actual" "$expected" \
            "$(tail -n 1 "$logs/$name.err")"
        failed=1
    fi
}

show() { sed 's/^/        /'; }
attest() { timeout --signal KILL 300 "$bin/gpu-attestor" attest --engine cuda "$@"; }
used_mib() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits; }
idle=$(used_mib)

# Checks every GPU; the driver takes a moment to release memory.
is_idle_again() {
    for _ in $(seq 80); do
        paste <(echo "$idle") <(used_mib) | awk '$2 > $1 + 64 { held = 1 } END { exit held }' && return 0
        sleep 0.1
    done
    echo "MiB used before: ${idle//$'\n'/ }, now: $(used_mib | tr '\n' ' ')" >&2
    return 1
}

# The numbers of GPUs to test, each with its ordinals.
subsets() {
    local n
    for n in 1 2 4 8; do
        if ((n <= count)); then echo "$n $(seq -s, 0 $((n - 1)))"; fi
    done
}

inventory() {
    nvidia-smi topo -m
    check devices 0 "$bin/gpu-attestor" devices --engine cuda --json
    check reversed 0 env CUDA_VISIBLE_DEVICES="$(seq -s, $((count - 1)) -1 0)" \
        "$bin/gpu-attestor" devices --engine cuda --json
    check ordinals 0 python3 "$here/gpu-rates.py" ordinals "$logs/devices.out" "$logs/reversed.out"
    check no-such-device 2 "$bin/gpu-attestor" attest --engine cuda --devices "0,$count"
    check last-by-ordinal 0 attest --devices $((count - 1)) --preset smoke
    check last-by-environment 0 env CUDA_VISIBLE_DEVICES=$((count - 1)) \
        "$bin/gpu-attestor" attest --engine cuda --preset smoke
}

sessions() {
    local g n r gpus alone=() together
    for r in 1 2 3; do
        for ((g = 0; g < count; g++)); do
            check "alone-$g-$r" 0 attest --devices "$g" --preset standard --evidence "$logs/alone-$g-$r.cbor"
            alone+=("$logs/alone-$g-$r.cbor")
        done
    done
    check two-cores 0 taskset -c 0,1 "$bin/gpu-attestor" attest --engine cuda --devices 0 --preset standard
    while read -r n gpus; do
        together=()
        for r in 1 2 3; do
            if ((n > 1)); then
                check "standard-$n-$r" 0 attest --devices "$gpus" --preset standard --evidence "$logs/standard-$n-$r.cbor"
            else
                cp "$logs/alone-0-$r.cbor" "$logs/standard-1-$r.cbor"
            fi
            together+=("$logs/standard-$n-$r.cbor")
        done
        check "rates-$n" 0 python3 "$here/gpu-rates.py" "$bin/gpu-validator" "${together[@]}" --alone "${alone[@]}"
        show <"$logs/rates-$n.out"
        check "verify-$n" 0 "$bin/gpu-validator" verify "$logs/standard-$n-1.cbor"
        check "verify-cuda-$n" 0 "$bin/gpu-validator" verify --engine cuda "$logs/standard-$n-1.cbor"
        grep -h '^checked' "$logs/verify-$n.err" "$logs/verify-cuda-$n.err" | show
        check "report-$n" 0 "$bin/gpu-validator" report "$logs/standard-$n-1.cbor" --format html -o "$logs/report-$n.html"
        grep -h '^device\|^verdict' "$logs/report-$n.err" "$logs/report-$n.out" | show
    done < <(subsets)
    check idle-after-sessions 0 is_idle_again
}

# The evidence of all GPUs in one session.
evidence_of_all() {
    if [[ ! -f $logs/all.cbor ]]; then
        check all 0 attest --preset standard --evidence "$logs/all.cbor"
    fi
}

full() {
    local n gpus
    evidence_of_all
    while read -r n gpus; do
        check "full-on-$n" 0 env CUDA_VISIBLE_DEVICES="$gpus" "$bin/gpu-validator" verify --full --engine cuda "$logs/all.cbor"
        grep -h '^full' "$logs/full-on-$n.out" | show
    done < <(subsets)
    check idle-after-full 0 is_idle_again
}

cpu() {
    local n gpus dim
    while read -r n gpus; do
        for dim in 512 1024 2048; do
            check "small-$n-$dim" 0 attest --devices "$gpus" --preset smoke --device-memory 64MiB --matrix-dim "$dim" \
                --evidence "$logs/small-$n-$dim.cbor"
            check "small-$n-$dim-by-cpu" 0 "$bin/gpu-validator" verify --full --engine cpu "$logs/small-$n-$dim.cbor"
            grep -h '^checksum\|^full' "$logs/small-$n-$dim-by-cpu.out" | show
        done
    done < <(subsets)
}

# Holds a share of GPU 0's memory until it is killed.
hold_memory() {
    exec python3 - "$1" <<'PY'
import ctypes, sys, time
cuda = ctypes.CDLL("libcuda.so.1")
context, pointer, free, total = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_size_t(), ctypes.c_size_t()
def checked(status):
    if status:
        sys.exit(f"CUDA error {status}")
checked(cuda.cuInit(0))
checked(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
checked(cuda.cuCtxSetCurrent(context))
checked(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
share = float(sys.argv[1])
left = int(total.value * (1 - share))
size = free.value - left if share > 0.9 else int(total.value * share)
checked(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(size)))
print("held", flush=True)
time.sleep(600)
PY
}

is_held() {
    for _ in $(seq 100); do
        grep -q held "$logs/holder.out" && return 0
        sleep 0.1
    done
    return 1
}

pressure() {
    local share expected holder
    for share in 0.3 0.995 0.999; do
        hold_memory "$share" >"$logs/holder.out" 2>"$logs/holder.err" &
        holder=$!
        check "holder-$share" 0 is_held
        # With almost no memory left, the answer is a reason with figures, or a session with the remaining memory.
        expected=0
        [[ $share == 0.3 ]] || expected='0 2'
        check "under-$share" "$expected" attest --preset standard --evidence "$logs/under-$share.cbor"
        check "devices-under-$share" "$expected" "$bin/gpu-attestor" devices --engine cuda
        cat "$logs/under-$share.err" "$logs/devices-under-$share.err" | show
        if [[ $share == 0.3 ]]; then
            python3 "$here/gpu-rates.py" "$bin/gpu-validator" "$logs/under-$share.cbor" | show
            # With unequal GPUs: does every one take part? Its time is comparable with full-on-N.
            evidence_of_all
            check full-under-pressure 0 "$bin/gpu-validator" verify --full --engine cuda "$logs/under-$share.cbor"
            grep -h '^full' "$logs/full-under-pressure.out" | show
        fi
        kill "$holder" 2>/dev/null
        wait "$holder" 2>/dev/null
    done
    check too-little 2 attest --preset standard --memory-limit 64MiB
    check idle-after-pressure 0 is_idle_again
}

killed() {
    local victim
    attest --preset standard >"$logs/victim.out" 2>&1 &
    victim=$!
    for _ in $(seq 200); do
        nvidia-smi --query-gpu=memory.used,memory.total --format=csv,noheader,nounits |
            awk -F, '$1 < 0.8 * $2 { waiting = 1 } END { exit waiting }' && break
        sleep 0.05
    done
    sleep 1
    pkill -KILL -P "$victim"
    wait "$victim" 2>/dev/null
    check idle-after-kill 0 is_idle_again
    check smoke-after-kill 0 attest --preset smoke
}

# The Attester's processor time is in the third line of each log.
engines() {
    local total_mib
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
    check all-gpus 0 "$bin/gpu-validator" attest --preset standard -- \
        bash "$logs/agent.sh" "$(seq -s, 0 $((count - 1)))" 1 "$((total_mib * 9 / 10))MiB"
    grep -H '^real' "$logs/one-engine.err" "$logs/eight-engines.err" "$logs/all-gpus.err" | show
}

# Over NVLink a bound under links of 64 GB/s is expected to be exceeded: gpu-peers.py prints by how much, and under which
# links it is not.
peer() {
    local g other
    for ((g = 0; g < (count < 2 ? count : 2); g++)); do
        check "peer-$g" '0 1 2' "$bin/gpu-attestor-adversary" adversary gpu --attack peer --device "$g" --memory 32GiB
        check "peer-$g-bounds" 0 python3 "$here/gpu-peers.py" "$logs/peer-$g.out"
        show <"$logs/peer-$g-bounds.out"
    done
    ((count < 2)) && return
    check two-for-one '0 1' "$bin/gpu-attestor-adversary" adversary gpu --attack two-for-one --memory 64GiB
    check two-for-one-bounds '0 1' python3 "$here/gpu-peers.py" "$logs/two-for-one.out"
    show <"$logs/two-for-one-bounds.out"
    "$bin/gpu-attestor-adversary" adversary gpu --attack peer --device 1 --memory 32GiB >"$logs/both-1.out" 2>&1 &
    other=$!
    check both-0 '0 1 2' "$bin/gpu-attestor-adversary" adversary gpu --attack peer --device 0 --memory 32GiB
    wait "$other"
    for g in 0 1; do
        check "both-$g-bounds" 0 python3 "$here/gpu-peers.py" "$logs/both-$g.out"
        show <"$logs/both-$g-bounds.out"
    done
}

adversary() {
    check adversary '0 1' "$bin/gpu-attestor-adversary" adversary gpu --device 0 --memory 32GiB --seconds 150
    show <"$logs/adversary.out"
}

whole() {
    local total_mib
    total_mib=$(nvidia-smi -i 0 --query-gpu=memory.total --format=csv,noheader,nounits)
    check whole '0 1' "$bin/gpu-attestor-adversary" adversary gpu --device 0 --memory "$((total_mib * 9 / 10))MiB" --seconds 290
    show <"$logs/whole.out"
}

tests() {
    local test name
    for test in "$tests"/*; do
        name=${test##*/}
        check "test-$name" 0 env GPU_ATTESTOR_SESSIONS=1000 "$test" --nocapture
        grep -h '^test result\|SKIPPED\|FAILED\|panicked' "$logs/test-$name.out" "$logs/test-$name.err" | head -n 12 | show
    done
    check e2e-one-visible 0 env CUDA_VISIBLE_DEVICES=0 "$tests/integration-tests-gpu_pow_e2e" gpu_pow_end_to_end_flow
    check idle-after-tests 0 is_idle_again
}

vectors() {
    local g jobs=()
    for ((g = 0; g < count; g++)); do
        CUDA_VISIBLE_DEVICES=$g "$tests/engine-cuda-conformance" every_run_of_the_vectors_is_reproduced \
            >"$logs/vectors-$g.out" 2>&1 &
        jobs+=($!)
    done
    for ((g = 0; g < count; g++)); do
        check "vectors-on-$g" 0 wait_for "${jobs[g]}"
    done
}

wait_for() { wait "$1"; }

sanitize() {
    local tools=(memcheck racecheck initcheck synccheck) jobs=() i
    # One tool per GPU, concurrently if there are several GPUs.
    for i in "${!tools[@]}"; do
        CUDA_VISIBLE_DEVICES=$((i % count)) timeout 240 compute-sanitizer --tool "${tools[i]}" --error-exitcode 9 \
            "$bin/rates" 256,192,5,1,2 768,320,2,1,2 >"$logs/${tools[i]}.log" 2>&1 &
        jobs+=($!)
    done
    for i in "${!tools[@]}"; do
        check "${tools[i]}" 0 wait_for "${jobs[i]}"
        grep -h SUMMARY "$logs/${tools[i]}.log" | show
    done
}

echo "$count GPUs: $(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | sort | uniq -c)"
echo "logs in $logs"
for stage in "${stages[@]}"; do
    [[ $(type -t "$stage") == function ]] || { echo "no stage $stage; the first lines of $0 name them" >&2; exit 2; }
    if [[ $stage == tests || $stage == vectors ]] && [[ ! -d $tests ]]; then
        echo "stage $stage needs -t FOLDER, made by contrib/gpu-kit.sh" >&2
        exit 2
    fi
    echo "== $stage ($SECONDS s)"
    "$stage"
done
echo "== end ($SECONDS s), failed: $failed"
exit "$failed"
