#!/usr/bin/env bash
# Benches two revisions in alternation on this machine and prints how the second does against the first.
#
#   contrib/compare-revisions.sh A B [-- OPTIONS OF gpu-validator bench]
#   ROUNDS=9 contrib/compare-revisions.sh main HEAD -- --path avx512-vnni --time 200ms
#
# Each round runs both, the one that was second goes first in the next. A figure's ratio is B over A within a round; the
# median of the rounds' ratios stands with the smallest and largest, after which way the figure is better. A ratio whose
# spread straddles 1 says nothing. A figure that one revision lacks stands without a ratio.
# Needs git, cargo and python3. Both revisions must have `gpu-validator bench`.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
a=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "no such revision: $1" >&2; exit 2; }
b=$(git rev-parse --verify --quiet "$2^{commit}") || { echo "no such revision: $2" >&2; exit 2; }
shift 2
if [ "${1:-}" = "--" ]; then shift; fi
rounds=${ROUNDS:-5}

place=$(mktemp -d)
cleanup() {
    for side in a b; do
        git worktree remove --force "$place/$side" 2> /dev/null || true
    done
    rm -rf "$place"
}
trap cleanup EXIT

for side in a b; do
    git worktree add --quiet --detach "$place/$side" "${!side}"
    echo "building $side: $(git log -1 --format='%h %s' "${!side}")" >&2
    (cd "$place/$side" && cargo build --quiet --release --locked --package gpu-validator --target-dir "$place/target-$side")
done

for ((round = 0; round < rounds; round++)); do
    order="a b"
    if ((round % 2)); then order="b a"; fi
    for side in $order; do
        "$place/target-$side/release/gpu-validator" bench --json "$@" > "$place/$side.$round.json"
    done
    echo "round $((round + 1)) of $rounds, load $(cut -d' ' -f1 /proc/loadavg 2> /dev/null || echo unknown)" >&2
done

python3 - "$place" "$rounds" << 'PYTHON'
import json
import statistics
import sys

place, rounds = sys.argv[1], int(sys.argv[2])


def figures(value, name=""):
    """Every measured figure by name: medians, and plain numbers of the whole recomputation."""
    if isinstance(value, dict) and "median" in value:
        yield name, value["median"]
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from figures(inner, f"{name} {key}".strip())
    elif isinstance(value, list):
        for inner in value:
            yield from figures(inner, f"{name} {inner['path']}".strip())
    elif isinstance(value, float) and not name.endswith(" seconds"):
        yield name, value


def runs(side):
    return [dict(figures(json.load(open(f"{place}/{side}.{i}.json")))) for i in range(rounds)]


def better(name):
    """Which way a figure is better; none of bench's names has both words."""
    if any(part in name for part in ("_per_s", "share")):
        return "higher"
    return "lower" if any(part in name for part in ("_ms", "_us", "_ns")) else "?"


a, b = runs("a"), runs("b")
names = list(dict.fromkeys(name for run in a + b for name in run))
width = max(len(name) for name in names)
print(f"{'figure':<{width}}  {'better':<6}  {'A':>10}  {'B':>10}  {'B / A':>7}  spread")
for name in names:
    start = f"{name:<{width}}  {better(name):<6}"
    in_a, in_b = ([run[name] for run in side if name in run] for side in (a, b))
    of_a, of_b = (f"{statistics.median(of):>10.4g}" if of else f"{'-':>10}" for of in (in_a, in_b))
    if len(in_a) < rounds or len(in_b) < rounds:
        print(f"{start}  {of_a}  {of_b}  in {len(in_a)} runs of A and {len(in_b)} of B")
        continue
    ratios = [y[name] / x[name] for x, y in zip(a, b)]
    print(f"{start}  {of_a}  {of_b}  {statistics.median(ratios):>7.3f}  {min(ratios):.3f} to {max(ratios):.3f}")
PYTHON
