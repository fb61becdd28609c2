"""Checks every kernel against NumPy (reference.py) on fresh random data, and whole runs against the known answers.

    check.py [--images FOLDER] [--without KERNEL]... [--small] [--unpoisoned]

Every output is poisoned before its kernel runs and guarded past its end; --small and --unpoisoned are for compute-sanitizer.
"""

import argparse
import json
import os
import sys
import time

import numpy as np

import kernels
import reference as ref
from device import Buffer, Device, u64

rng = np.random.default_rng(int.from_bytes(os.urandom(8), "little"))


def same(what, got, expected):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    wrong = np.argwhere(got != expected)
    if len(wrong):
        at = tuple(wrong[0])
        raise AssertionError(f"{what}: {len(wrong)} of {got.size} differ, first at {at}: expected {expected[at]}, got {got[at]}")


def random_bytes(*shape):
    return rng.integers(0, 256, shape, np.uint8)


def check_keystream(device, small):
    cases = [(256, 64, 1, 0), (256, 192, 3, 0xFFFFFFFF), (512, 128, 2, 7)]
    if not small:
        cases += [(256, 2048, 2, 1 << 40), (256, 4096, 3, 5), (1024, 1024, 4, 1)]
    for n, k, matrices, first in cases:
        secret = random_bytes(32)
        key = Buffer(secret)
        for tag in "AB":
            expected = np.stack([ref.operand(secret.tobytes(), tag, first + i, n, k) for i in range(matrices)])
            for ctas in (None, 1, 3):
                out = Buffer(matrices * n * k)
                kernels.keystream(device, out, key, tag, first, matrices, n * k, ctas)
                same(f"keystream n={n} k={k} tag={tag} ctas={ctas}", out.read(np.int8).reshape(expected.shape), expected)
    return len(cases)


def check_key(device, small):
    salts = [np.arange(32, dtype=np.uint8), random_bytes(32)]
    for salt in salts:
        out = Buffer(ref.KEY_BYTES)
        kernels.key(device, Buffer(salt), out)
        same("key", out.read(), ref.key_of(salt.tobytes()))
    return len(salts)


def check_sweep(device, small):
    counts = [1, 2, 3, 4, 5, 11, 17] + ([] if small else [64, 65, 257, 1000, 1023])
    for num_tiles in counts:
        content = random_bytes(num_tiles, ref.TILE_BYTES)
        content[0] = 0xFF  # the largest words
        salt = random_bytes(32)
        expected_key = ref.key_of(salt.tobytes())
        expected = ref.pair_digests(expected_key, content)
        tiles = Buffer(content)
        options = {"sweep_bulk": [{}, {"stages": 2}, {"stages": 3, "grid": 1}, {"stages": 5, "grid": 132}], "sweep_load": [{}, {"grid": 1}]}
        for name, sweep in kernels.SWEEPS.items():
            for option in options[name]:
                key, leaves = Buffer(expected_key), Buffer(8 * len(expected))
                sweep(device, tiles, num_tiles, key, leaves, **option)
                same(f"{name} {option} M={num_tiles}", leaves.read(np.uint64), expected)
    return len(counts)


def check_commit(device, small):
    counts = [1, 2, 7, 8, 9, 127, 128, 129, 130, 255, 256, 257, 385, 1000, 1025, 8191, 8192, 8193]
    if not small:
        counts += [8320, 16384, 16385, 65537, 532481, 1048576, 1100001, 2277000]
    commit = kernels.Commit(max(counts))
    for count in counts:
        for content in (rng.integers(0, 2**64, count, np.uint64), ref.counted_leaves(count)):
            salt = random_bytes(32)
            root, next_salt = Buffer(32), Buffer(32)
            commit(device, Buffer(content), count, root, Buffer(salt), 7, next_salt)
            expected = ref.blake3(content.tobytes())
            same(f"root of {count} leaves", root.read(), np.frombuffer(expected, np.uint8))
            derived = ref.derive("next sweep salt", salt.tobytes() + expected + (7).to_bytes(4, "little"))
            same("next salt", next_salt.read(), np.frombuffer(derived, np.uint8))
            root.poison()
            commit(device, Buffer(content), count, root)
            same("root without a next salt", root.read(), np.frombuffer(expected, np.uint8))
    return len(counts)


def check_fill(device, small):
    cases = [(256, 64, 1), (256, 192, 3)]
    if not small:
        cases += [(512, 64, 2), (512, 4096, 1), (1024, 192, 2), (1024, 1024, 1), (2048, 64, 1), (2048, 256, 2), (256, 65536, 1)]
    extremes = [(256, 65536)] if not small else [(256, 128)]
    for n, k, matrices in cases + [(n, k, 0) for n, k in extremes]:
        if matrices == 0:  # the largest accumulators: 2^30 at k = 65536
            matrices, a, b = 1, np.full((1, n, k), -128, np.int8), np.full((n, k), -128, np.int8)
            b[1::2] = 127
        else:
            a, b = random_bytes(matrices, n, k).view(np.int8), random_bytes(n, k).view(np.int8)
        salt_key = ref.key_of(random_bytes(32).tobytes())
        expected = np.concatenate([ref.product_tiles(m, b) for m in a])
        on_a, on_b, on_key = Buffer(a), Buffer(b), Buffer(salt_key)
        for name, fill in kernels.FILLS.items():
            tiles, digests = Buffer(expected.size), Buffer(8 * len(expected)).zero()
            fill(device, on_a, on_b, on_key, tiles, digests, matrices, n, k)
            same(f"{name} tiles n={n} k={k}", tiles.read().reshape(expected.shape), expected)
            same(f"{name} digests n={n} k={k}", digests.read(np.uint64), ref.fill_digests(salt_key, expected))
    return len(cases) + len(extremes)


