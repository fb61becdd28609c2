"""Reports: the JSON that `gpu-validator verify --json` prints, as typed values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ._errors import CouldNotRunError, NothingCertifiedError, NotTrustedError, NoVerdictError

__all__ = [
    "Assumptions",
    "Bound",
    "Bounds",
    "Device",
    "Exchange",
    "Fabric",
    "FullReexecution",
    "Measured",
    "Pair",
    "Plan",
    "Report",
    "Window",
]

Verdict = Literal["affirmed", "contraindicated", "could not run", "none"]


@dataclass(frozen=True)
class Bound:
    """A certified lower bound, or why there is none."""

    at_least: int | None
    """The bound, in the unit that its name in `Bounds` says."""
    inner_dim: int | None
    """k of the iterations that it comes from."""
    no_bound: str | None
    """Why there is none."""


@dataclass(frozen=True)
class Bounds:
    """The four bounds, of the host or as a device's share of them."""

    memory_bytes: Bound
    """V."""
    bandwidth_bytes_per_s: Bound
    """B."""
    tensor_ops_per_s: Bound
    """T."""
    local_tensor_ops_per_s: Bound
    """T_local."""


@dataclass(frozen=True)
class Assumptions:
    """What the bounds assume of hardware."""

    hardware_table: str
    hardware_date: str
    narrowed_by: str | None
    """The policy that narrows the table of hardware on sale, if one does."""
    best_rate_ops_per_s: int
    helper_gpus: int
    link_in_bytes_per_s: int
    link_out_bytes_per_s: int
    helper_bytes_per_s: int
    on_chip_bytes: int


@dataclass(frozen=True)
class Plan:
    """The sizes of the work."""

    matrix_dim: int
    samples: int
    matrices: int


@dataclass(frozen=True)
class Window:
    """What the Verifier's clock showed of one iteration."""

    inner_dim: int
    sweeps: int
    fill_ns: int
    sweep_ns: int


@dataclass(frozen=True)
class Measured:
    """The figures of one k, measured and not certified."""

    inner_dim: int
    samples: int
    fill_ops_per_s: int
    sweep_bytes_per_s: int


@dataclass(frozen=True)
class Device:
    """One device. `engine`, `model` and `memory_bytes` are what the host says of it."""

    ordinal: int
    engine: str
    model: str
    memory_bytes: int
    dataset_bytes: int
    share: Bounds | None
    """Its share of what is certified for the host."""
    measured: tuple[Measured, ...]


@dataclass(frozen=True)
class Exchange:
    """Lower bounds of bytes/s between GPUs, both directions together; None where there is no bound."""

    exchange_bytes_per_s: int | None
    """Over any path."""
    link_bytes_per_s: int | None
    """What cannot have gone over the links to the hosts: it went over links between GPUs."""


@dataclass(frozen=True)
class Pair(Exchange):
    """Two devices' share of what moved in their round."""

    devices: tuple[int, int]
    """Their ordinals."""
    round: int
    window_ms: float


@dataclass(frozen=True)
class Fabric:
    """What the rounds between devices certify of links."""

    gpu_memory_bytes: int
    """The most memory that one GPU behind the session is assumed to have."""
    inner_dim: int
    pairs: tuple[Pair, ...]
    """Every two devices of the plan."""
    bisection: Exchange
    """Between two halves of the system's GPUs, however it is divided."""
    chances: int
    """These bounds together are false with probability at most this many times 2^-error_bits."""
    no_bound: str | None
    """Why pairs have no bound of links, and what to do about it; None if all have one."""


@dataclass(frozen=True)
class FullReexecution:
    """What repeating all of the work came to. A job is the work of one device in one iteration."""

    agrees: bool | None
    """Whether every root agrees; None if it was not finished."""
    mismatch: str | None
    """Which root does not agree."""
    unfinished: str | None
    """Why it was not finished."""
    jobs: int
    """Jobs of the session."""
    jobs_taken: int
    """Jobs that an earlier run of the command had done."""
    jobs_done: int
    """Jobs done now that agree."""
    tiles: int
    """Tiles filled and swept now."""
    seconds: float
    """How long it took."""


