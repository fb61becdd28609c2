"""Times every kernel with device events (medians) and prints one table; variants of sweep.cu come from variants.sh.

    bench.py [IMAGES] [--gib N] [--variants]
"""

import argparse
import os
import statistics

import numpy as np

import kernels
import reference as ref
from device import Buffer, Device, u32

GIB = 1 << 30


def bench_sweep(device, gib, with_variants, rounds=7):
    matrix_bytes = 1 << 28
    matrices = min(int(gib * GIB), device.free_bytes() - GIB) // matrix_bytes
    dataset = matrices * matrix_bytes
    num_tiles = dataset // ref.TILE_BYTES
    num_leaves = num_tiles // 2
    tiles = Buffer(dataset, keep=True)
    operand_key = Buffer(np.frombuffer(os.urandom(32), np.uint8))
    print(f"dataset {dataset / GIB:.2f} GiB, {num_tiles} tiles, {num_leaves} leaves", flush=True)
    ms = device.time_ms(lambda: kernels.keystream(device, tiles, operand_key, "A", 0, matrices, matrix_bytes))
    print(f"keystream over the dataset: {dataset / ms / 1e6:.0f} GB/s", flush=True)

    salt, key, leaves = Buffer(np.frombuffer(os.urandom(32), np.uint8)), Buffer(ref.KEY_BYTES), Buffer(8 * num_tiles)
    kernels.key(device, salt, key)
    bulk = lambda stages, **o: lambda: kernels.sweep_bulk(device, tiles, num_tiles, key, leaves, stages, **o)
    sums = lambda grid: lambda: device.launch("probe:keyed_sum", grid, 1024, tiles, u32(num_tiles), key, leaves)
    runs = {"address order, keyed sum, 264 CTAs": sums(264), "address order, keyed sum, 132 CTAs": sums(132)}
    runs["address order, ring of 7"] = bulk(7, image="probe", name="sweep_bulk_address_order")
    runs["sweep_bulk, 7 stages"] = bulk(7)
    runs["sweep_load"] = lambda: kernels.sweep_load(device, tiles, num_tiles, key, leaves)
    if with_variants:
        for stages in (6, 5, 4, 3, 2):
            runs[f"sweep_bulk, {stages} stages"] = bulk(stages)
        for stages in (14, 10, 6):
            runs[f"8 KiB parts, {stages} stages"] = bulk(stages, image="sweep.part8k", stage_bytes=16384)
        for stages in (3, 2):
            runs[f"32 KiB parts, {stages} stages"] = bulk(stages, image="sweep.part32k", stage_bytes=65536)
        runs["leaves dealt, not by ticket"] = bulk(7, image="sweep.dealt")
        runs["L2 hint evict_first"] = bulk(7, image="sweep.evict_first")
        runs["L2 hint evict_normal"] = bulk(7, image="sweep.evict_normal")
        runs["a lane arrives for its warp"] = bulk(7, image="sweep.arrive_warp")
        runs["copies of 4 KiB"] = bulk(7, image="sweep.copy4k")
    runs = {what: run for what, run in runs.items() if exists(device, what, run, key)}

    times = {what: [] for what in runs}
    digests = None
    for turn in range(rounds + 1):
        for what, run in runs.items():
            key.zero(131092, 4)
            ms = device.time_ms(run)
            if turn:
                times[what].append(ms)
            elif not what.startswith("address"):
                got = leaves.read(np.uint64, 0, 8 * num_leaves)
                digests = got if digests is None else digests
                assert (got == digests).all(), f"{what} and the first sweep kernel differ"
                leaves.poison()
    check_sampled(device, tiles, num_tiles, key, digests)
    best = min(statistics.median(t) for what, t in times.items() if what.startswith("address"))
    for what, t in times.items():
        median = statistics.median(t)
        print(f"  {what:36s} {dataset / median / 1e6:6.0f} GB/s   {best / median:.3f} of address order   {median:.3f} ms"
              f"   ({min(t):.3f} .. {max(t):.3f})", flush=True)

    # A chain of sweeps with no host between them.
    sweeps = 8
    salts, roots, commit = Buffer(32 * (sweeps + 1)).zero(), Buffer(32 * sweeps), kernels.Commit(num_leaves)

    def chain():
        for s in range(sweeps):
            kernels.key(device, salts.at(32 * s), key)
            kernels.sweep_bulk(device, tiles, num_tiles, key, leaves)
            commit(device, leaves, num_leaves, roots.at(32 * s), salts.at(32 * s), 0, salts.at(32 * (s + 1)))

    ms = device.median_ms(chain, 3) / sweeps
    print(f"  chain of {sweeps}, a sweep: {ms:.3f} ms, {dataset / ms / 1e6:.0f} GB/s", flush=True)
    ms = device.median_ms(lambda: commit(device, leaves, num_leaves, roots, salts, 0, salts.at(32)))
    print(f"  commit of {num_leaves} leaves and the next salt: {ms * 1000:.1f} us", flush=True)
    ms = device.median_ms(lambda: kernels.key(device, salt, key))
    print(f"  key: {ms * 1000:.1f} us", flush=True)


