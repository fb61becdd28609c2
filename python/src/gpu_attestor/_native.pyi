"""The part in Rust: the code of the commands. It takes plain values and gives JSON."""

import os
from typing import final

__version__: str

@final
class Policy:
    """What a Relying Party asks for (docs/results.md)."""

    @staticmethod
    def default() -> Policy:
        """The default policy: the worst hardware on sale is assumed."""

    @staticmethod
    def read(name: str | os.PathLike[str], *, profiles: str | os.PathLike[str] | None = None) -> Policy:
        """The policy in a file; where there is no such file, the policy for the class of this name, say "h200"."""

    @staticmethod
    def parse(text: str, *, profiles: str | os.PathLike[str] | None = None) -> Policy:
        """The policy in a text in TOML."""

    @property
    def name(self) -> str:
        """Its name, for people."""

    @property
    def id(self) -> str:
        """Its identifier in signed results."""

    def to_toml(self) -> str:
        """Its text, which `parse` reads."""

@final
class Session:
    def __new__(
        cls,
        preset: str,
        policy: Policy,
        devices: list[int] | None,
        iterations: list[tuple[int, int]] | None,
        samples: int | None,
        few_samples: bool,
        matrix_dim: int | None,
        device_memory: int | None,
        audience: str,
        phase_deadline: float | None,
        hello_deadline: float,
        error_bits: int,
        key: str | None,
        threads: int | None,
    ) -> Session: ...
    @property
    def is_under_way(self) -> bool: ...
    @property
    def timeout(self) -> float | None: ...
    def take_output(self) -> bytes: ...
    def take_greeting(self) -> bytes: ...
    def receive(self, data: bytes) -> None: ...
    def receive_end(self, why: str | None) -> None: ...
    def advance(self) -> None: ...
    def stop(self) -> None: ...
    def finish(self) -> None: ...
    def record(self) -> bytes: ...
    def check(self) -> tuple[str, bytes]: ...

def verify(
    evidence: bytes | str,
    verifiers: list[str],
    policy: Policy,
    attester: str | None,
    challenge: str | None,
    received_unix_ms: int | None,
    threads: int | None,
    max_cost_tmac: float,
    max_memory_bytes: int,
    is_full: bool,
) -> str: ...
def appraise(
    evidence: bytes | str,
    verifiers: list[str],
    policy: Policy,
    attester: str | None,
    threads: int | None,
    max_cost_tmac: float,
    max_memory_bytes: int,
) -> str: ...
def verify_result(
    token: bytes,
    jwks: str,
    audience: str | None,
    issuer: str | None,
    nonce: bytes | None,
    policy_id: str | None,
    max_age_s: int | None,
) -> str: ...
def identity(key: str | os.PathLike[str] | None = None) -> str:
    """The public key (hex) of this host's Verifier, or of the key in this file; it is made on first use."""
