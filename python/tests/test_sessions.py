"""Sessions: over a command, over streams, over ssh, by hand; stopped, cancelled, and with hosts that cheat or talk nonsense."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

import gpu_attestor
from gpu_attestor import Attestation, Session, attest, attest_command, attest_stream, record_stream, verify

def run(work: Awaitable[Any], within_s: float = 120.0) -> Any:
    """Runs a coroutine to its end: none of these may hang."""

    async def limited() -> Any:
        return await asyncio.wait_for(work, within_s)

    return asyncio.run(limited())


# Over a command.


def test_a_command_is_attested_and_its_evidence_holds(agent: list[str]) -> None:
    attestation = attest([*agent, "--cpu-devices", "2"], audience="market.example")
    report = attestation.report
    assert report.is_affirmed and "no GPU is proven" in report.shown
    assert report.audience == "market.example" and len(report.devices) == 2
    assert report.host and report.host.tensor_ops_per_s.at_least
    assert report.host.memory_bytes.at_least is None and report.host.memory_bytes.no_bound
    # This host's own Verifier recorded it, and counts.
    assert report.verifier == gpu_attestor.identity()
    assert verify(attestation.evidence) == report
    with pytest.raises(gpu_attestor.NotTrustedError):
        verify(attestation.evidence, verifiers=["00" * 32])


def test_the_command_gets_the_same_evidence_verified(agent: list[str], validator: str, tmp_path: Path) -> None:
    attestation = attest(agent)
    (tmp_path / "e.cbor").write_bytes(attestation.evidence)
    printed = subprocess.run([validator, "verify", "e.cbor", "--json"], cwd=tmp_path, capture_output=True, check=True)
    assert gpu_attestor.Report.from_json(printed.stdout.decode()).host == attestation.report.host


def test_a_policy_narrows_the_assumptions_of_a_session(agent: list[str]) -> None:
    report = attest(agent, policy="h200").report
    assert report.assumptions and report.assumptions.narrowed_by == "h200"


def test_a_key_of_ones_own(agent: list[str], tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    report = attest(agent, key=key).report
    assert report.verifier == gpu_attestor.identity(key) != gpu_attestor.identity()
    key.chmod(0o644)
    with pytest.raises(gpu_attestor.KeyUnusableError):
        attest(agent, key=key)


def test_commands_that_serve_no_session_say_why(agent: list[str]) -> None:
    with pytest.raises(FileNotFoundError):
        attest(["/no/such/command"])
    with pytest.raises(TypeError, match="expected a list"):
        attest("ssh host")
    script = "echo no agent here >&2; printf '\\033[2J' >&2; exit 3"
    with pytest.raises(gpu_attestor.CouldNotRunError) as caught:
        attest(["sh", "-c", script])
    error = caught.value
    assert error.exit_status == 3 and error.stderr == "no agent here\n\N{REPLACEMENT CHARACTER}[2J"
    assert error.evidence and error.report is not None and error.report.verdict == "could not run"
    # It is evidence like any other.
    with pytest.raises(gpu_attestor.CouldNotRunError):
        verify(error.evidence)


def test_a_request_that_no_device_meets_could_not_run(agent: list[str]) -> None:
    with pytest.raises(gpu_attestor.CouldNotRunError, match="device 5 was asked for") as caught:
        attest(agent, devices=[5])
    assert caught.value.code == "no-plan"


def test_iterations_of_ones_own(agent: list[str]) -> None:
    report = attest(agent, iterations=[(4096, 8), (2048, 3)]).report
    assert [(window.inner_dim, window.sweeps) for window in report.windows] == [(4096, 8), (2048, 3)]


def test_too_few_samples_certify_nothing(agent: list[str]) -> None:
    with pytest.raises(gpu_attestor.NothingCertifiedError) as caught:
        attest(agent, samples=16, few_samples=True)
    assert caught.value.evidence and caught.value.report is not None


def test_a_host_that_is_silent_passes_its_deadline() -> None:
    since = time.monotonic()
    with pytest.raises(gpu_attestor.CouldNotRunError, match="longer than its 1000 ms") as caught:
        attest(["sleep", "60"], hello_deadline=1.0)
    assert 1.0 <= time.monotonic() - since < 20.0


def test_nothing_that_the_command_started_is_left(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pid; trap '' TERM; sleep 600"
    with pytest.raises(gpu_attestor.CouldNotRunError):
        attest(["sh", "-c", script], hello_deadline=1.0)
    pid = int((tmp_path / "pid").read_text())
    assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


# Over streams.


@asynccontextmanager
async def served(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection over the loopback to a host that does this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()


def relay(command: list[str]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A host that serves a command on a connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdin and process.stdout

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()

        up = asyncio.ensure_future(copy(reader, process.stdin))
        try:
            await copy(process.stdout, writer)
        finally:
            up.cancel()
            if process.returncode is None:
                process.kill()
            await process.wait()

    return answer


def test_a_tcp_connection_is_a_stream(agent: list[str]) -> None:
    async def session() -> Attestation:
        async with served(relay(agent)) as (reader, writer):
            return await attest_stream(reader, writer)

    assert run(session()).report.is_affirmed


def test_many_sessions_at_once_are_recorded_and_verified_later(agent: list[str]) -> None:
    async def one() -> bytes:
        async with served(relay(agent)) as (reader, writer):
            return await record_stream(reader, writer)

    async def all_of_them() -> list[bytes]:
        return list(await asyncio.gather(*(one() for _ in range(3))))

    for evidence in run(all_of_them()):
        assert verify(evidence).is_affirmed


def test_several_sessions_are_checked_one_after_the_other(agent: list[str]) -> None:
    async def one() -> Attestation:
        return await attest_command(agent)

    async def all_of_them() -> list[Attestation]:
        return list(await asyncio.gather(*(one() for _ in range(3))))

    assert all(attestation.report.is_affirmed for attestation in run(all_of_them()))


# Over ssh, with a real client and server.


@asynccontextmanager
async def over_ssh(folder: Path) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A client's connection to a server on the loopback that runs what it is asked to."""

    async def serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
        assert process.command
        child = await asyncio.create_subprocess_shell(
            process.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        process.exit(await child.wait())

    host_key, key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    authorized = asyncssh.import_authorized_keys(key.export_public_key().decode())
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=authorized,
        process_factory=serve,
        encoding=None,
    )
    async with server:
        known = asyncssh.import_known_hosts(f"* {host_key.export_public_key().decode()}")
        async with asyncssh.connect(
            "127.0.0.1", server.get_port(), username="miner", client_keys=[key], known_hosts=known, config=None
        ) as connection:
            yield connection


