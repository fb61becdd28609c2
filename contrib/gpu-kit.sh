#!/usr/bin/env bash
# Builds what contrib/gpu-checks.sh runs, on a machine that needs no GPU: one archive to be copied to a host with GPUs.
#
#   contrib/gpu-kit.sh [ARCHIVE.tar.xz]
#
# On that host: tar -xJf ARCHIVE.tar.xz && contrib/gpu-checks.sh -b bin -t tests [STAGE...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
archive=${1:-gpu-kit.tar.xz}
# Built separately and small: most of a binary consists of symbols. Otherwise built like a release: without link-time
# optimisation the code and the times would differ.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/gpu-kit}
export CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_STRIP=symbols
release=$CARGO_TARGET_DIR/release
kit=$(mktemp -d)
trap 'rm -rf "$kit"' EXIT
mkdir "$kit/bin" "$kit/tests"

cargo build --release --locked -p gpu-attestor
cargo build --release --locked -p gpu-validator --features cuda
cargo build --release --locked -p engine-cuda --example rates
cp "$release/gpu-attestor" "$release/gpu-validator" "$release/examples/rates" "$kit/bin"
cargo build --release --locked -p gpu-attestor --features adversary
cp "$release/gpu-attestor" "$kit/bin/gpu-attestor-adversary"

# The test binaries of a package, by their names.
tests_of() {
    local package=$1
    shift
    cargo test --release --locked --no-run -p "$package" "$@" --lib --tests --message-format=json |
        python3 -c '
import json, sys
for line in sys.stdin:
    built = json.loads(line)
    if built.get("executable") and built["profile"]["test"]:
        print(built["target"]["name"], built["executable"])' |
        while read -r name path; do cp "$path" "$kit/tests/$package-$name"; done
}
tests_of engine-cuda --features attack
tests_of integration-tests

tar -C "$kit" -cf - bin tests | xz -T0 -6 >"$archive"
ls -l "$archive"
