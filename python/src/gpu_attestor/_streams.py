"""Sessions over asyncio's streams, and over whatever reads and writes like them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from ._session import Attestation, Session, SessionOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

_log = logging.getLogger("gpu_attestor")

READ_BYTES = 64 << 10
"""Most bytes that are read at once; more stay in the stream, so that a host which floods has to wait."""

RESULT_WITHIN_S = 2.0
"""How long the host may take to read how its session ended."""

GRACE_S = 0.1
"""How much later than it passes a deadline is enforced: bytes that came before it may still be on their way to here."""

# One at a time: each uses all CPUs, and sessions under way need some of them to be read in time.
_checks = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gpu-attestor-check")


class Reader(Protocol):
    """What is read from: an `asyncio.StreamReader`, an asyncssh process's `stdout` with `encoding=None`, and the like."""

    async def read(self, n: int, /) -> bytes:
        """At least one byte and at most n; none at the end."""


class Writer(Protocol):
    """What is written to: an `asyncio.StreamWriter`, an asyncssh process's `stdin`, and the like."""

    def write(self, data: bytes, /) -> object:
        """Takes bytes to be sent, without waiting."""

    async def drain(self) -> object:
        """Waits until most of them are sent."""


async def attest_stream(reader: Reader, writer: Writer, **options: Unpack[SessionOptions]) -> Attestation:
    """Attests the Attester at the other end of a pair of streams, `gpu-attestor agent --stdio` for example.

    The streams stay open: they are the caller's. The samples are recomputed in a thread while the host waits; of several
    sessions one after the other. A task that is cancelled stops its session, and tells the host.

    Raises what `Session.check` does. Whatever the host does ends in a report or in one of these exceptions.
    """
    session = Session(**options)
    async with _ending(session, writer):
        await _converse(session, reader, writer)
        return await _check(session)


async def record_stream(reader: Reader, writer: Writer, **options: Unpack[SessionOptions]) -> bytes:
    """Holds a session like `attest_stream`, and returns its sealed evidence: `verify` gives the verdict, at any time.

    For many sessions at once: nothing is recomputed while they run.
    """
    session = Session(**options)
    async with _ending(session, writer):
        await _converse(session, reader, writer)
        return session.record()


async def _converse(session: Session, reader: Reader, writer: Writer) -> None:
    """Reads and writes until there is a verdict or samples are to be recomputed."""
    reading: asyncio.Task[bytes] | None = None
    try:
        while True:
            _write(session, writer)
            greeting = session.take_greeting()
            if greeting:
                # Escaped: the host chooses this text.
                _log.warning("before its first message the host says %r", greeting)
            if not session.is_under_way:
                return
            if reading is None:
                reading = asyncio.ensure_future(reader.read(READ_BYTES))
            timeout = session.timeout
            await asyncio.wait({reading}, timeout=None if timeout is None else timeout + GRACE_S)
            if not reading.done():
                session.advance()
                continue
            _take(session, reading)
            reading = None
    finally:
        if reading is not None:
            # It is not waited for: a stream that does not let go must not hold the session.
            reading.cancel()


def _take(session: Session, reading: asyncio.Task[bytes]) -> None:
    try:
        data = reading.result()
    except asyncio.CancelledError:
        session.receive_end("the read was cancelled")
    except Exception as error:  # noqa: BLE001 - streams of other libraries raise their own
        session.receive_end(f"{type(error).__name__}: {error}")
    else:
        if not isinstance(data, bytes):
            raise TypeError(f"the reader gives {type(data).__name__}; expected bytes (asyncssh: encoding=None)")
        if data:
            session.receive(data)
        else:
            session.receive_end()


def _write(session: Session, writer: Writer) -> None:
    output = session.take_output()
    if output:
        try:
            writer.write(output)
        except Exception as error:  # noqa: BLE001 - streams of other libraries raise their own
            session.receive_end(f"{type(error).__name__}: {error}")


async def _check(session: Session) -> Attestation:
    check = _checks.submit(session.check)
    waiting = asyncio.wrap_future(check)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        session.stop()
        # One that has begun ends soon; its thread is not left behind.
        if not check.cancel():
            await asyncio.wait({waiting})
            waiting.exception()
        raise


@asynccontextmanager
async def _ending(session: Session, writer: Writer) -> AsyncIterator[None]:
    """Ends the session however the block ends, and tells the host."""
    is_cancelled = False
    try:
        yield
    except asyncio.CancelledError:
        is_cancelled = True
        raise
    finally:
        session.finish()
        _write(session, writer)
        # Whoever cancels does not wait for the host.
        if not is_cancelled:
            with suppress(Exception):
                await asyncio.wait_for(writer.drain(), RESULT_WITHIN_S)
