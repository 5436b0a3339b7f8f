"""File descriptors: the limit raised at start, some kept back for the listener, kept connections given up where few are.

POSIX hands out the lowest free number. So a new descriptor's own number says how scarce they are, whoever holds the others,
and if nothing that probes open stays at or above a number, what lies above is free for the listener and for files.
"""

from __future__ import annotations

import asyncio
import resource
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property

__all__ = ["Descriptors", "raise_limit"]

_UNLIMITED = 1 << 20

RECENT = 30.0
"""Seconds within which a kept connection was used recently: it will be wanted as soon as one that has just been made."""


def raise_limit() -> tuple[int, int]:
    """Raise the process's limit of open descriptors to what it may have; return the limit before and after."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # a kernel whose own bound is lower than what it calls the hard limit
            return _number(soft), _number(soft)
    return _number(soft), _number(hard)


def _number(limit: int) -> int:
    return _UNLIMITED if limit == resource.RLIM_INFINITY else limit


class Descriptors:
    """What probes may open and keep of the process's descriptors.

    Args:
        limit: Most that the process may have open; None: its limit at the first question.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._given = limit
        self._kept: OrderedDict[object, tuple[Callable[[], None], float]] = OrderedDict()

    @cached_property
    def limit(self) -> int:
        """Most that the process may have open."""
        return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0]) if self._given is None else self._given

    @cached_property
    def usable(self) -> int:
        """The first number that probes leave alone: from there on a tenth, or 64, are kept for the listener and files."""
        return max(1, self.limit - max(64, self.limit // 10))

    @cached_property
    def keepable(self) -> int:
        """The first number that is not kept between attempts: a quarter of what is usable is for what is under way."""
        return self.usable - self.usable // 4

    @property
    def kept(self) -> int:
        """How many connections are kept at the moment."""
        return len(self._kept)

    def admits(self, descriptor: int) -> bool:
        """Say whether a descriptor that was just opened may be used at all. If not, close it: `give_up` may make room."""
        return descriptor < self.usable

    def keep(self, connection: object, descriptor: int, close: Callable[[], None]) -> bool:
        """Say whether a connection may be kept open for later use; if so, it may be closed from here at any time.

        Where few descriptors are left, it is kept only if another gives way that was not used recently.

        Args:
            connection: What is kept.
            descriptor: Its number.
            close: Closes it; called from here at most once, not after `forget`.
        """
        now = asyncio.get_running_loop().time()
        if descriptor >= self.keepable:
            if not self._kept or now - next(iter(self._kept.values()))[1] < RECENT:
                return False
            self.give_up()
        self._kept[connection] = (close, now)
        return True

    def forget(self, connection: object) -> None:
        """Take in that a connection is in use again, or closed."""
        self._kept.pop(connection, None)

    def give_up(self) -> bool:
        """Close the kept connection that was not used for longest; return whether there was one."""
        if not self._kept:
            return False
        _, (close, _) = self._kept.popitem(last=False)
        close()
        return True