def check_runs(device, vectors, numbers):
    """Whole runs on the device: the host hands over operand keys, fill salts and first sweep salts, nothing else."""
    for number in numbers:
        run = vectors["runs"][number]
        n = run["n"]
        tiles_per_matrix = (n // 256) ** 2
        for t, (iteration, trace) in enumerate(zip(run["iterations"], run["trace"])):
            k, sweeps = iteration["k"], iteration["sweeps"]
            chain = bytes.fromhex(trace["chain"])
            operand_key, fill_key = Buffer(np.frombuffer(ref.derive("operands", chain), np.uint8)), Buffer(ref.KEY_BYTES)
            kernels.key(device, Buffer(np.frombuffer(ref.derive("fill salt", chain), np.uint8)), fill_key)
            b = Buffer(n * k)
            kernels.keystream(device, b, operand_key, "B", 0, 1, n * k)
            joint = ref.blake3(b"".join(map(bytes.fromhex, trace["fill_roots"])))
            for g, share in enumerate(run["devices"]):
                for name, fill in kernels.FILLS.items():
                    what = f"run {number} iteration {t} device {g} with {name}"
                    matrices = share["num_matrices"]
                    num_tiles = matrices * tiles_per_matrix
                    a, tiles, digests = Buffer(matrices * n * k), Buffer(num_tiles * ref.TILE_BYTES), Buffer(8 * num_tiles).zero()
                    kernels.keystream(device, a, operand_key, "A", share["matrix_offset"], matrices, n * k)
                    fill(device, a, b, fill_key, tiles, digests, matrices, n, k)
                    same(f"{what}: fill digests", digests.read(np.uint64)[:4], np.array(trace["fill_digests"][g], np.uint64))
                    commit, root = kernels.Commit(num_tiles), Buffer(32)
                    commit(device, digests, num_tiles, root)
                    same(f"{what}: fill root", root.read().tobytes().hex(), trace["fill_roots"][g])

                    first = ref.derive("first sweep salt", chain + bytes.fromhex(trace["v"]) + joint + g.to_bytes(4, "little"))
                    for sweep in kernels.SWEEPS.values():
                        num_leaves = (num_tiles + 1) // 2
                        salts, roots = Buffer(32 * sweeps), Buffer(32 * sweeps)
                        leaves, key = Buffer(8 * num_leaves), Buffer(ref.KEY_BYTES)
                        salts.write(first)
                        for s in range(sweeps):
                            kernels.key(device, salts.at(32 * s), key)
                            sweep(device, tiles, num_tiles, key, leaves)
                            following = salts.at(32 * (s + 1)) if s + 1 < sweeps else u64(0)
                            commit(device, leaves, num_leaves, roots.at(32 * s), salts.at(32 * s), g, following)
                        hexes = lambda buffer: [row.tobytes().hex() for row in buffer.read().reshape(sweeps, 32)]
                        same(f"{what}: last leaves", leaves.read(np.uint64)[:4], np.array(trace["last_sweep_digests"][g], np.uint64))
                        same(f"{what}: salts", hexes(salts), trace["sweep_salts"][g])
                        same(f"{what}: roots", hexes(roots), trace["sweep_roots"][g])
    return len(numbers)


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", default=f"{root}/target/sweep-lab")
    parser.add_argument("--without", action="append", default=[], help="a sweep or fill kernel that the images lack")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--unpoisoned", action="store_true")
    options = parser.parse_args()
    small, Buffer.poisoned = options.small, not options.unpoisoned
    for table in (kernels.SWEEPS, kernels.FILLS):
        for name in options.without:
            table.pop(name, None)
    vectors = json.load(open(f"{root}/spec/vectors/v1.json"))
    np.seterr(over="ignore")
    print("reference:", ref.check_against_vectors(vectors), "known answers", flush=True)
    device = Device(options.images)
    print("device:", device.name, device.sms, "multiprocessors", flush=True)
    failures = 0
    for check in (check_keystream, check_key, check_sweep, check_commit, check_fill):
        failures += not attempt(check.__name__, lambda: check(device, small))
    numbers = [0] if small else range(len(vectors["runs"]))
    failures += not attempt("check_runs", lambda: check_runs(device, vectors, numbers))
    sys.exit(failures != 0)


def attempt(name, check):
    start = time.monotonic()
    try:
        print(f"{name}: {check()} cases hold ({time.monotonic() - start:.1f} s)", flush=True)
        return True
    except (AssertionError, RuntimeError) as error:
        print(f"{name}: FAILED: {error}", flush=True)
        return False


if __name__ == "__main__":
    main()
