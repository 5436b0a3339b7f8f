"""Instances that the configuration lists."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from exporter.discovery.source import Discovered, Instance, Report
from exporter.values import Address

__all__ = ["StaticSource"]


class StaticSource:
    """A list that changes only with the configuration.

    Args:
        addresses: The instances.
    """

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._found = Discovered(tuple(map(Instance.at, addresses)))

    async def run(self, report: Report) -> None:
        """Report once, and wait for ever."""
        report(self._found)
        await asyncio.Event().wait()