@dataclass(frozen=True)
class Report:
    """What a session comes to.

    It is no condition: `if report:` raises `TypeError`, since a report of a host that failed is a report too. Ask for
    `is_affirmed`.

    Evidence that is refused, because it contradicts itself or is not what was asked for, has a verdict, a reason and a
    message; the other fields are then empty.
    """

    verdict: Verdict
    """"affirmed" or "contraindicated"; the other two only in the `report` of an exception."""
    reason: str
    """A keyword for programs; empty where it is affirmed."""
    message: str
    """The reason for people; the host may have written a part of it."""
    shown: str = ""
    """What an affirmed session shows, in a sentence."""
    mode: Literal["online", "offline"] | None = None
    started_unix_ms: int | None = None
    evidence_blake3: str | None = None
    session_id: str | None = None
    verifier: str | None = None
    """The Verifier's public key, hex."""
    audience: str | None = None
    attester: str | None = None
    """The Attester's public key, hex: the only name of a host that it cannot change at will."""
    software: str | None = None
    checksum: str | None = None
    samples_checked: int = 0
    error_bits: int | None = None
    error_terms: int = 0
    """All bounds together are false with probability at most this many times 2^-error_bits."""
    assumptions: Assumptions | None = None
    plan: Plan | None = None
    windows: tuple[Window, ...] = ()
    devices: tuple[Device, ...] = ()
    host: Bounds | None = None
    """The bounds of the system behind the session, all at once; None unless it is affirmed online."""
    fabric: Fabric | None = None
    """What is certified of links between GPUs; None without rounds between devices, and unless it is affirmed online."""
    full_reexecution: FullReexecution | None = None
    """What repeating all of the work came to, if that was asked for."""
    notes: tuple[str, ...] = ()
    """What a reader must know to read the figures."""
    json: str = field(default="", repr=False)
    """The JSON that the command prints, all of it."""

    def __bool__(self) -> bool:
        raise TypeError("a report is no condition; expected report.is_affirmed")

    @property
    def is_affirmed(self) -> bool:
        """Whether every check passed and something is certified."""
        return self.verdict == "affirmed"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `gpu-validator attest --json` or `verify --json` printed. Nothing is checked again."""
        value: dict[str, Any] = json.loads(text)
        value["assumptions"] = _optional(Assumptions, value.get("assumptions"))
        value["plan"] = _optional(Plan, value.get("plan"))
        value["windows"] = tuple(Window(**window) for window in value.get("windows", ()))
        value["devices"] = tuple(_device(device) for device in value.get("devices", ()))
        value["host"] = _bounds(value.get("host"))
        value["fabric"] = _fabric(value.get("fabric"))
        value["full_reexecution"] = _optional(FullReexecution, value.get("full_reexecution"))
        value["notes"] = tuple(value.get("notes", ()))
        return cls(**value, json=text)


def _optional(kind: Any, value: Mapping[str, Any] | None) -> Any:
    return None if value is None else kind(**value)


def _bounds(value: Mapping[str, Any] | None) -> Bounds | None:
    return None if value is None else Bounds(**{name: Bound(**bound) for name, bound in value.items()})


def _fabric(value: Mapping[str, Any] | None) -> Fabric | None:
    if value is None:
        return None
    pairs = tuple(Pair(**{**pair, "devices": tuple(pair["devices"])}) for pair in value["pairs"])
    return Fabric(**{**value, "pairs": pairs, "bisection": Exchange(**value["bisection"])})


def _device(value: Mapping[str, Any]) -> Device:
    measured = tuple(Measured(**group) for group in value["measured"])
    return Device(**{**value, "share": _bounds(value["share"]), "measured": measured})


def with_verdict(report: Report, evidence: bytes | None = None) -> Report:
    """The report, if it has a verdict; otherwise the exception of its kind is raised.

    This is the rule of the commands' exit codes: 0 and 1 are verdicts, 2 is none.
    """
    if report.verdict in ("affirmed", "contraindicated"):
        return report
    kinds: dict[str, type[NoVerdictError]] = {
        "unknown-verifier": NotTrustedError,
        "nothing-certified": NothingCertifiedError,
    }
    kind = CouldNotRunError if report.verdict == "could not run" else kinds.get(report.reason, NoVerdictError)
    raise kind(report.reason, report.message, report, evidence)