def exists(device, what, run, key):
    try:
        key.zero(131092, 4)
        run()
        device.synchronize()
        return True
    except FileNotFoundError:
        return False


def check_sampled(device, tiles, num_tiles, key, digests, samples=64):
    host_key = key.read()
    order = ref.permute(host_key, num_tiles)
    shifts = ref.shifts(host_key, len(digests))
    rng = np.random.default_rng()
    for leaf in [0, len(digests) - 1, *rng.integers(0, len(digests), samples).tolist()]:
        a, b = (tiles.read(np.uint8, int(order[2 * leaf + i]) * ref.TILE_BYTES, ref.TILE_BYTES) for i in (0, 1))
        expected = ref.pair_digest(host_key, a, b, shifts[leaf])
        assert int(digests[leaf]) == expected, f"leaf {leaf}: expected {expected}, got {digests[leaf]}"
    print(f"  {samples + 2} sampled leaves of the whole dataset recomputed", flush=True)


def bench_keystream(device):
    operand_key = Buffer(np.frombuffer(os.urandom(32), np.uint8))
    for n, k, matrices in ((16384, 16384, 8), (16384, 16384, 1), (16384, 2048, 1), (1024, 1024, 1152)):
        out = Buffer(matrices * n * k)
        most = n * k // 16384
        shown = []
        for total in (264, 528, 1056, 2112, 4224, 8448):
            ctas = max(1, min(most, total // matrices))
            ms = device.median_ms(lambda: kernels.keystream(device, out, operand_key, "A", 0, matrices, n * k, ctas))
            shown.append(f"{matrices * ctas}: {out.size / ms / 1e6:.0f}")
        memset = device.median_ms(lambda: out.zero())
        print(f"keystream {matrices} x {n} x {k}, GB/s by CTAs: {', '.join(shown)}; memset {out.size / memset / 1e6:.0f}", flush=True)


def bench_fill(device):
    for name, n, k, matrices in (("fill_mma", 16384, 16384, 1), ("fill_mma", 8192, 8192, 1), ("fill_mma", 16384, 2048, 1),
                                 ("fill_mma", 1024, 1024, 1152), ("fill_dp4a", 4096, 4096, 1)):
        secret = Buffer(np.frombuffer(os.urandom(32), np.uint8))
        a, b, key = Buffer(matrices * n * k), Buffer(n * k), Buffer(ref.KEY_BYTES)
        tiles, digests = Buffer(matrices * n * n), Buffer(8 * matrices * (n // 256) ** 2).zero()
        kernels.keystream(device, a, secret, "A", 0, matrices, n * k)
        kernels.keystream(device, b, secret, "B", 0, 1, n * k)
        kernels.key(device, secret, key)
        ms = device.median_ms(lambda: kernels.FILLS[name](device, a, b, key, tiles, digests, matrices, n, k), 5)
        print(f"{name} {matrices} x {n}, k={k}: {2 * matrices * n * n * k / ms / 1e9:.0f} Tops, {ms:.3f} ms", flush=True)


def main():
    parser = argparse.ArgumentParser()
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
    parser.add_argument("images", nargs="?", default=f"{root}/target/sweep-lab")
    parser.add_argument("--gib", type=float, default=1000)
    parser.add_argument("--variants", action="store_true")
    options = parser.parse_args()
    np.seterr(over="ignore")
    device = Device(options.images)
    print(device.name, device.sms, "multiprocessors", flush=True)
    bench_keystream(device)
    bench_fill(device)
    bench_sweep(device, options.gib, options.variants)


if __name__ == "__main__":
    main()
