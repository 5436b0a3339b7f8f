"""The versions of Prometheus and Alertmanager that what is shipped must work with: Debian's, and much newer ones."""

from __future__ import annotations

from dataclasses import dataclass

from tests.fixtures.golang import built

__all__ = ["DEBIAN", "Tools", "newer"]


@dataclass(frozen=True, slots=True)
class Tools:
    """Commands of one version of each."""

    promtool: str
    prometheus: str
    amtool: str
    alertmanager: str


DEBIAN = Tools("promtool", "prometheus", "amtool", "prometheus-alertmanager")
"""Prometheus 2.42 and Alertmanager 0.25 where this is Debian 12."""


def newer() -> Tools:
    """Return Prometheus 3.5 and Alertmanager 0.28, built now if they never were."""
    folder = built()
    return Tools(*(str(folder / command) for command in ("promtool", "prometheus", "amtool", "alertmanager")))
