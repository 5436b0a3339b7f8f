"""The likely cause of a service's being down: what it needs and is down too, before what its own probes say."""

from __future__ import annotations

from collections.abc import Collection, Iterable

__all__ = ["DEPENDENCY_DOWN", "Cause", "causes"]

DEPENDENCY_DOWN = "dependency_down"

Cause = tuple[str, str]
"""A cause, and the dependency that it lies in; empty where it lies in the service itself."""


def causes(depends_on: Iterable[str], down: Collection[str], reasons: Iterable[str]) -> frozenset[Cause]:
    """Return the likely causes of a service that is down.

    Args:
        depends_on: What it needs.
        down: Names of everything that is down.
        reasons: Why its own targets failed.
    """
    needed = frozenset((DEPENDENCY_DOWN, name) for name in depends_on if name in down)
    return needed or frozenset((reason, "") for reason in reasons)
