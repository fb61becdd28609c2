"""Policies, by what people write for them."""

from __future__ import annotations

import os
from typing import Union

from ._native import Policy

PolicyLike = Union[Policy, str, "os.PathLike[str]"]
"""A policy, the path of its file, or the name of a class."""


def policy_of(policy: PolicyLike | None) -> Policy:
    """The policy; the default one for None."""
    if policy is None:
        return Policy.default()
    return policy if isinstance(policy, Policy) else Policy.read(os.fspath(policy))
