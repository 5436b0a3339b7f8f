"""Large answers in memory while they are read: who does not read must not make the exporter hold them all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.web.door import Door
from exporter.web.guard import STALLED

__all__ = ["Held"]


class Held:
    """The bodies that are being sent. Readers of the same one share it.

    Where they come to more than a budget, the oldest that nobody reads on is given up: its readers have left what they asked
    for unread for a second or more, and their connections are closed. One that is read on is kept. That is seen by what the
    system takes to send, which is large pieces: who reads less than about a megabyte a second may pass for one who reads
    nothing.

    Args:
        most: Bytes of all bodies.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._bodies: dict[int, _Body] = {}

    @contextmanager
    def holding(self, body: object, size: int, door: Door | None) -> Iterator[None]:
        """Hold a body while it is sent through a door."""
        key = id(body)
        held = self._bodies.get(key)
        if held is None:
            held = self._bodies[key] = _Body(size)
            self._make_room()
        held.readers.append(door)
        try:
            yield
        finally:
            held.readers.remove(door)
            if not held.readers:
                del self._bodies[key]

    def _make_room(self) -> None:
        excess = sum(body.size for body in self._bodies.values()) - self._most
        before = asyncio.get_running_loop().time() - STALLED
        for body in list(self._bodies.values())[:-1]:
            if excess <= 0:
                return
            if body.is_left(before):
                excess -= body.size
                body.give_up()


class _Body:
    """One body, and through which doors it goes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.readers: list[Door | None] = []

    def is_left(self, before: float) -> bool:
        """Tell whether none of its readers has read on since then."""
        return all(
            door is not None and door.stalled_since is not None and door.stalled_since <= before for door in self.readers
        )

    def give_up(self) -> None:
        """Close its readers' connections."""
        for door in self.readers:
            if door is not None:
                door.abort()
