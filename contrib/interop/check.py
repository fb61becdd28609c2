#!/usr/bin/env python3
"""Checks results of `cargo run -p appraisal --example issue -- FOLDER` with libraries that are not ours.

    python3 -m venv VENV && VENV/bin/pip install -r contrib/interop/requirements.txt
    VENV/bin/python contrib/interop/check.py FOLDER

JWTs: PyJWT with cryptography. CWTs: pycose. Also the steps of NVIDIA's `nvat_verify_ear` (see `NvidiaSteps`). Exits 0 if
all agree, 1 if anything differs, 77 if a library is missing.
"""

import base64
import contextlib
import datetime
import http.server
import json
import pathlib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest.mock

PROFILE = "tag:ietf.org,2026:rats/ear#04"
ISSUER = "https://verifier.example"
# What NVIDIA's function allows by default, s.
NVIDIA_LEEWAY_S = 60
STATUS = {0: "none", 2: "affirming", 32: "warning", 96: "contraindicated"}

try:
    import cbor2
    import jwt
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from pycose.headers import KID, Algorithm
    from pycose.keys import EC2Key, OKPKey
    from pycose.keys.curves import P256, P384, Ed25519
    from pycose.messages import Sign1Message
except ImportError as error:
    print(f"SKIPPED: {error}; install contrib/interop/requirements.txt", file=sys.stderr)
    sys.exit(77)


def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def refused(what, attempt, *, by=Exception):
    """The attempt fails with an error of the kind `by`; a failed assertion is no refusal."""
    try:
        attempt()
    except AssertionError:
        raise
    except by as error:
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
    return EC2Key(crv={"P-256": P256, "P-384": P384}[jwk["crv"]], x=x, y=unbase64(jwk["y"]))


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


class NvidiaSteps:
    """What NVIDIA's `nvat_verify_ear` does with an EAR, step by step, according to its documentation and its source
    (NVIDIA/attestation-sdk, commit 443b9e3). That library, in C++, is not run here.
    """

    def __init__(self, tls):
        self.tls = tls

    def verify(self, token, base_url, nonce=None):
        if not base_url.startswith("https://"):
            raise ValueError("the address is not https")
        issuer = base_url.rstrip("/")
        header = jwt.get_unverified_header(token)
        if header["alg"] != "ES384" or not header["kid"]:
            raise ValueError("not ES384 with a kid")
        # The issuer's name is compared before the keys are fetched from below it.
        if jwt.decode(token, options={"verify_signature": False})["iss"] != issuer:
            raise ValueError("another issuer")
        client = jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json", cache_keys=False, ssl_context=self.tls)
        key = client.get_signing_key(header["kid"])
        # The key is the first certificate's; a key without one is not there for it. A single certificate is not checked.
        chain = next(jwk for jwk in client.fetch_data()["keys"] if jwk["kid"] == header["kid"]).get("x5c")
        if not chain:
            raise ValueError("the key has no certificate")
        certificate = x509.load_der_x509_certificate(base64.b64decode(chain[0]))
        if len(chain) > 1:
            certificate.verify_directly_issued_by(x509.load_der_x509_certificate(base64.b64decode(chain[1])))
        assert certificate.public_key() == key.key, "x5c and the JWK's own members are different keys"
        # Times count where they are given. The audience is not looked at.
        options = {"verify_aud": False}
        claims = jwt.decode(
            token, certificate.public_key(), algorithms=["ES384"], leeway=NVIDIA_LEEWAY_S, options=options
        )
        if nonce is not None and unbase64(claims["eat_nonce"]) != nonce:
            raise ValueError("another nonce")
        return claims


@contextlib.contextmanager
def served_as(host, pages):
    """An HTTPS server on the loopback interface that stands for `host`; yields what a client of it trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page = pages.get(self.path)
            self.send_response(200 if page is not None else 404)
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem + private)
        file.flush()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(file.name)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connect = socket.create_connection

    def to_server(address, *rest, **more):
        assert address == (host, 443), address
        return connect(server.server_address, *rest, **more)

    try:
        with unittest.mock.patch("socket.create_connection", to_server):
            yield ssl.create_default_context(cadata=pem.decode())
    finally:
        server.shutdown()
        server.server_close()


def signed(claims, **header):
    """`claims`, signed with a new key, and the JWK Set of that key with a certificate."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    der = builder.sign(key, hashes.SHA384()).public_bytes(serialization.Encoding.DER)
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    jwk |= {"kid": "test", "use": "sig", "alg": "ES384", "x5c": [base64.b64encode(der).decode()]}
    return jwt.encode(claims, key, algorithm="ES384", headers={"kid": "test"} | header), {"keys": [jwk]}