def test_an_asyncssh_process_is_a_stream(agent: list[str], tmp_path: Path) -> None:
    async def session() -> tuple[Attestation, int | None]:
        async with over_ssh(tmp_path) as connection:
            async with connection.create_process(" ".join(agent), encoding=None) as process:
                attestation = await attest_stream(process.stdout, process.stdin)
                await process.wait()
                return attestation, process.exit_status

    attestation, status = run(session())
    assert attestation.report.is_affirmed and status == 0
    assert verify(attestation.evidence).is_affirmed


def test_text_streams_are_refused_with_the_remedy(agent: list[str], tmp_path: Path) -> None:
    async def session() -> None:
        async with over_ssh(tmp_path) as connection:
            async with connection.create_process("echo hello; sleep 60") as process:
                with pytest.raises(TypeError, match="encoding=None"):
                    await attest_stream(process.stdout, process.stdin)
                process.terminate()

    run(session())


def test_a_connection_that_breaks_could_not_run(tmp_path: Path) -> None:
    async def session() -> None:
        async with over_ssh(tmp_path) as connection:
            async with connection.create_process("sleep 60", encoding=None) as process:
                attesting = asyncio.ensure_future(attest_stream(process.stdout, process.stdin))
                await asyncio.sleep(0.5)
                connection.abort()
                with pytest.raises(gpu_attestor.CouldNotRunError) as caught:
                    await attesting
                assert "connection" in str(caught.value)

    run(session())


