"""Evidence, held against all that a policy asks for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import gpu_attestor
from gpu_attestor import Policy, appraise

from .conftest import H200_VERIFIER


def test_an_h200_is_one(h200: Path, validator: str) -> None:
    appraisal = appraise(h200, verifiers=[H200_VERIFIER], policy="h200")
    assert appraisal.is_affirming and appraisal.verdict == "affirming"
    assert [(reason.code, reason.tier) for reason in appraisal.reasons] == [("host-fits", "affirming")]
    (device,) = appraisal.devices
    assert (device.verdict, device.stated_class) == ("affirming", "h200")
    assert appraisal.policy_id == Policy.read("h200").id and appraisal.report.is_affirmed
    with pytest.raises(TypeError, match="is_affirming"):
        bool(appraisal)
    command = [validator, "report", "--format", "json", "--policy", "h200", "--verifier", H200_VERIFIER, str(h200)]
    printed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    ours = json.loads(appraisal.json)
    for value in (printed, ours):
        del value["appraised_unix_ms"]
    assert ours == printed


def test_an_h200_is_no_other_class(h200: Path) -> None:
    appraisal = appraise(h200, verifiers=[H200_VERIFIER], policy="b200")
    assert not appraisal.is_affirming
    reasons = [reason for device in appraisal.devices for reason in device.reasons]
    assert reasons and all(reason.code and reason.text for reason in reasons)


def test_a_cpu_is_no_gpu(agent: list[str]) -> None:
    evidence = gpu_attestor.attest(agent).evidence
    assert gpu_attestor.verify(evidence).is_affirmed
    appraisal = appraise(evidence)
    assert appraisal.verdict == "none" and not appraisal.is_affirming
    policy = Policy.parse('name = "cpu"\n[device]\nclass = "cpu"\nmin_tensor_ops_per_s = 1\n')
    assert appraise(evidence, policy=policy).is_affirming


def test_what_verify_refuses_is_not_appraised(h200: Path) -> None:
    with pytest.raises(gpu_attestor.NotTrustedError):
        appraise(h200)
    with pytest.raises(gpu_attestor.DamagedEvidenceError):
        appraise(h200.read_bytes()[:-1], verifiers=[H200_VERIFIER])
    with pytest.raises(gpu_attestor.TooCostlyError):
        appraise(h200, verifiers=[H200_VERIFIER], max_cost=0.5)
    appraisal = appraise(h200, verifiers=[H200_VERIFIER], attester="ab" * 32)
    assert (appraisal.verdict, appraisal.reasons[0].code) == ("contraindicated", "evidence-refused")
