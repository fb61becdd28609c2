#!/usr/bin/env python3
"""Rates of every GPU of a session, by its own FILLED and SWEPT, against the same GPU alone.

    gpu-rates.py VALIDATOR SESSION.cbor... [--alone ALONE.cbor...]   exit code 1 if a GPU has less than 0.97 of its rate alone
    gpu-rates.py ordinals DEVICES.json REVERSED.json       `gpu-attestor devices --json`, once with CUDA_VISIBLE_DEVICES reversed

Of several sessions the median counts: windows of four sweeps take 0.14 s and scatter by some percent from session to session.
Arrivals of single devices are diagnostics: no bound rests on them (spec, section 5.3).
"""

import json
import statistics
import subprocess
import sys

LEAST_SHARE = 0.97


def session(validator, path):
    """Rates (Tops, GB/s) by device and k, and what else is worth showing."""
    shown = subprocess.run([validator, "inspect", "--json", path], check=True, capture_output=True).stdout
    inspected = json.loads(shown)
    plan = inspected["plan"]
    matrices = {device["ordinal"]: device["num_matrices"] for device in plan["devices"]}
    labels = {device["ordinal"]: dict(map(tuple, device["labels"])) for device in inspected["hello"]["devices"]}
    measured = {}
    for planned, done in zip(plan["iterations"], inspected["iterations"]):
        for filled in done["filled"]:
            bytes_ = plan["matrix_dim"] ** 2 * matrices[filled["device"]]
            fills, _ = measured.setdefault((filled["device"], planned["inner_dim"]), ([], []))
            fills.append(2 * planned["inner_dim"] * bytes_ / filled["after_ns"] / 1e3)
        for swept in done["swept"]:
            bytes_ = plan["matrix_dim"] ** 2 * matrices[swept["device"]]
            _, sweeps = measured[(swept["device"], planned["inner_dim"])]
            sweeps.append(bytes_ * planned["sweeps"] / swept["after_ns"])
    rates = {key: tuple(map(statistics.mean, both)) for key, both in measured.items()}
    uuids = {ordinal: own.get("uuid", str(ordinal)) for ordinal, own in labels.items()}
    return inspected, matrices, uuids, rates


def medians(sessions):
    """The median rate of each (UUID, k) over sessions."""
    all_rates = {}
    for _, _, uuids, rates in sessions:
        for (ordinal, k), rate in rates.items():
            all_rates.setdefault((uuids[ordinal], k), []).append(rate)
    return {key: tuple(map(statistics.median, zip(*rates))) for key, rates in all_rates.items()}


def show_session(inspected, matrices, uuids, rates):
    print(f"n = {inspected['plan']['matrix_dim']}, {len(matrices)} devices")
    for (ordinal, k), (fill, sweep) in sorted(rates.items()):
        line = f"device {ordinal} {uuids[ordinal]} {matrices[ordinal]:6d} matrices  k = {k:5d}"
        print(f"{line}  fill {fill:7.1f} Tops  sweep {sweep:7.1f} GB/s")
    for iteration in inspected["iterations"]:
        arrivals = [filled["after_ns"] / 1e9 for filled in iteration["filled"]]
        print(
            f"fill window {iteration['fill_ns'] / 1e9:.3f} s, sweep window {iteration['sweep_ns'] / 1e9:.3f} s,"
            f" FILLED from {min(arrivals):.3f} to {max(arrivals):.3f} s"
        )
    for name, value in map(tuple, inspected["session_labels"] or []):
        if any(word in name for word in ("mean_power", "mean_sm", "max_temp", "throttle")):
            print(f"{name}: {value}")


def show_rates(validator, together, alone):
    sessions = [session(validator, path) for path in together]
    for whole in sessions:
        show_session(*whole)
    if not alone:
        return 0
    single = medians([session(validator, path) for path in alone])
    shares = []
    for key, (fill, sweep) in sorted(medians(sessions).items()):
        base = single[key]
        shares += [fill / base[0], sweep / base[1]]
        uuid, k = key
        print(
            f"{uuid}  k = {k:5d}  medians {fill:7.1f} Tops, {sweep:7.1f} GB/s;"
            f" alone {base[0]:7.1f}, {base[1]:7.1f}; shares {shares[-2]:.3f} {shares[-1]:.3f}"
        )
    print(f"{len(sessions)} sessions together, {len(alone)} alone: least share {min(shares):.3f}, expected {LEAST_SHARE}")
    return int(min(shares) < LEAST_SHARE)


def check_ordinals(shown, reversed_):
    query = ["nvidia-smi", "--query-gpu=uuid,pci.bus_id", "--format=csv,noheader"]
    cards = [line.split(", ") for line in subprocess.check_output(query, text=True).splitlines()]
    def devices(path):
        with open(path, encoding="utf-8") as file:
            return [(d["labels"]["uuid"], d["labels"]["pci_bus_id"]) for d in json.load(file)["devices"]]
    here = devices(shown)
    print(here)
    assert [uuid for uuid, _ in here] == [uuid for uuid, _ in cards], (here, cards)
    assert devices(reversed_) == here[::-1], (devices(reversed_), here)
    for (_, ours), (_, theirs) in zip(here, cards):
        assert ours[-12:].lower() == theirs[-12:].lower(), (ours, theirs)
    return 0


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "ordinals":
        sys.exit(check_ordinals(sys.argv[2], sys.argv[3]))
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    paths, alone_paths = sys.argv[2:], []
    if "--alone" in paths:
        at = paths.index("--alone")
        paths, alone_paths = paths[:at], paths[at + 1 :]
    sys.exit(show_rates(sys.argv[1], paths, alone_paths))
