"""The brokers of one reading: asked side by side, each for as long as it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Self

from exporter.clients.kafka.connection import Broker
from exporter.clients.kafka.layout import Layout
from exporter.clients.kafka.pool import BrokerPool
from exporter.verdict import Failure, Reason

__all__ = ["Brokers", "Patience"]

GROUPS_SHARE = 0.45
"""Share of the time left after the metadata after which a broker is given up that hangs when asked for groups."""

SLOW_SHARE = 0.85
"""The same for one that has just answered, if slowly: it takes long for the many groups that it has."""

QUIET_SHARE = 0.2
"""Share of that time within which it must have answered again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long brokers are waited for, in loop time.

    Attributes:
        end: When one that does not answer is given up.
        latest: When one that goes on answering is.
        quiet: Seconds in which it must answer again.
    """

    end: float
    latest: float
    quiet: float

    @classmethod
    def of(cls, now: float, end: float) -> Self:
        """Return what may be spent on groups, of the time to an end."""
        left = end - now
        return cls(now + GROUPS_SHARE * left, now + SLOW_SHARE * left, QUIET_SHARE * left)


class Brokers:
    """The brokers of one reading.

    Attributes:
        by_node: All that metadata lists.
        lost: Those that failed and have no connection left; they are not asked again in this reading.
    """

    def __init__(self, pool: BrokerPool, layout: Layout) -> None:
        self.by_node = {node: pool.broker(at, f"broker {node} at {at}") for node, at in layout.brokers.items()}
        self.lost: dict[int, Failure] = {}

    @property
    def refused(self) -> frozenset[int]:
        """Nodes that are not where the prober may be sent."""
        return frozenset(node for node, failure in self.lost.items() if failure.reason is Reason.NOT_ALLOWED)

    def left(self) -> dict[int, Broker]:
        """Return those that are not lost."""
        return {node: broker for node, broker in self.by_node.items() if node not in self.lost}

    async def side_by_side(
        self, work: Mapping[int, Callable[[], Awaitable[None]]], end: float | Patience
    ) -> dict[int, Failure]:
        """Await what asks brokers, by node; return how those failed that did."""
        limits = (end.end, end.latest, end.quiet) if isinstance(end, Patience) else (end, end, 0.0)
        asking = [self.by_node[node].within(limits[0], each, *limits[1:]) for node, each in work.items()]
        failed: dict[int, Failure] = {}
        for node, result in zip(work, await asyncio.gather(*asking, return_exceptions=True), strict=True):
            if isinstance(result, Failure):  # returned, not raised
                failed[node] = result
                if not self.by_node[node].is_connected():
                    self.lost[node] = result
            elif result is not None:
                raise result
        return failed
