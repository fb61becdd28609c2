#!/usr/bin/env python3
"""Rows of `gpu-attestor adversary gpu --attack peer` or `two-for-one`: what is certified under links of PCIe, the default, and of NVLink.

    gpu-peers.py ROWS     exit code 1 if a bound under NVLink's links is above the truth, 2 if no row was played

Memory of another GPU is faster than the links that are assumed by default, so there a bound is expected to be beaten
(docs/threat-model.md). The formulas are those of the specification, section 6.
"""

import json
import math
import sys

BEST_RATE, INNER_DIM, SAMPLES, ERROR_BITS, ON_CHIP = 1.505e15, 16384, 1024, 20, 128 << 20
LINKS = {"64 GB/s": 64e9, "450 GB/s": 450e9}

regeneration = 1.15 * BEST_RATE / (2 * INNER_DIM)
wrong = ERROR_BITS * math.log(2) / SAMPLES


def bounds(dataset, sweep_s, link):
    """V and B; None where there is no bound."""
    elsewhere = regeneration + 2 * link
    left = 1 - wrong - 2 * elsewhere * sweep_s / dataset
    memory = dataset * math.sqrt(left) if left > 0 else None
    bandwidth = (1 - wrong) * dataset / sweep_s - elsewhere - ON_CHIP / sweep_s
    return memory, bandwidth if memory and bandwidth > 0 else None


def main(path):
    played, beaten = 0, 0
    with open(path, encoding="utf-8") as file:
        rows = [line for line in file if line.startswith("{")]
    for row in map(json.loads, rows):
        figures = row["figures"]
        if not figures:
            print(row["attack"], row["parameter"], row["not_run"])
            continue
        played += 1
        dataset, sweep_s = figures["dataset_bytes"], figures["sweep_ns"] / 1e9
        held, read = figures["memory_bytes"]["truth"], figures["bandwidth_bytes_per_s"]["truth"]
        print(
            f"{row['attack']}, {row['parameter']} elsewhere: a sweep {sweep_s * 1e3:.2f} ms, {figures['sweep_ns'] / figures['honest_sweep_ns']:.2f}"
            f" of an honest one; {(dataset - held) / sweep_s / 1e9:.0f} GB/s of bytes elsewhere; roots right: {figures['same_roots']}"
        )
        for name, link in LINKS.items():
            memory, bandwidth = bounds(dataset, sweep_s, link)
            above = (memory or 0) > held or (bandwidth or 0) > read
            beaten += above and name == "450 GB/s"
            print(
                f"    links {name}: V {'no bound' if memory is None else f'{memory / dataset:.3f}'} of {held / dataset:.3f},"
                f" B {'no bound' if bandwidth is None else f'{bandwidth / 1e12:.2f}'} of {read / 1e12:.2f} TB/s"
                f"{'  BEATEN' if above else ''}"
            )
    if not played:
        print("no row was played")
        return 2
    return int(beaten > 0)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
