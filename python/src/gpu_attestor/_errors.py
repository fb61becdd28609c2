"""The exceptions of this package, by kind.

A verdict is never an exception: evidence that is contraindicated gives a report that says so. What is raised means that
there is no verdict, for the reason that the exception's class names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._report import Report


class AttestorError(Exception):
    """Base class of all exceptions of this package; `code` is a keyword for programs."""

    code: str

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions travel between processes, for example out of a pool's workers.
        return (_again, (type(self), self.args, self.__dict__))


def _again(kind: type[AttestorError], args: tuple[object, ...], state: dict[str, object]) -> AttestorError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class EvidenceError(AttestorError):
    """The evidence was not judged. This says nothing about the host."""


class DamagedEvidenceError(EvidenceError):
    """It was cut or damaged on its way, or is no evidence: get it again."""


class UnsupportedVersionError(EvidenceError):
    """Another release wrote it."""


class TooCostlyError(EvidenceError):
    """Checking it costs more than `max_cost` or `max_memory` allow; nothing was recomputed."""


class NoVerdictError(AttestorError):
    """Evidence was checked, or a session was held, and there is no verdict.

    `report` is what is known nevertheless, and `evidence` the sealed evidence of a session that was held here.
    """

    report: Report | None
    evidence: bytes | None

    def __init__(
        self, code: str, message: str, report: Report | None = None, evidence: bytes | None = None
    ) -> None:
        super().__init__(code, message)
        self.report = report
        self.evidence = evidence


class NotTrustedError(NoVerdictError):
    """Nobody named the Verifier that recorded the evidence: whoever made it may have had the clock."""


class NothingCertifiedError(NoVerdictError):
    """Every check passed, and no bound follows from what was measured."""


class CouldNotRunError(NoVerdictError):
    """The session could not run: neither a pass nor a failure.

    Of a session over a command, `exit_status` is how the command ended, and `stderr` the last that it printed, without
    control characters; the host wrote it.
    """

    exit_status: int | None = None
    stderr: str = ""


class StoppedError(NoVerdictError):
    """The session was recorded, and stopped before all of its samples were recomputed: `verify` can do that later."""


class PolicyError(AttestorError):
    """A policy, or a profile, is wrong; `file`, `line`, `column` and `key` say where, as far as that is known."""

    file: str | None
    line: int | None
    column: int | None
    key: str | None

    def __init__(
        self,
        code: str,
        message: str,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(code, message)
        self.file = file
        self.line = line
        self.column = column
        self.key = key


class ResultRefusedError(AttestorError):
    """A signed result is not one that this Relying Party may rely on now."""


class KeyUnusableError(AttestorError):
    """A key, or a set of keys, cannot be used."""


class LocalError(AttestorError):
    """This machine could not do it: no randomness, no threads, or a CPU that computes wrongly."""
