"""Sessions with the Attester that a command serves on its standard input and output."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Union

from ._errors import CouldNotRunError
from ._session import Attestation, SessionOptions
from ._streams import attest_stream

if TYPE_CHECKING:
    from typing_extensions import Unpack

Argument = Union[str, "os.PathLike[str]"]

END_WITHIN_S = 5.0
"""How long the command may take to end by itself once the session is over."""

OBEY_WITHIN_S = 1.0
"""How long it may take after it was asked to end."""

STDERR_BYTES = 4096
"""How much of the end of its standard error is kept."""


def attest(command: Sequence[Argument], **options: Unpack[SessionOptions]) -> Attestation:
    """Attests the Attester that a command serves: `attest(["ssh", "HOST", "gpu-attestor", "agent", "--stdio"])`.

    For code without an event loop; others await `attest_command`.
    """
    return asyncio.run(attest_command(command, **options))


async def attest_command(command: Sequence[Argument], **options: Unpack[SessionOptions]) -> Attestation:
    """Attests the Attester that a command serves on its standard input and output.

    The command runs in a session of its own, without a terminal, and is ended with all that it started there. Raises what
    `attest_stream` does, and `OSError` if it cannot be started.
    """
    if isinstance(command, (str, bytes)) or not command:
        raise TypeError("command: expected a list of a program and its arguments")
    process = await asyncio.create_subprocess_exec(
        *(os.fspath(argument) for argument in command), stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
    )
    assert process.stdin and process.stdout and process.stderr
    stderr = asyncio.ensure_future(_tail(process.stderr))
    try:
        attestation = await attest_stream(process.stdout, process.stdin, **options)
    except CouldNotRunError as error:
        await _end(process, END_WITHIN_S)
        error.exit_status, error.stderr = process.returncode, await _printable(stderr)
        raise
    except BaseException:
        # A task that is cancelled, for example: it does not wait for the host.
        await asyncio.shield(_end(process, 0.0))
        raise
    else:
        await _end(process, END_WITHIN_S)
        return attestation
    finally:
        stderr.cancel()


async def _end(process: Process, within_s: float) -> None:
    """Waits for the command to end by itself, then ends it and all that it has started in its session."""
    if process.stdin:
        process.stdin.close()
    await _wait(process, within_s)
    for ask in (signal.SIGTERM, signal.SIGKILL):
        # To the whole group, whether or not its leader has ended.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, ask)
        await _wait(process, OBEY_WITHIN_S)
    # asyncio closes it by itself only once all pipes have ended, which a process that left the group can prevent.
    process._transport.close()  # type: ignore[attr-defined]


async def _wait(process: Process, within_s: float) -> None:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(process.wait(), within_s)


async def _tail(stream: asyncio.StreamReader) -> bytes:
    """The last bytes of a stream, which is read to its end so that its writer never waits."""
    tail = b""
    while data := await stream.read(STDERR_BYTES):
        tail = (tail + data)[-STDERR_BYTES:]
    return tail


async def _printable(stderr: asyncio.Future[bytes]) -> str:
    with suppress(asyncio.TimeoutError):
        text = (await asyncio.wait_for(stderr, OBEY_WITHIN_S)).decode(errors="replace")
        # The host wrote it: it must not steer a terminal.
        return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return ""
