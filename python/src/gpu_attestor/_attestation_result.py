"""Attestation Results, checked for a Relying Party."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Union

from . import _native

Tier = Literal["affirming", "warning", "contraindicated", "none"]

KeysLike = Union[Mapping[str, Any], bytes, str, "os.PathLike[str]"]
"""A JWK Set: its members, its JSON as bytes, or the path of its file."""

PRIVATE_CLAIM = "gpu-attestor"
"""The member under which the claims of this project are."""

MAX_KEYS_BYTES = 1 << 20
"""Longest file of keys that is read."""


@dataclass(frozen=True)
class VerifierId:
    """The software that appraised."""

    developer: str
    build: str


@dataclass(frozen=True)
class Submodule:
    """The appraisal of the host or of one device."""

    ear_status: Tier
    ear_appraisal_policy_ids: tuple[str, ...]
    ear_verifier_claims: Mapping[str, Any]
    ear_attester_claims: Mapping[str, Any] | None = None
    """What the host says of itself; no evidence."""

    def claim(self, name: str) -> Any:
        """The issuer's claim of this name; None if there is none."""
        return self.ear_verifier_claims.get(PRIVATE_CLAIM, {}).get(name)


@dataclass(frozen=True)
class AttestationResult:
    """An EAT Attestation Result whose signature and claims were checked. Its status may be any.

    It is no condition: `if result:` raises `TypeError`. Ask for `is_affirming`.
    """

    eat_profile: str
    iat: int
    exp: int
    ear_verifier_id: VerifierId
    ear_status: Tier
    submods: Mapping[str, Submodule]
    """`host`, and `gpu0`, `gpu1` and so on."""
    iss: str | None = None
    aud: str | None = None
    eat_nonce: str | None = None
    json: str = field(default="", repr=False)
    """All claims."""

    def __bool__(self) -> bool:
        raise TypeError("a result is no condition; expected result.is_affirming")

    @property
    def is_affirming(self) -> bool:
        """Whether what was asked for is certified."""
        return self.ear_status == "affirming"


def verify_result(
    token: str | bytes,
    keys: KeysLike,
    *,
    audience: str | None = None,
    issuer: str | None = None,
    nonce: str | bytes | None = None,
    policy_id: str | None = None,
    max_age: timedelta | None = None,
) -> AttestationResult:
    """Checks a signed result for a Relying Party: signature, profile, audience, nonce, times.

    token: the JWT, or the bytes of a CWT.
    keys: the issuer's public keys, a JWK Set.
    audience: the Relying Party's own name. A result that is for somebody is refused if this is not given.
    issuer, nonce, policy_id: values that it must have; the nonce is the session's, 32 bytes or hex.
    max_age: how long ago it may have been issued.

    Raises `ResultRefusedError` for anything that is not a valid result for this Relying Party now, `KeyUnusableError` for
    keys that are no JWK Set, and `OSError` for a file of keys that cannot be read.
    """
    text = _native.verify_result(
        token.encode() if isinstance(token, str) else token,
        _keys_text(keys),
        audience,
        issuer,
        bytes.fromhex(nonce) if isinstance(nonce, str) else nonce,
        policy_id,
        None if max_age is None else max(0, int(max_age.total_seconds())),
    )
    value = json.loads(text)
    value["ear_verifier_id"] = VerifierId(**value["ear_verifier_id"])
    value["submods"] = {name: _submodule(submod) for name, submod in value["submods"].items()}
    return AttestationResult(**value, json=text)


def _keys_text(keys: KeysLike) -> str:
    if isinstance(keys, Mapping):
        return json.dumps(dict(keys))
    if not isinstance(keys, bytes):
        with Path(keys).open("rb") as file:
            keys = file.read(MAX_KEYS_BYTES + 1)
        if len(keys) > MAX_KEYS_BYTES:
            raise ValueError(f"keys: a file of more than {MAX_KEYS_BYTES} bytes; expected a JWK Set")
    return keys.decode(errors="replace")


def _submodule(value: Mapping[str, Any]) -> Submodule:
    return Submodule(**{**value, "ear_appraisal_policy_ids": tuple(value["ear_appraisal_policy_ids"])})
