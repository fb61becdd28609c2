"""Every example of docs/python.md is run, in its order, as a reader would run them: in the repository, with the commands."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from gpu_attestor import verify

from .conftest import H200_VERIFIER, REPOSITORY
from .test_sessions import over_ssh, relay, run, served

PAGE = REPOSITORY / "docs" / "python.md"


def examples() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def test_the_examples_run(
    results: Path,
    agent: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "docs").symlink_to(REPOSITORY / "docs")
    (tmp_path / "results").symlink_to(results)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    names: dict[str, Any] = {"__name__": "docs"}
    ran = examples()
    assert len(ran) >= 6
    for i, example in enumerate(ran):
        exec(compile(example, f"example {i} of docs/python.md", "exec"), names)
    said = capsys.readouterr().out
    assert f"unknown-verifier {H200_VERIFIER}" in said and "no GPU is proven" in said
    assert verify(names["evidence"]).is_affirmed

    async def with_connections() -> None:
        async with over_ssh(tmp_path) as connection:
            assert (await names["attest_host"](connection, " ".join(agent))).report.is_affirmed
        async with served(relay(agent)) as (reader, writer):
            assert verify(await names["record_host"](reader, writer)).is_affirmed

    run(with_connections())
    assert asyncio.iscoroutinefunction(names["attest_miner"])


def test_the_page_names_every_exception() -> None:
    import gpu_attestor

    kinds = {name for name in gpu_attestor.__all__ if name.endswith("Error")}
    assert kinds == set(re.findall(r"^\| (?:– )?`(\w+Error)`", PAGE.read_text(), re.MULTILINE))
