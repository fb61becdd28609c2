"""Each kernel's launch, as its file's header states it."""

import numpy as np

import reference as ref
from device import Buffer, u32, u64

NEXT_SALT_CONTEXT = ref.context_key("next sweep salt")


def keystream(device, out, key, tag, first_index, matrices, matrix_bytes, ctas=None):
    blocks = matrix_bytes // 64
    ctas = ctas or min(blocks // 256, max(1, 4 * device.sms // matrices))
    device.launch("keystream", (ctas, matrices), 256, out, key, u32(ord(tag)), u64(first_index), u32(blocks))


def key(device, salt, out):
    device.launch("key", 33, 64, salt, out)


def sweep_bulk(device, tiles, num_tiles, key, leaves, stages=7, grid=None, image="sweep", name="sweep_bulk", stage_bytes=32768):
    grid = grid or min(device.sms, (num_tiles + 1) // 2)
    device.launch(f"{image}:{name}", grid, 544, tiles, u32(num_tiles), key, leaves, u32(stages), shared=stages * stage_bytes)


def sweep_load(device, tiles, num_tiles, key, leaves, grid=None, image="sweep"):
    device.launch(f"{image}:sweep_load", grid or device.sms, 512, tiles, u32(num_tiles), key, leaves)


class Commit:
    """Scratch of commit.cu for up to `most_leaves`."""

    def __init__(self, most_leaves):
        self.subtrees = Buffer(32 * -(-most_leaves // 8192))
        self.finished = Buffer(np.zeros(1, np.uint32))

    def __call__(self, device, leaves, num_leaves, root, salt=u64(0), ordinal=0, next_salt=u64(0)):
        device.launch("commit", -(-num_leaves // 8192), 64, leaves, u32(num_leaves), self.subtrees, self.finished, root,
                      NEXT_SALT_CONTEXT, salt, u32(ordinal), next_salt)


def fill_mma(device, a, b, key, tiles, digests, matrices, n, k):
    device.launch("fill_mma", matrices * (n // 128) * (n // 256), 256, a, b, key, tiles, digests, u32(n), u32(k), shared=98304)


def fill_dp4a(device, a, b, key, tiles, digests, matrices, n, k):
    device.launch("fill_dp4a", matrices * (n // 128) ** 2, 256, a, b, key, tiles, digests, u32(n), u32(k))


FILLS = {"fill_mma": fill_mma, "fill_dp4a": fill_dp4a}
SWEEPS = {"sweep_bulk": sweep_bulk, "sweep_load": sweep_load}