# Stopped and cancelled.


def test_a_cancelled_task_stops_its_session_and_tells_the_host() -> None:
    said = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            said.extend(data)

    async def session() -> None:
        async with served(listen) as (reader, writer):
            attesting = asyncio.ensure_future(attest_stream(reader, writer))
            await asyncio.sleep(0.3)
            since = time.monotonic()
            attesting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attesting
            assert time.monotonic() - since < 1.0
            await asyncio.sleep(0.3)

    run(session())
    # RESULT, type 10.
    assert said[:4] == b"\x0a\0\0\0" and b"stopped" in said


def test_a_cancelled_task_ends_its_command(tmp_path: Path) -> None:
    async def session() -> None:
        script = f"echo $$ > {tmp_path}/pid; exec sleep 600"
        attesting = asyncio.ensure_future(attest_command(["sh", "-c", script]))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.05)
        attesting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attesting

    run(session())
    assert not _is_running(int((tmp_path / "pid").read_text()))


def test_a_task_that_is_cancelled_while_samples_are_recomputed(agent: list[str]) -> None:
    async def session() -> None:
        # Enough samples on one thread for a cancellation in the middle.
        attesting = asyncio.ensure_future(attest_command(agent, samples=8192, threads=1))
        while not any(thread.name.startswith("gpu-attestor-check") for thread in threading.enumerate()):
            await asyncio.sleep(0.05)
            assert not attesting.done()
        since = time.monotonic()
        attesting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attesting
        assert time.monotonic() - since < 10.0
        # The thread is free again.
        assert (await attest_command(agent)).report.is_affirmed

    run(session())


def test_a_check_that_is_stopped_says_how_far_it_came(agent: list[str]) -> None:
    session = Session(samples=8192, threads=1)
    _talk(session, agent)

    async def stopped() -> None:
        checking = asyncio.ensure_future(asyncio.to_thread(session.check))
        await asyncio.sleep(0.3)
        session.stop()
        with pytest.raises(gpu_attestor.StoppedError, match="stopped after") as caught:
            await checking
        assert caught.value.code == "stopped" and caught.value.evidence == session.record()

    run(stopped())
    assert b"stopped" in session.take_output()
    assert verify(session.record()).is_affirmed


# By hand.


