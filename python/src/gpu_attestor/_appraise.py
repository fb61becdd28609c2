"""Evidence, held against everything that a policy asks for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _native
from ._attestation_result import Tier
from ._policy import PolicyLike, policy_of
from ._report import Report, with_verdict
from ._verify import PathLike


@dataclass(frozen=True)
class Reason:
    """Why a verdict is what it is."""

    code: str
    """A keyword for programs."""
    tier: Tier
    """The verdict that it leads to."""
    text: str
    """For people; the host may have written a part of it."""
    remedy: str
    """What to do about it; empty if nothing."""


@dataclass(frozen=True)
class Finding:
    """What was noticed beside the verdict, mostly in what the host says of itself."""

    kind: str
    effect: str
    """What it does to the verdict: "note", "warning" and so on, as the policy says."""
    detail: str
    cause: str
    remedy: str


@dataclass(frozen=True)
class DeviceAppraisal:
    """What one device comes to."""

    ordinal: int
    verdict: Tier
    model: str
    """The model that it says it is."""
    stated_class: str | None
    """The class of that model."""
    reasons: tuple[Reason, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Appraisal:
    """What evidence comes to under a policy: the verdict that `gpu-validator report` gives, and signed results state.

    It is no condition: `if appraisal:` raises `TypeError`. Ask for `is_affirming`.
    """

    verdict: Tier
    """The worst of the host's reasons and its devices' verdicts."""
    reasons: tuple[Reason, ...]
    findings: tuple[Finding, ...]
    devices: tuple[DeviceAppraisal, ...]
    policy_id: str
    report: Report
    """What is certified, under the policy's assumptions."""
    json: str = field(default="", repr=False)
    """The JSON that `gpu-validator report --format json` prints, all of it."""

    def __bool__(self) -> bool:
        raise TypeError("an appraisal is no condition; expected appraisal.is_affirming")

    @property
    def is_affirming(self) -> bool:
        """Whether all that the policy asks for is certified."""
        return self.verdict == "affirming"


def appraise(
    evidence: bytes | PathLike,
    *,
    verifiers: Iterable[str] = (),
    policy: PolicyLike | None = None,
    attester: str | None = None,
    threads: int | None = None,
    max_cost: float = 500.0,
    max_memory: int = 4 << 30,
) -> Appraisal:
    """Checks evidence as `verify` does, and holds it against all that a policy asks for: classes, least figures, age.

    The arguments are those of `verify`. Its verdict may be any, "none" too, where the evidence does not show what is asked for.

    Raises what `verify` does for evidence that is not judged, and `NotTrustedError`.
    """
    own = policy_of(policy)
    text = _native.appraise(
        evidence if isinstance(evidence, bytes) else os.fspath(evidence),
        list(verifiers),
        own,
        attester,
        threads,
        max_cost,
        max_memory,
    )
    value = json.loads(text)
    if "report" not in value:
        # Nothing was appraised: evidence of nobody's Verifier, or evidence that is refused, which is a verdict.
        report = with_verdict(Report.from_json(text))
        reason = Reason(report.reason, "contraindicated", report.message, "")
        return Appraisal("contraindicated", (reason,), (), (), own.id, report, text)
    return Appraisal(
        value["verdict"],
        _reasons(value),
        _findings(value),
        tuple(_device(device) for device in value["devices"]),
        value["policy_id"],
        Report.from_json(json.dumps(value["report"])),
        text,
    )


def _device(value: Mapping[str, Any]) -> DeviceAppraisal:
    return DeviceAppraisal(
        value["ordinal"], value["verdict"], value["model"], value["stated_class"], _reasons(value), _findings(value)
    )


def _reasons(value: Mapping[str, Any]) -> tuple[Reason, ...]:
    return tuple(Reason(one["code"], one["tier"], one["text"], one["remedy"]) for one in value["reasons"])


def _findings(value: Mapping[str, Any]) -> tuple[Finding, ...]:
    return tuple(
        Finding(one["kind"], one["effect"], one["detail"], one["cause"], one["remedy"]) for one in value["findings"]
    )
