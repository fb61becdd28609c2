"""Evidence, checked again: every kind of outcome, and that it is the command's."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import gpu_attestor
from gpu_attestor import Policy, verify

from .conftest import H200_VERIFIER, REPOSITORY

VECTORS = sorted((REPOSITORY / "spec" / "vectors" / "evidence").glob("*.json"))


def test_an_h200_is_affirmed_under_its_class(h200: Path) -> None:
    report = verify(h200, verifiers=[H200_VERIFIER], policy="h200")
    assert report.is_affirmed and report.verdict == "affirmed"
    assert report.host and report.host.memory_bytes.at_least
    assert report.host.memory_bytes.at_least / 2**30 == pytest.approx(127.9, abs=0.1)
    assert report.assumptions and report.assumptions.narrowed_by == "h200"
    assert [device.model for device in report.devices] == ["NVIDIA H200"]
    assert report.plan and report.plan.samples == 512 and report.samples_checked == 1024


def test_bytes_are_evidence_too_and_less_is_certified_without_a_policy(h200: Path) -> None:
    report = verify(h200.read_bytes(), verifiers=[H200_VERIFIER])
    assert report.host and report.host.memory_bytes.at_least
    assert report.host.memory_bytes.at_least / 2**30 == pytest.approx(105.0, abs=0.1)


def test_the_report_is_the_json_of_the_command(h200: Path, validator: str) -> None:
    command = [validator, "verify", "--json", "--policy", "h200", "--verifier", H200_VERIFIER, str(h200)]
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    report = verify(h200, verifiers=[H200_VERIFIER], policy=Policy.read("h200"))
    assert json.loads(report.json) == json.loads(printed)


def test_evidence_of_a_verifier_that_nobody_named_has_no_verdict(h200: Path) -> None:
    for verifiers in ([], ["00" * 32]):
        with pytest.raises(gpu_attestor.NotTrustedError, match="neither this host's own nor named") as caught:
            verify(h200, verifiers=verifiers)
        assert caught.value.code == "unknown-verifier"
        assert caught.value.report is not None and not caught.value.report.is_affirmed
        assert caught.value.report.verifier == H200_VERIFIER
        assert caught.value.report.host is None


def test_the_policy_names_verifiers_too(h200: Path, tmp_path: Path) -> None:
    text = f'name = "ours"\n[session]\nverifiers = ["{H200_VERIFIER}"]\n'
    (tmp_path / "ours.toml").write_text(text)
    policy = Policy.parse(text)
    assert policy.name == "ours" and policy.id.startswith("urn:gpu-attestor:policy:ours:")
    assert Policy.parse(policy.to_toml()).id == policy.id
    # Named, so that the next check decides.
    for ours in (policy, tmp_path / "ours.toml", str(tmp_path / "ours.toml")):
        assert "expected abab" in verify(h200, policy=ours, attester="ab" * 32).message
        with pytest.raises(gpu_attestor.NotTrustedError):
            verify(h200)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda path: path.stem)
def test_the_vectors_come_to_what_they_say(vector: Path) -> None:
    said = json.loads(vector.read_text())
    evidence = bytes.fromhex(said["hex"])
    # By the simulated clock, challenges expire two seconds after the epoch.
    received = datetime.fromtimestamp(1, timezone.utc) if "offline" in vector.stem else None
    try:
        verifier = _verifier_of(evidence, received)
        report = verify(evidence, verifiers=[verifier] if verifier else [], received=received)
        came = (0 if report.is_affirmed else 1, report.reason)
    except gpu_attestor.EvidenceError as error:
        assert said.get("refused"), error
        return
    except gpu_attestor.NoVerdictError as error:
        came = (2, error.code)
    if said.get("refused"):
        assert came == (1, "evidence-refused")
    elif said["status"] == 0:
        # Far too few samples for bounds: every check passed.
        assert came in [(0, ""), (2, "nothing-certified")]
    else:
        assert came == (said["status"], said["reason"])


def _verifier_of(evidence: bytes, received: datetime | None) -> str | None:
    """The Verifier that the evidence depends on, from what is known of it without a verdict."""
    try:
        verify(evidence, received=received)
    except gpu_attestor.NotTrustedError as error:
        return error.report.verifier if error.report is not None else None
    return None


def test_evidence_of_another_attester_is_a_verdict(h200: Path) -> None:
    report = verify(h200, verifiers=[H200_VERIFIER], attester="ab" * 32)
    assert (report.verdict, report.reason) == ("contraindicated", "evidence-refused")
    assert "expected abab" in report.message and not report.is_affirmed
    assert report.host is None and report.devices == ()
    assert json.loads(report.json)["verdict"] == "contraindicated"


def test_damage_accuses_nobody(h200: Path, tmp_path: Path) -> None:
    evidence = bytearray(h200.read_bytes())
    evidence[len(evidence) // 2] ^= 1
    for damaged in (bytes(evidence), bytes(evidence[:-1]), b"", b"no evidence", tmp_path):
        with pytest.raises(gpu_attestor.DamagedEvidenceError) as caught:
            verify(damaged, verifiers=[H200_VERIFIER])
        assert caught.value.code == "damaged-evidence"
        assert isinstance(caught.value, gpu_attestor.EvidenceError)


def test_another_format_is_told_apart(h200: Path) -> None:
    # The version follows the name of the format.
    evidence = h200.read_bytes()
    at = evidence.index(b"evidence") + len(b"evidence")
    with pytest.raises(gpu_attestor.UnsupportedVersionError, match="this release reads version"):
        verify(evidence[:at] + b"\x17" + evidence[at + 1 :])


def test_cost_is_limited_before_anything_is_recomputed(h200: Path) -> None:
    since = time.monotonic()
    for limit in ({"max_cost": 0.5}, {"max_memory": 1 << 20}):
        with pytest.raises(gpu_attestor.TooCostlyError) as caught:
            verify(h200, verifiers=[H200_VERIFIER], **limit)
        assert caught.value.code == "too-costly"
    assert time.monotonic() - since < 1.0


def test_files_that_cannot_be_read_are_the_systems_errors(h200: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        verify(tmp_path / "missing.cbor")
    assert caught.value.filename == str(tmp_path / "missing.cbor")
    with pytest.raises(FileNotFoundError):
        verify(h200, challenge=tmp_path / "missing.json")
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(ValueError, match="not a challenge file"):
        verify(h200, challenge=tmp_path / "c.json")


def test_policies_that_are_wrong_say_where(h200: Path, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('name = "p"\n[device]\nclas = "h200"\n')
    with pytest.raises(gpu_attestor.PolicyError) as caught:
        verify(h200, policy=tmp_path / "p.toml")
    assert (caught.value.file, caught.value.line, caught.value.column) == (str(tmp_path / "p.toml"), 3, 1)
    assert caught.value.key == "device.clas" and "clas" in str(caught.value)
    with pytest.raises(gpu_attestor.PolicyError, match="no file, and no class that is known"):
        verify(h200, policy="h2000")
    with pytest.raises(gpu_attestor.PolicyError, match="no figures"):
        verify(h200, policy="cpu")


def test_arguments_that_cannot_be_meant_are_refused(h200: Path) -> None:
    for wrong in (
        {"verifiers": ["a71a"]},
        {"attester": "me"},
        {"threads": 0},
        {"threads": 5000},
        {"max_cost": float("nan")},
        {"max_cost": -1.0},
        {"received": datetime(2026, 11, 24)},
    ):
        with pytest.raises(ValueError, match="expected"):
            verify(h200, **wrong)
    with pytest.raises(ValueError, match="times of its own"):
        verify(h200, verifiers=[H200_VERIFIER], received=datetime.now(timezone.utc))
    with pytest.raises(TypeError):
        verify(42)  # type: ignore[arg-type]


def test_the_offline_form(attester: str, validator: str, tmp_path: Path) -> None:
    def run(*command: str) -> bytes:
        return subprocess.run(command, capture_output=True, check=True, cwd=tmp_path).stdout

    (tmp_path / "c.json").write_bytes(run(validator, "challenge", "--device-memory", "4MiB"))
    run(attester, "prove", "--engine", "cpu", "--challenge", "c.json", "--evidence", "e.cbor")
    report = verify(tmp_path / "e.cbor", challenge=tmp_path / "c.json")
    assert report.is_affirmed and report.mode == "offline" and report.host is None
    late = datetime.now(timezone.utc) + timedelta(days=2)
    report = verify(tmp_path / "e.cbor", challenge=tmp_path / "c.json", received=late)
    assert report.reason == "evidence-refused" and "the challenge expired" in report.message


def test_a_report_is_no_condition(h200: Path) -> None:
    # Neither accepted because it is there, nor taken for missing because it is not affirmed.
    with pytest.raises(TypeError, match="is_affirmed"):
        bool(verify(h200, verifiers=[H200_VERIFIER], attester="ab" * 32))


def test_other_threads_run_while_samples_are_recomputed(h200: Path) -> None:
    turns, is_over = 0, threading.Event()

    def count() -> None:
        nonlocal turns
        while not is_over.wait(0.005):
            turns += 1

    counter = threading.Thread(target=count)
    counter.start()
    since = time.monotonic()
    verify(h200, verifiers=[H200_VERIFIER], threads=1)
    elapsed = time.monotonic() - since
    is_over.set()
    counter.join()
    # A lock held throughout would leave it none; a busy machine leaves it fewer than there could be.
    assert turns > elapsed / 0.005 / 20


def test_all_of_the_work_can_be_repeated(agent: list[str], validator: str, tmp_path: Path) -> None:
    evidence = gpu_attestor.attest(agent, preset="smoke").evidence
    (tmp_path / "e.cbor").write_bytes(evidence)
    assert verify(evidence).full_reexecution is None
    report = verify(evidence, full=True)
    full = report.full_reexecution
    assert report.is_affirmed and full is not None and full.agrees is True
    assert full.jobs_done == full.jobs > 0 and full.jobs_taken == 0 and full.tiles > 0
    assert full.mismatch is None and full.unfinished is None
    # As the command prints it, but for the time that it took; which can be read too.
    command = [validator, "verify", "--full", "--json", "e.cbor"]
    printed = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path, text=True).stdout
    ours, theirs = json.loads(report.json), json.loads(printed)
    for value in (ours, theirs):
        assert value["full_reexecution"].pop("seconds") > 0
    assert ours == theirs
    assert gpu_attestor.Report.from_json(printed).full_reexecution is not None


def test_a_device_that_does_not_fit_cannot_be_repeated(h200: Path) -> None:
    # 128 GiB in one piece.
    with pytest.raises(gpu_attestor.LocalError, match="takes [0-9]+ bytes of memory") as caught:
        verify(h200, verifiers=[H200_VERIFIER], full=True)
    assert caught.value.code == "full"
    # Evidence that does not count is not worked on.
    with pytest.raises(gpu_attestor.NotTrustedError):
        verify(h200, full=True)


@pytest.mark.parametrize("full", [False, True])
def test_ctrl_c_ends_it(h200: Path, agent: list[str], tmp_path: Path, full: bool) -> None:
    evidence, verifiers = h200, [H200_VERIFIER]
    if full:
        evidence, verifiers = tmp_path / "e.cbor", [gpu_attestor.identity()]
        evidence.write_bytes(gpu_attestor.attest(agent, preset="smoke").evidence)
    arguments = f"{str(evidence)!r}, verifiers={verifiers!r}, threads=1, full={full}"
    code = f"import gpu_attestor; print('begun', flush=True)\nwhile True: gpu_attestor.verify({arguments})"
    # A shell's background jobs ignore SIGINT, and what they start inherits that.
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout and process.stdout.readline() == "begun\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    since = time.monotonic()
    _, said = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in said
    assert time.monotonic() - since < 2.0


def test_exceptions_travel_between_processes(h200: Path) -> None:
    with pytest.raises(gpu_attestor.NotTrustedError) as caught:
        verify(h200)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.code, str(again), again.report) == (caught.value.code, str(caught.value), caught.value.report)