def _talk(session: Session, command: list[str]) -> None:
    """Drives a session over the pipes of a command, in the plainest way."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin and process.stdout
    while session.is_under_way:
        process.stdin.write(session.take_output())
        process.stdin.flush()
        if session.is_under_way:
            data = os.read(process.stdout.fileno(), 1 << 16)
            session.receive(data) if data else session.receive_end()
    process.stdin.close()
    process.stdout.close()
    process.kill()
    process.wait()


def test_a_session_by_hand(agent: list[str]) -> None:
    session = Session()
    assert session.is_under_way and session.timeout and 59 < session.timeout <= 60
    assert session.take_output() == b""
    for too_early in (session.record, session.check):
        with pytest.raises(RuntimeError, match="under way"):
            too_early()
    _talk(session, agent)
    assert not session.is_under_way and session.timeout is None
    evidence = session.record()
    attestation = session.check()
    assert attestation.evidence == evidence and attestation.report.is_affirmed
    assert session.take_output()[:4] == b"\x0a\0\0\0"
    with pytest.raises(RuntimeError, match="checked once"):
        session.check()
    # What comes now changes nothing.
    session.receive(b"more")
    session.receive_end()
    session.advance()
    session.stop()
    session.finish()
    assert session.take_output() == b"" and session.record() == evidence


def test_a_time_that_is_not_over_ends_nothing() -> None:
    session = Session()
    session.advance()
    assert session.is_under_way
    session = Session(hello_deadline=0.05)
    time.sleep(0.1)
    assert session.timeout == 0.0
    session.advance()
    with pytest.raises(gpu_attestor.CouldNotRunError):
        session.check()


def test_options_that_cannot_be_meant_are_refused() -> None:
    for option in (
        {"preset": "quick"},
        {"samples": 100},
        {"device_memory": 1 << 20},
        {"error_bits": 0},
        {"hello_deadline": float("nan")},
        {"hello_deadline": -1.0},
        {"phase_deadline": float("inf")},
        {"threads": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(option))):
            Session(**option)
    with pytest.raises(TypeError, match="sample_count"):
        Session(sample_count=5)  # type: ignore[call-arg]
    with pytest.raises(gpu_attestor.PolicyError):
        Session(policy="no such policy")


# Hosts that talk nonsense.


def frame(kind: int, payload: bytes, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return kind.to_bytes(4, "little") + size.to_bytes(8, "little") + payload


@pytest.mark.parametrize(
    "nonsense",
    [
        b"Last login: Tue Nov 24 12:00:00 2026 from 203.0.113.7\r\n" * 3,
        frame(1, b"no CBOR"),
        frame(9, b"too early"),
        frame(1, b"", length=1 << 62),
        frame(77, b"a message of no type"),
        b"\0" * 4096,
        b"",
    ],
    ids=["banner", "malformed", "premature", "oversized", "unknown", "zeros", "nothing"],
)
def test_nonsense_ends_the_session_and_accuses_nobody(nonsense: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(nonsense)
        await writer.drain()

    async def session() -> None:
        async with served(answer) as (reader, writer):
            with pytest.raises(gpu_attestor.CouldNotRunError) as caught:
                await attest_stream(reader, writer)
            assert caught.value.evidence and str(caught.value)

    run(session(), within_s=20.0)


def test_text_before_the_first_message_is_kept_apart(caplog: pytest.LogCaptureFixture) -> None:
    session = gpu_attestor.Session()
    session.receive(b"sh: gpu-attestor: ")
    session.receive(b"not found\r\n")
    session.receive_end()
    assert not session.is_under_way
    assert session.take_greeting() == b"sh: gpu-attestor: not found\r\n"
    assert session.take_greeting() == b""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"Welcome\x1b[2J\n")
        writer.close()

    async def attest() -> None:
        async with served(answer) as (reader, writer):
            with pytest.raises(gpu_attestor.CouldNotRunError):
                await attest_stream(reader, writer)

    run(attest(), within_s=20.0)
    said = "".join(record.getMessage() for record in caplog.records if record.name == "gpu_attestor")
    assert "Welcome\\x1b[2J" in said and "\x1b" not in said


def test_a_flood_takes_no_memory() -> None:
    # HELLO of a length that is allowed, and never whole; then PROGRESS without end.
    script = """
import asyncio, resource, sys
import gpu_attestor

async def flood(reader, writer):
    try:
        if sys.argv[1] == "progress":
            block = (b"\\x80\\0\\0\\0" + (1).to_bytes(8, "little") + b"\\x80") * 5000
        else:
            block = bytes(1 << 16)
        while True:
            writer.write(block)
            await writer.drain()
    except ConnectionError:
        pass

async def main():
    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        await gpu_attestor.attest_stream(reader, writer, hello_deadline=10.0)
    except gpu_attestor.CouldNotRunError as error:
        print(error.code, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    writer.close()

asyncio.run(main())
"""
    for kind in ("progress", "zeros"):
        ran = subprocess.run(
            [sys.executable, "-c", script, kind], capture_output=True, text=True, timeout=60, check=True
        )
        code, grown_mib = ran.stdout.split()
        assert code and int(grown_mib) < 64, ran.stdout
