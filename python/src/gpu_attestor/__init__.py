"""Establish over the network that an untrusted host has the GPUs that it says it has.

`verify` checks evidence, `verify_result` a signed result, `attest` and `attest_stream` hold sessions. docs/python.md has
examples.
"""

from ._appraise import Appraisal, DeviceAppraisal, Finding, Reason, appraise
from ._attestation_result import AttestationResult, Submodule, Tier, VerifierId, verify_result
from ._command import attest, attest_command
from ._errors import (
    AttestorError,
    CouldNotRunError,
    DamagedEvidenceError,
    EvidenceError,
    KeyUnusableError,
    LocalError,
    NothingCertifiedError,
    NotTrustedError,
    NoVerdictError,
    PolicyError,
    ResultRefusedError,
    StoppedError,
    TooCostlyError,
    UnsupportedVersionError,
)
from ._native import Policy, __version__, identity
from ._policy import PolicyLike
from ._report import (
    Assumptions,
    Bound,
    Bounds,
    Device,
    Exchange,
    Fabric,
    FullReexecution,
    Measured,
    Pair,
    Plan,
    Report,
    Window,
)
from ._session import Attestation, Session, SessionOptions
from ._streams import Reader, Writer, attest_stream, record_stream
from ._verify import verify

__all__ = [
    "Appraisal",
    "Assumptions",
    "Attestation",
    "AttestationResult",
    "AttestorError",
    "Bound",
    "Bounds",
    "CouldNotRunError",
    "DamagedEvidenceError",
    "Device",
    "DeviceAppraisal",
    "EvidenceError",
    "Exchange",
    "Fabric",
    "Finding",
    "FullReexecution",
    "KeyUnusableError",
    "LocalError",
    "Measured",
    "NoVerdictError",
    "NotTrustedError",
    "NothingCertifiedError",
    "Pair",
    "Plan",
    "Policy",
    "PolicyError",
    "PolicyLike",
    "Reader",
    "Reason",
    "Report",
    "ResultRefusedError",
    "Session",
    "SessionOptions",
    "StoppedError",
    "Submodule",
    "Tier",
    "TooCostlyError",
    "UnsupportedVersionError",
    "VerifierId",
    "Window",
    "Writer",
    "__version__",
    "appraise",
    "attest",
    "attest_command",
    "attest_stream",
    "identity",
    "record_stream",
    "verify",
    "verify_result",
]
