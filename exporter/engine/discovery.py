"""Sources of instances at run time: one task for each service, so that a slow or failing one costs its own service only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from exporter.config.models import Instances
from exporter.discovery.source import Discovered, Source
from exporter.engine.defects import Defects
from exporter.unforeseen import Where
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Discovery", "Known"]

BACKOFF = 5.0
"""Seconds after which a source that raised is run anew."""

Found = Callable[[str], None]


@dataclass(slots=True)
class Known:
    """What is known of one service's instances.

    Attributes:
        discovered: The last report of its source; None before the first.
        last_success: Unix time of the last one that was complete.
    """

    discovered: Discovered | None = None
    last_success: float | None = None


@dataclass(slots=True)
class _Feed:
    settings: Instances
    task: asyncio.Task[None] = field(repr=False)


class Discovery:
    """Runs the sources, and keeps what they said last.

    Args:
        make: Makes the source that settings ask for.
        found: Called with a service's name after each report of its source.
        defects: Where a source that raises is counted.
    """

    def __init__(self, make: Callable[[Instances], Source], found: Found, defects: Defects) -> None:
        self._make = make
        self._found = found
        self._defects = defects
        self._feeds: dict[str, _Feed] = {}
        self._known: dict[str, Known] = {}

    def known(self, service: str) -> Known:
        """Return what is known of a service's instances."""
        return self._known.get(service) or Known()

    def configure(self, wanted: Mapping[str, Instances]) -> None:
        """Run a source for each service; one whose settings are the same runs on.

        Where settings changed, what was known stays until the new source can tell.
        """
        for name in [name for name, feed in self._feeds.items() if wanted.get(name) != feed.settings]:
            self._feeds.pop(name).task.cancel()
        for name in self._known.keys() - wanted.keys():
            del self._known[name]
        for name, settings in wanted.items():
            if name not in self._feeds:
                self._known.setdefault(name, Known())
                task = asyncio.create_task(self._run(name, settings), name=f"instances of {name}")
                self._feeds[name] = _Feed(settings, task)

    async def close(self) -> None:
        """End every source."""
        tasks = [feed.task for feed in self._feeds.values()]
        self._feeds.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str, settings: Instances) -> None:
        task = asyncio.current_task()

        def report(found: Discovered) -> None:
            feed = self._feeds.get(name)
            if feed is not None and feed.task is task:  # one that was replaced says nothing more
                self._take(name, found)

        while True:
            try:
                await self._make(settings).run(report)
                raise RuntimeError("a source of instances ended")  # noqa: TRY301 - it is a defect like any other
            except Exception as error:
                self._defects.note(Where.DISCOVERY, f"the source of the instances of {name} failed", error)
                text = f"unexpected {type(error).__name__}: see the log"
                report(Discovered((), Failure(Stage.INTERNAL, Reason.INTERNAL, text)))
            await asyncio.sleep(BACKOFF)

    def _take(self, name: str, found: Discovered) -> None:
        """Keep a report. One that cannot tell takes nothing away, whoever knew it: the source of before may have."""
        known = self._known[name]
        if found.complete:
            known.last_success = time.time()
        elif known.discovered is not None:
            wanted = found.wanted if found.wanted is not None else known.discovered.wanted
            found = Discovered(known.discovered.instances, found.failure, wanted, found.unsized)
        known.discovered = found
        self._found(name)
