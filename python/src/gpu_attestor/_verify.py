"""Evidence, checked again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Union

from . import _native
from ._policy import PolicyLike, policy_of
from ._report import Report, with_verdict

PathLike = Union[str, "os.PathLike[str]"]


def verify(
    evidence: bytes | PathLike,
    *,
    verifiers: Iterable[str] = (),
    policy: PolicyLike | None = None,
    attester: str | None = None,
    challenge: PathLike | None = None,
    received: datetime | None = None,
    threads: int | None = None,
    max_cost: float = 500.0,
    max_memory: int = 4 << 30,
    full: bool = False,
) -> Report:
    """Checks evidence, and returns its report if there is a verdict.

    Everything but the Verifier's clock and randomness is recomputed, as by `gpu-validator verify`.

    evidence: the sealed bytes, or the path of a file.
    verifiers: public keys (hex) of Verifiers whose evidence counts, beside those of the policy. If none is named in
        either way, this host's own Verifier counts, if it has a key; otherwise nobody does.
    policy: a policy, a file, or the name of a class; of it the assumptions and the Verifiers are taken. Its requirements
        on devices and the host are for `appraise`.
    attester: accept evidence of this Attester alone (public key, hex).
    challenge: accept offline evidence for the challenge in this file alone; its Verifier counts.
    received: when offline evidence was received; now, if not given.
    threads: threads that recompute; one for each CPU, if not given.
    max_cost: most work of recomputing samples, 10^12 multiply-adds.
    max_memory: most memory of reading evidence, bytes.
    full: afterwards repeat all of the work on the CPU and compare every root, not only samples, as by `gpu-validator verify
        --full`. It takes the memory of the largest device's dataset, and neither `max_cost` nor `max_memory` limits it.

    It works without the interpreter's lock; Ctrl-C ends it.

    Raises `NoVerdictError`, `EvidenceError`, `PolicyError`, `KeyUnusableError` or `LocalError`, each with its subclasses,
    and `OSError` for files that cannot be read.
    """
    text = _native.verify(
        evidence if isinstance(evidence, bytes) else os.fspath(evidence),
        list(verifiers),
        policy_of(policy),
        attester,
        None if challenge is None else os.fspath(challenge),
        None if received is None else _unix_ms(received),
        threads,
        max_cost,
        max_memory,
        full,
    )
    return with_verdict(Report.from_json(text))


def _unix_ms(at: datetime) -> int:
    if at.tzinfo is None:
        raise ValueError("received: a time without a time zone; expected one with, for example datetime.now(timezone.utc)")
    return max(0, round(at.astimezone(timezone.utc).timestamp() * 1000))
