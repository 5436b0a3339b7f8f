"""Files at the moment they are needed, also on a file system that hangs, such as NFS whose server is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from exporter.net.pool import start_thread

__all__ = ["read_aside", "read_within"]

_T = TypeVar("_T")


async def read_aside(what: Hashable, read: Callable[[], _T]) -> _T:
    """Return what a blocking function reads, and read it once for all who ask for the same in the meantime.

    It runs in a thread of its own, never in asyncio's pool: a few reads that hang would take all of its threads, and with
    them whatever else is done there. A file that hangs holds one thread, however often it is asked for, and does not keep
    the process from ending. It has no deadline: that is the caller's.

    Args:
        what: What is read, and by whom: equal means the same answer.
        read: Reads it.

    Raises:
        NoThread: No thread can be started.
        Exception: What the function raises.
    """
    return await asyncio.get_running_loop().run_in_executor(_aside, lambda _what: read(), what)


def read_within(seconds: float, what: Hashable, read: Callable[[], _T]) -> _T:
    """Return what a blocking function reads, as `read_aside` does, where there is no event loop.

    Raises:
        TimeoutError: It is not read within so many seconds.
        NoThread: No thread can be started.
        Exception: What the function raises.
    """
    found: _T = _aside.submit(lambda _what: read(), what).result(seconds)
    return found


class _Aside(Executor):
    """Starts a thread for whatever is not under way."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, Future[Any]] = {}
        self._lock = Lock()

    def submit(self, read: Callable[[Hashable], Any], /, what: Hashable) -> Future[Any]:  # type: ignore[override]  # what is read
        """Return the future of what is under way, or of what is started now."""
        with self._lock:
            future = self._under_way.get(what)
            if future is None:
                future = Future()
                future.set_running_or_notify_cancel()  # so that one who leaves takes nothing from the others
                start_thread(partial(self._work, what, read, future), f"read {what}")
                self._under_way[what] = future  # only now: where no thread can be started, the next one tries again
        return future

    def _work(self, what: Hashable, read: Callable[[Hashable], Any], future: Future[Any]) -> None:
        answer: Any = None
        failure: BaseException | None = None
        try:
            answer = read(what)
        except StopIteration as error:
            failure = RuntimeError("the read ended by StopIteration")  # which no future can raise
            failure.__cause__ = error
        except BaseException as error:
            failure = error
        with self._lock:
            self._under_way.pop(what, None)  # before the answer: whoever asks after it reads anew
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(answer)


_aside = _Aside()