def check_as_nvidia_does(folder, jwks):
    """Our results by the steps of `nvat_verify_ear`, with the set as an issuer serves it, and what the steps refuse."""
    path = "/.well-known/jwks.json"
    pages = {path: json.dumps(jwks).encode()}
    token = lambda name: (folder / f"{name}.jwt").read_text().strip()
    with served_as("verifier.example", pages) as tls:
        steps = NvidiaSteps(tls)
        for form in ("open", "aud"):
            expected = json.loads((folder / f"{form}.json").read_text())
            nonce = unbase64(expected["eat_nonce"])
            for url in (ISSUER, ISSUER + "/"):
                assert steps.verify(token(f"es384-{form}"), url, nonce) == expected
            print(f"es384-{form}.jwt: as nvat_verify_ear does, with its keys from {ISSUER}{path}")

        good = json.loads((folder / "open.json").read_text())
        ours = token("es384-open")
        refused("another nonce", lambda: steps.verify(ours, ISSUER, bytes(32)), by=ValueError)
        refused("an address without TLS", lambda: steps.verify(ours, "http://verifier.example"), by=ValueError)
        refused("another address than iss", lambda: steps.verify(ours, "https://other.example"), by=ValueError)
        for name in ("eddsa-open", "es256-open"):
            refused(f"{name}: not ES384", lambda: steps.verify(token(name), ISSUER), by=ValueError)
        head, body, tail = ours.split(".")
        changed = base64.urlsafe_b64encode(json.dumps(good | {"ear_status": "none"}).encode()).decode().rstrip("=")
        refused("a changed payload", lambda: steps.verify(".".join([head, changed, tail]), ISSUER), by=jwt.InvalidSignatureError)
        without = [{k: v for k, v in key.items() if k != "x5c"} for key in jwks["keys"]]
        pages[path] = json.dumps({"keys": without}).encode()
        refused("a key without a certificate", lambda: steps.verify(ours, ISSUER), by=ValueError)
        del pages[path]
        refused("no set at that path", lambda: steps.verify(ours, ISSUER), by=jwt.PyJWKClientConnectionError)

        now = int(time.time())
        variants = [
            (None, {}, {}, None),
            (None, {"exp": now - NVIDIA_LEEWAY_S // 2}, {}, None),
            ("expired", {"exp": now - 2 * NVIDIA_LEEWAY_S}, {}, jwt.ExpiredSignatureError),
            ("issued later than now", {"iat": now + 2 * NVIDIA_LEEWAY_S}, {}, jwt.ImmatureSignatureError),
            ("no issuer", {"iss": None}, {}, KeyError),
            ("no kid", {}, {"kid": ""}, ValueError),
            ("a kid that is not in the set", {}, {"kid": "another"}, jwt.PyJWKClientError),
        ]
        for what, change, header, by in variants:
            claims = {name: value for name, value in (good | change).items() if value is not None}
            remade, keys = signed(claims, **header)
            pages[path] = json.dumps(keys).encode()
            attempt = lambda: steps.verify(remade, ISSUER)
            if what is None:
                assert attempt() == claims
            else:
                refused(what, attempt, by=by)


def main():
    folder = pathlib.Path(sys.argv[1])
    jwks = json.loads((folder / "jwks.json").read_text())
    assert all("d" not in key and key["use"] == "sig" for key in jwks["keys"])
    for form, audience in (("aud", "market.example"), ("open", None)):
        expected = json.loads((folder / f"{form}.json").read_text())
        for name in ("eddsa", "es256", "es384"):
            check_jwt(folder / f"{name}-{form}.jwt", jwks, expected, audience)
            check_cwt(folder / f"{name}-{form}.cwt", jwks, expected)
    check_recipe(folder)
    check_as_nvidia_does(folder, jwks)
    print("all agree")


if __name__ == "__main__":
    main()
