#!/usr/bin/env bash
# Fuzzes each target, or the named ones, for SECONDS seconds each: fuzz/run.sh SECONDS [TARGET...]
# Requires the nightly toolchain named below and cargo-fuzz (cargo install --locked cargo-fuzz@0.13.2). New inputs go to
# fuzz/work, findings to fuzz/artifacts; fuzz/corpus contains the kept inputs. KEEP=1 minimises new and kept inputs into
# fuzz/corpus. FUZZ_SEED=N uses that seed (CI does, so that the result of a run depends on its change and not on chance);
# without it every run is random.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# libFuzzer's instrumentation is unstable: pinned, so that the same sources build the same programs.
toolchain=nightly-2026-05-20

seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
targets=("$@")
if ((${#targets[@]} == 0)); then
    mapfile -t targets < <(cargo "+$toolchain" fuzz list)
fi

for target in "${targets[@]}"; do
    work=fuzz/work/$target
    mkdir -p "$work" "fuzz/corpus/$target"
    cargo run --quiet --locked -p fuzz-targets --example seeds -- "$target" "$work"
    cargo "+$toolchain" fuzz run --release --debug-assertions "$target" "$work" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 -seed="${FUZZ_SEED:-0}"
    if [[ ${KEEP:-0} == 1 ]]; then
        kept=$(mktemp -d)
        cargo "+$toolchain" fuzz run --release --debug-assertions "$target" -- \
            -merge=1 -max_len=2048 "$kept" "$work" "fuzz/corpus/$target"
        # At most sixty-four files: CI replays all kept inputs, and the vectors in addition.
        find "fuzz/corpus/$target" -type f -delete
        find "$kept" -type f | sort | shuf -n 64 --random-source=<(yes) | xargs -r mv -t "fuzz/corpus/$target"
        # At most 64 KiB in total.
        (cd "fuzz/corpus/$target" && ls -S | while read -r largest && (($(cat -- * | wc -c) > 65536)); do rm -- "$largest"; done)
        rm -r "$kept"
    fi
done
