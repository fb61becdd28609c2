#!/usr/bin/env python3
"""Checks results of `cargo run -p appraisal --example issue -- FOLDER` with libraries that are not ours.

    python3 -m venv VENV && VENV/bin/pip install -r contrib/interop/requirements.txt
    VENV/bin/python contrib/interop/check.py FOLDER

JWTs: PyJWT with cryptography. CWTs: pycose. Exits 0 if all agree, 1 if anything differs, 77 if a library is missing.
"""

import base64
import json
import pathlib
import subprocess
import sys

PROFILE = "tag:ietf.org,2026:rats/ear#04"
STATUS = {0: "none", 2: "affirming", 32: "warning", 96: "contraindicated"}

try:
    import cbor2
    import jwt
    from pycose.headers import KID, Algorithm
    from pycose.keys import EC2Key, OKPKey
    from pycose.keys.curves import P256, Ed25519
    from pycose.messages import Sign1Message
except ImportError as error:
    print(f"SKIPPED: {error}; install contrib/interop/requirements.txt", file=sys.stderr)
    sys.exit(77)


def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def refused(what, attempt):
    try:
        attempt()
    except Exception as error:
        print(f"  {what}: refused ({type(error).__name__})")
    else:
        raise AssertionError(f"{what}: accepted")


def check_jwt(path, jwks, expected, audience):
    token = path.read_text()
    header = jwt.get_unverified_header(token)
    key = jwt.PyJWK(next(k for k in jwks["keys"] if k["kid"] == header["kid"]))
    require = {"require": ["iat", "exp"]}
    claims = jwt.decode(token, key, algorithms=[header["alg"]], audience=audience, options=require)
    assert claims == expected, path
    assert claims["eat_profile"] == PROFILE and len(unbase64(claims["eat_nonce"])) == 32
    print(f"{path.name}: {header['alg']} {claims['ear_status']}, {len(claims['submods'])} submods")
    other = "someone else" if audience else "anyone"
    refused("another audience", lambda: jwt.decode(token, key, algorithms=[header["alg"]], audience=other))
    head, body, tail = token.split(".")
    changed = ".".join([head, body[:-2] + ("AA" if body[-2:] != "AA" else "BB"), tail])
    refused("a changed payload", lambda: jwt.decode(changed, key, algorithms=[header["alg"]], audience=audience))


def cose_key(jwk):
    x = unbase64(jwk["x"])
    if jwk["kty"] == "OKP":
        return OKPKey(crv=Ed25519, x=x)
    return EC2Key(crv=P256, x=x, y=unbase64(jwk["y"]))


def check_cwt(path, jwks, expected):
    encoded = path.read_bytes()
    message = Sign1Message.decode(encoded)
    jwk = next(k for k in jwks["keys"] if k["kid"] == message.phdr[KID].decode())
    message.key = cose_key(jwk)
    assert message.verify_signature(), path
    claims = cbor2.loads(message.payload)
    assert claims[265] == PROFILE and STATUS[claims[1000]] == expected["ear_status"]
    assert claims[6] == expected["iat"] and claims[4] == expected["exp"] and claims.get(3) == expected.get("aud")
    assert claims[10] == unbase64(expected["eat_nonce"])
    assert claims[1004] == {0: expected["ear_verifier_id"]["developer"], 1: expected["ear_verifier_id"]["build"]}
    names = {1000: "ear_status", 1003: "ear_appraisal_policy_ids", 1005: "ear_attester_claims", 1006: "ear_verifier_claims"}
    for name, submod in claims[266].items():
        readable = {names[key]: value for key, value in submod.items()}
        readable["ear_status"] = STATUS[readable["ear_status"]]
        assert readable == expected["submods"][name], f"{path}: {name}"
    print(f"{path.name}: {message.phdr[Algorithm].fullname} {STATUS[claims[1000]]}, {len(claims[266])} submods")
    message.payload = message.payload[:-1] + bytes([message.payload[-1] ^ 1])
    assert not message.verify_signature(), "a changed payload: accepted"
    print("  a changed payload: refused")


def check_recipe(folder):
    """Runs the block for Relying Parties in docs/results.md, as it is written there."""
    text = (pathlib.Path(__file__).parents[2] / "docs" / "results.md").read_text()
    recipe = text.split("### Without this software")[1].split("```python\n")[1].split("```")[0]
    (folder / "result.jwt").write_text((folder / "eddsa-aud.jwt").read_text())
    run = subprocess.run([sys.executable, "-c", recipe], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("at least "), run.stdout
    print("the recipe of docs/results.md:", run.stdout.strip())
    # Another audience, or a verdict that is not affirming, must not pass it.
    for old, new in (('"market.example"', '"someone.else"'), ('== "affirming"', '== "none"')):
        assert old in recipe
        refused = subprocess.run([sys.executable, "-c", recipe.replace(old, new)], cwd=folder, capture_output=True)
        assert refused.returncode != 0, f"{new}: accepted"


def main():
    folder = pathlib.Path(sys.argv[1])
    jwks = json.loads((folder / "jwks.json").read_text())
    assert all("d" not in key and key["use"] == "sig" for key in jwks["keys"])
    for form, audience in (("aud", "market.example"), ("open", None)):
        expected = json.loads((folder / f"{form}.json").read_text())
        for name in ("eddsa", "es256"):
            check_jwt(folder / f"{name}-{form}.jwt", jwks, expected, audience)
            check_cwt(folder / f"{name}-{form}.cwt", jwks, expected)
    check_recipe(folder)
    print("all agree")


if __name__ == "__main__":
    main()
