"""Writes the fill parts of spec/vectors/v1.json as plain lines for the harness: n k offset count operand_key salt digests..."""
import json, sys
v = json.load(open(sys.argv[1]))
for r in v["runs"]:
    for it, t in zip(r["iterations"], r["trace"]):
        for d, digests in zip(r["devices"], t["fill_digests"]):
            print(r["n"], it["k"], d["matrix_offset"], d["num_matrices"], t["operand_key"], t["fill_salt"], len(digests), *digests)
p = v["primitives"]["tile_key_0to31_k128_matrix7_r0_c0"]
k = bytes(range(32)).hex()
print(256, 128, 7, 1, k, k, 1, p["digest_under_salt_0to31"])
