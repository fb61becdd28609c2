"""What the tests share: the repository's evidence, the commands that came with the package, keys of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

H200_VERIFIER = "a71aa6c6b330438745fd6beb7c163869372a22e2f2d2fc9e7b95b715ac30c8f1"
"""The Verifier of `docs/evidence/h200.cbor`, as the README names it."""


@pytest.fixture(autouse=True)
def _keys(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of whoever runs the tests counts, and none is made for them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture
def h200() -> Path:
    """The evidence of a session with one H200."""
    return REPOSITORY / "docs" / "evidence" / "h200.cbor"


def _command(name: str) -> str:
    # Not from PATH: it must be the one that was installed with the package.
    return str(Path(sys.executable).parent / name)


@pytest.fixture
def validator() -> str:
    return _command("gpu-validator")


@pytest.fixture
def attester() -> str:
    return _command("gpu-attestor")


@pytest.fixture
def agent(attester: str) -> list[str]:
    """An Attester with one device, emulated on the CPU."""
    return [attester, "agent", "--stdio", "--engine", "cpu"]


@pytest.fixture
def results() -> Path:
    """Signed results and their keys, as `cargo run -p appraisal --example issue` makes them."""
    return Path(os.environ["GPU_ATTESTOR_RESULTS"])
