"""One session of a Verifier without IO: bytes in, bytes out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from . import _native
from ._policy import PolicyLike, policy_of
from ._report import Report, with_verdict

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SessionOptions(TypedDict, total=False):
    """What is asked of a session; each has the default of `gpu-validator attest`."""

    preset: str
    """"smoke" (16 MiB per device, seconds), "standard" (all memory offered), "strict" or "soak"."""
    policy: PolicyLike
    """A policy, a file, or the name of a class; of it the assumptions are taken."""
    devices: Sequence[int]
    """Only these devices, by ordinal; all that are offered, if not given."""
    iterations: Sequence[tuple[int, int]]
    """k and sweeps of each, as `gpu-validator plan` proposes them; the preset's, if not given."""
    samples: int
    """Leaves checked for each device and distinct k, 256 to 65536."""
    few_samples: bool
    """Allow fewer than 256 samples: such a session can catch a cheat but certifies nothing."""
    matrix_dim: int
    device_memory: int
    """Largest dataset per device, bytes."""
    audience: str
    """The party that the evidence is for, which it names."""
    phase_deadline: float
    """How long a phase may take, seconds."""
    hello_deadline: float
    """How long HELLO may take, seconds; 60, if not given."""
    error_bits: int
    """The bounds of a device and distinct k are false with probability at most 2^-error_bits; 20, if not given."""
    key: str | os.PathLike[str]
    """The file of the Verifier's key, created on first use; `$XDG_CONFIG_HOME/gpu-attestor/verifier.pem`, if not given."""
    threads: int
    """Threads that recompute samples; one for each CPU, if not given."""


@dataclass(frozen=True)
class Attestation:
    """A session that was held, and has a verdict."""

    report: Report
    evidence: bytes
    """The sealed evidence: anybody can check it again, with `verify`."""

    def __bool__(self) -> bool:
        raise TypeError("an attestation is no condition; expected attestation.report.is_affirmed")


class Session:
    """One session with whoever is at the other end of a byte stream; its caller does the reading, writing and waiting.

    The Verifier's clock starts here, and bytes count as received when `receive` is called with them: call it as soon as they
    have been read. What is called late makes the certified bounds lower and never higher.

    Its methods may be called from any thread.
    """

    def __init__(self, **options: Unpack[SessionOptions]) -> None:
        policy, key = options.get("policy"), options.get("key")
        devices, iterations = options.get("devices"), options.get("iterations")
        self._native = _native.Session(
            options.get("preset", "smoke"),
            policy_of(policy),
            None if devices is None else list(devices),
            None if iterations is None else list(iterations),
            options.get("samples"),
            options.get("few_samples", False),
            options.get("matrix_dim"),
            options.get("device_memory"),
            options.get("audience", ""),
            options.get("phase_deadline"),
            options.get("hello_deadline", 60.0),
            options.get("error_bits", 20),
            None if key is None else os.fspath(key),
            options.get("threads"),
        )
        unknown = options.keys() - SessionOptions.__annotations__.keys()
        if unknown:
            raise TypeError(f"no such option: {', '.join(sorted(unknown))}")

    @property
    def is_under_way(self) -> bool:
        """Whether it waits for bytes of the host; otherwise `check` or `record` is due."""
        return self._native.is_under_way

    @property
    def timeout(self) -> float | None:
        """Seconds from now until the deadline of what it waits for; None if it waits for nothing. Then call `advance`."""
        return self._native.timeout

    def take_output(self) -> bytes:
        """What is to be written to the host now, before anything else is done; often nothing."""
        return self._native.take_output()

    def take_greeting(self) -> bytes:
        """Text that the host sent before its first message, for example a login's greeting or a shell's error; often nothing.

        The host chooses it: never print it to a terminal unescaped.
        """
        return self._native.take_greeting()

    def receive(self, data: bytes) -> None:
        """Takes bytes of the host, received now."""
        self._native.receive(data)

    def receive_end(self, why: str | None = None) -> None:
        """The connection has ended, for this reason if it is known."""
        self._native.receive_end(why)

    def advance(self) -> None:
        """Time has passed: a deadline counts once this is called after it."""
        self._native.advance()

    def stop(self) -> None:
        """The session is no longer wanted; a `check` in another thread ends too."""
        self._native.stop()

    def finish(self) -> None:
        """Ends it, whatever its state: one that is under way is stopped. How it ended is then in `take_output`, for the host."""
        self._native.finish()

    def record(self) -> bytes:
        """The sealed evidence of a session that is not under way, whose samples are left for `verify`."""
        return self._native.record()

    def check(self) -> Attestation:
        """Recomputes the samples of a session that is not under way; returns what it comes to if there is a verdict.

        This takes seconds of all CPUs, without the interpreter's lock. Raises `NoVerdictError` or `LocalError`, each with its
        subclasses.
        """
        text, evidence = self._native.check()
        return Attestation(with_verdict(Report.from_json(text), evidence), evidence)
