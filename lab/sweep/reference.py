"""Protocol v1's arithmetic (spec §4) in NumPy, written for checking kernels: plain, vectorised over blocks and chunks."""

import numpy as np

U32, U64 = np.uint32, np.uint64
TILE_BYTES, TILE_WORDS = 65536, 16384
KEY_BYTES = 131104
CONTEXT = "gpu-attestor 2026-11-22 "

# --- ChaCha8 ---------------------------------------------------------------------------------------------------------


def rotate_left(x, bits):
    return (x << U32(bits)) | (x >> U32(32 - bits))


def quarter_round(x, a, b, c, d):
    for target, other, rotated, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[target] += x[other]
        x[rotated] = rotate_left(x[rotated] ^ x[target], bits)


def keystream(key: bytes, nonce: bytes, length: int) -> np.ndarray:
    blocks = -(-length // 64)
    start = np.empty((16, blocks), U32)
    start[0:4] = np.frombuffer(b"expand 32-byte k", "<u4")[:, None]
    start[4:12] = np.frombuffer(key, "<u4")[:, None]
    start[12] = np.arange(blocks, dtype=U32)
    start[13:16] = np.frombuffer(nonce, "<u4")[:, None]
    x = start.copy()
    for _ in range(4):
        for i in range(4):
            quarter_round(x, i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter_round(x, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return np.ascontiguousarray((x + start).T).view(np.uint8).ravel()[:length]


# --- BLAKE3 ----------------------------------------------------------------------------------------------------------

IV = np.array([0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19], U32)
SCHEDULE = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
CHUNK_START, CHUNK_END, PARENT, ROOT, DERIVE_CONTEXT, DERIVE_MATERIAL = 1, 2, 4, 8, 32, 64


def compress(chaining, block, counter, length, flags):
    """Chaining values [8][N] after blocks [16][N]; counter, length and flags are scalars or [N]."""
    n = block.shape[1]
    v = np.empty((16, n), U32)
    v[0:8], v[8:12] = chaining, IV[:4, None]
    v[12], v[13], v[14], v[15] = counter, 0, length, flags
    m = block
    for _ in range(7):
        for i in range(8):
            a, b, c, d = (i, 4 + i, 8 + i, 12 + i) if i < 4 else (i - 4, 4 + (i - 3) % 4, 8 + (i - 2) % 4, 12 + (i - 1) % 4)
            for word, x_bits, y_bits in ((m[2 * i], 16, 20), (m[2 * i + 1], 24, 25)):
                v[a] += v[b] + word
                v[d] = rotate_left(v[d] ^ v[a], x_bits if x_bits == 16 else 24)
                v[c] += v[d]
                v[b] = rotate_left(v[b] ^ v[c], y_bits)
        m = m[SCHEDULE]
    return v[:8] ^ v[8:]


def blake3(data, key=IV, base_flags=0) -> bytes:
    data = np.frombuffer(bytes(data), np.uint8)
    chunks = max(1, -(-len(data) // 1024))
    padded = np.zeros(chunks * 1024, np.uint8)
    padded[: len(data)] = data
    words = padded.view("<u4").reshape(chunks, 16, 16).transpose(1, 2, 0)  # block, word, chunk
    lengths = np.minimum(1024, len(data) - 1024 * np.arange(chunks))
    nodes = np.repeat(key[:, None], chunks, axis=1)
    for block in range(16):
        present = (lengths > 64 * block) | (block == 0)
        last = present & (lengths <= 64 * (block + 1))
        flags = base_flags | (CHUNK_START if block == 0 else 0) | last * (CHUNK_END | (ROOT if chunks == 1 else 0))
        size = np.clip(lengths - 64 * block, 0, 64)
        nodes = np.where(present, compress(nodes, words[block], np.arange(chunks), size, flags), nodes)
    while nodes.shape[1] > 1:
        pairs = nodes.shape[1] // 2
        block = np.concatenate([nodes[:, 0 : 2 * pairs : 2], nodes[:, 1 : 2 * pairs : 2]])
        flags = base_flags | PARENT | (ROOT if nodes.shape[1] == 2 else 0)
        joined = compress(np.repeat(key[:, None], pairs, axis=1), block, 0, 64, flags)
        nodes = np.concatenate([joined, nodes[:, 2 * pairs :]], axis=1)
    return nodes[:, 0].astype("<u4").tobytes()


def context_key(purpose: str) -> bytes:
    return blake3((CONTEXT + purpose).encode(), base_flags=DERIVE_CONTEXT)


def derive(purpose: str, material: bytes) -> bytes:
    return blake3(material, np.frombuffer(context_key(purpose), "<u4"), DERIVE_MATERIAL)


# --- operands, tiles, digests, matching --------------------------------------------------------------------------------


def operand(key: bytes, tag: str, index: int, n: int, k: int) -> np.ndarray:
    nonce = ord(tag).to_bytes(4, "little") + index.to_bytes(8, "little")
    return keystream(key, nonce, n * k).view(np.int8).reshape(n, k)


def fold(acc: np.ndarray) -> np.ndarray:
    h = acc.astype(np.int64).astype(U32) * U32(0x9E3779B1)
    h ^= h >> U32(15)
    return ((h * U32(0x85EBCA6B)) >> U32(24)).astype(np.uint8)


def product_tiles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Tiles [(n/256)^2][65536] of fold(a * b^T). float64 is exact here: |acc| <= 2^30."""
    n = a.shape[0]
    x = fold(a.astype(np.float64) @ b.astype(np.float64).T)
    return np.ascontiguousarray(x.reshape(n // 256, 256, n // 256, 256).swapaxes(1, 2)).reshape(-1, TILE_BYTES)


def key_of(salt: bytes) -> np.ndarray:
    """The key as key.cu lays it out."""
    out = np.zeros(KEY_BYTES, np.uint8)
    out[:131092] = keystream(salt, bytes(12), 131092)
    return out


def fill_digests(key: np.ndarray, tiles: np.ndarray) -> np.ndarray:
    k = key[:131072].view("<u8")
    return np.array([(k * tile.view("<u4")).sum(dtype=U64) for tile in tiles], U64)


def fmix32(x):
    x = np.asarray(x, U32).copy()
    x ^= x >> U32(16)
    x *= U32(0x85EBCA6B)
    x ^= x >> U32(13)
    x *= U32(0xC2B2AE35)
    return x ^ (x >> U32(16))


def permute(key: np.ndarray, num_tiles: int) -> np.ndarray:
    """permute(x) for every x in 0..num_tiles."""
    feistel = key[131072:131088].view("<u4")
    h = 1
    while 4**h < num_tiles:
        h += 1
    mask = U32(2**h - 1)
    x = np.arange(num_tiles, dtype=U32)
    outside = np.ones(num_tiles, bool)
    while outside.any():
        left, right = x[outside] >> U32(h), x[outside] & mask
        for f in feistel:
            left, right = right, left ^ (fmix32(right ^ f) & mask)
        x[outside] = left << U32(h) | right
        outside = x >= num_tiles
    return x


def shifts(key: np.ndarray, num_leaves: int) -> np.ndarray:
    return fmix32(np.arange(num_leaves, dtype=U32) ^ key[131088:131092].view("<u4")) & U32(TILE_WORDS - 1)


def pair_digest(key: np.ndarray, a: np.ndarray, b: np.ndarray, shift) -> int:
    k = key[:131072].view("<u8")
    i = np.arange(TILE_WORDS, dtype=U32) ^ U32(shift)
    return int((k * (a.view("<u4").astype(U64) * b.view("<u4")[i])).sum(dtype=U64))


def pair_digests(key: np.ndarray, tiles: np.ndarray) -> np.ndarray:
    num_tiles = len(tiles)
    order = permute(key, num_tiles)
    if num_tiles % 2:
        order = np.append(order, order[-1])
    pairs = order.reshape(-1, 2)
    return np.array([pair_digest(key, tiles[a], tiles[b], m) for (a, b), m in zip(pairs, shifts(key, len(pairs)))], U64)


# --- against the known answers -----------------------------------------------------------------------------------------


def check_against_vectors(vectors: dict) -> int:
    """Compares this file with the known answers; returns how many were compared."""
    compared = 0

    def same(what, got, expected):
        nonlocal compared
        compared += 1
        assert got == expected, f"reference, {what}: expected {expected}, got {got}"

    p = vectors["primitives"]
    d = p["derive"]
    same("derive", derive(d["purpose"], bytes.fromhex(d["material"])).hex(), d["out"])
    c = p["chacha8_first_block"]
    same("chacha8", keystream(bytes.fromhex(c["key"]), bytes.fromhex(c["nonce"]), 64).tobytes().hex(), c["out"])
    salt = bytes(range(32))
    a7, a8, b = (operand(salt, tag, i, 256, 128) for tag, i in (("A", 7), ("A", 8), ("B", 0)))
    same("operand", a7[3, :32].tobytes().hex(), p["operand_A_7_row_3_k_128_first_32"])
    t = p["tile_key_0to31_k128_matrix7_r0_c0"]
    tile7, tile8 = product_tiles(a7, b)[0], product_tiles(a8, b)[0]
    key = key_of(salt)
    same("tile", blake3(tile7).hex(), t["blake3"])
    same("tile bytes", tile7[:16].tobytes().hex(), t["first_16"])
    same("fill digest", str(fill_digests(key, [tile7])[0]), t["digest_under_salt_0to31"])
    eleven = permute(key, 11).tolist()
    same("matching of 11", [(eleven + eleven[-1:])[i : i + 2] for i in range(0, 11, 2)], t["matching_salt_0to31_of_11_tiles"])
    same("matching of 1000", permute(key, 1000)[:8].reshape(4, 2).tolist(), t["matching_salt_0to31_of_1000_tiles_first_4"])
    same("shift", shifts(key, 4).tolist(), t["shift_of_leaves_0_to_3_salt_0to31"])
    same("pair digest", str(pair_digest(key, tile7, tile8, shifts(key, 6)[5])), t["pair_digest_with_matrix8_as_leaf_5"])
    c0 = p["chain_0"]
    material = bytes.fromhex(c0["nonce"]) + blake3(bytes.fromhex(c0["hello_hex"])) + blake3(bytes.fromhex(c0["plan_hex"]))
    same("chain_0", derive("session", material).hex(), c0["out"])
    for acc, byte in p["fold"]:
        same(f"fold of {acc}", int(fold(np.array([acc]))[0]), byte)
    order = permute(key, 2277000)
    for x, y in p["permute_M_2277000_salt_0to31"]:
        same(f"permute({x})", int(order[x]), y)
    for opening in vectors["openings"]:
        count = int(opening["leaves"].split()[0])
        same(f"root of {count}", blake3(counted_leaves(count).tobytes()).hex(), opening["root"])
    return compared


def counted_leaves(count: int) -> np.ndarray:
    """The leaves that the vectors' openings are over."""
    return np.arange(1, count + 1, dtype=U64) * U64(0x9E3779B97F4A7C15)


if __name__ == "__main__":
    import json
    import sys

    with np.errstate(over="ignore"):
        print(check_against_vectors(json.load(open(sys.argv[1]))), "known answers hold")
