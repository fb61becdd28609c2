"""Signed results, checked for a Relying Party."""

from __future__ import annotations

import base64
import json
import time
from datetime import timedelta
from pathlib import Path

import pytest

from gpu_attestor import KeyUnusableError, ResultRefusedError, verify_result

FORMS = [f"{algorithm}-aud.{form}" for algorithm in ("eddsa", "es256", "es384") for form in ("jwt", "cwt")]


def _refused(code: str, *arguments: object, **options: object) -> str:
    with pytest.raises(ResultRefusedError) as caught:
        verify_result(*arguments, **options)  # type: ignore[arg-type]
    assert caught.value.code == code, caught.value
    return str(caught.value)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_read(results: Path, name: str) -> None:
    token = (results / name).read_bytes()
    result = verify_result(token, results / "jwks.json", audience="market.example", max_age=timedelta(hours=1))
    assert result.is_affirming and result.ear_status == "affirming" and result.aud == "market.example"
    assert json.loads(result.json) == json.loads((results / "aud.json").read_text())
    assert set(result.submods) == {"host", "gpu0", "gpu1"}
    host = result.submods["host"]
    assert len(host.claim("evidence_blake3")) == 64 and host.claim("no such claim") is None
    assert host.ear_appraisal_policy_ids[0].startswith("urn:gpu-attestor:policy:cpu:")
    assert result.ear_verifier_id.build.startswith("gpu-validator ")


def test_a_result_is_no_condition(results: Path) -> None:
    result = verify_result((results / "eddsa-open.jwt").read_text(), results / "jwks.json")
    with pytest.raises(TypeError, match="is_affirming"):
        bool(result)


def test_keys_in_every_form(results: Path) -> None:
    token = (results / "eddsa-open.jwt").read_text()
    text = (results / "jwks.json").read_bytes()
    for keys in (results / "jwks.json", str(results / "jwks.json"), text, json.loads(text)):
        assert verify_result(token, keys).ear_status == "affirming"
    for wrong in ({}, b"", b"\xff", {"keys": [{"kty": "oct"}]}):
        with pytest.raises(KeyUnusableError):
            verify_result(token, wrong)
    with pytest.raises(FileNotFoundError):
        verify_result(token, results / "missing.json")


def test_what_is_asked_for_is_checked(results: Path) -> None:
    keys = results / "jwks.json"
    token, other = (results / "eddsa-aud.jwt").read_text(), (results / "eddsa-open.jwt").read_text()
    assert "market.example" in _refused("audience-not-named", token, keys)
    _refused("claim", token, keys, audience="other.example")
    _refused("claim", other, keys, audience="market.example")
    _refused("claim", other, keys, issuer="somebody")
    _refused("claim", other, keys, nonce="00" * 32)
    _refused("claim", other, keys, policy_id="urn:other")
    result = verify_result(other, keys)
    assert result.eat_nonce
    nonce = base64.urlsafe_b64decode(result.eat_nonce + "=")
    policy = result.submods["host"].ear_appraisal_policy_ids[0]
    assert verify_result(other, keys, nonce=nonce, policy_id=policy) == result
    assert verify_result(other, keys, nonce=nonce.hex()) == result
    with pytest.raises(ValueError, match="expected 32"):
        verify_result(other, keys, nonce=b"short")
    while time.time() <= result.iat + 1:
        time.sleep(0.1)
    _refused("too-old", other, keys, max_age=timedelta(0))


def test_what_is_no_result_is_refused(results: Path) -> None:
    keys = results / "jwks.json"
    token = (results / "eddsa-open.jwt").read_text()
    header, payload, signature = token.split(".")
    _refused("malformed", "", keys)
    _refused("malformed", b"\xd2\x84", keys)
    _refused("malformed", b"\xff\xfe", keys)
    _refused("too-long", "a" * (2 << 20), keys)
    _refused("signature", f"{header}.{payload}.{signature[:-4]}AAAA", keys)
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"x"}').rstrip(b"=").decode()
    _refused("unknown-key", f"{none}.{payload}.", keys)
