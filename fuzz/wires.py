"""Connections over which an input arrives, without a network: what a peer sends is there, and then it has hung up."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from exporter.net.stream import Stream

__all__ = ["Ended", "Wire", "finish", "on_loop", "stream_of"]

T = TypeVar("T")


class Ended(Exception):  # noqa: N818 - it says what happened
    """The parser waits for more, of a peer that has hung up: it would wait for ever."""


class Wire(asyncio.Transport):
    """A transport to nobody.

    Args:
        answer: Is handed what is written; None for nothing.
    """

    def __init__(self, answer: Callable[[bytes], None] | None = None) -> None:
        super().__init__({"socket": self})
        self._answer = answer
        self._closing = False

    def fileno(self) -> int:
        """Stand in for the socket's."""
        return -1

    def write(self, data: Any) -> None:
        """Answer, if anything is to be."""
        if self._answer is not None:
            self._answer(bytes(data))

    def abort(self) -> None:
        """Close."""
        self._closing = True

    close = abort

    def is_closing(self) -> bool:
        """Whether it was closed from this side."""
        return self._closing

    def pause_reading(self) -> None:
        """Nothing more comes anyway."""

    resume_reading = pause_reading


def stream_of(data: bytes, limit: int) -> Stream:
    """Return a stream from which so much can be read, and then the end."""
    stream = Stream(limit)
    stream.connection_made(Wire())
    stream.data_received(data)
    stream.connection_lost(None)
    return stream


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end what has nothing to wait for: without an event loop, which would cost more than the parser.

    Raises:
        Ended: It waits for something.
    """
    try:
        while work.send(None) is None:
            pass  # it gives the loop a turn
    except StopIteration as end:
        return cast(T, end.value)
    finally:
        work.close()
    raise Ended("it waits for more")


class _Unasked(selectors.DefaultSelector):
    """Asks the system for nothing while there is something to do: no input comes from there, and it costs more than one."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for what is ready, unless there is no time to wait."""
        return [] if timeout is not None and timeout <= 0 else super().select(timeout)


_loop: asyncio.AbstractEventLoop | None = None


def on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run something to its end on an event loop that is kept from input to input."""
    global _loop  # noqa: PLW0603 - one for the process, made when it is needed
    if _loop is None:
        _loop = asyncio.SelectorEventLoop(_Unasked())
    return _loop.run_until_complete(asyncio.wait_for(work, 20))
