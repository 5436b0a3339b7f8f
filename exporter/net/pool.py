"""Threads: how large they are, and what is said where none can be started, as at a limit of memory or of processes."""

from __future__ import annotations

import errno
import mmap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["NoThread", "is_no_thread", "see_room", "small_stacks", "start_thread", "started_pool"]

_STACK = 3 << 20
"""Bytes of a thread's stack: as many as the deepest recursion takes that Python allows, of one sort within another. Of the
usual eight MiB, each would count in full where a process's data is limited (RLIMIT_DATA), though hardly any is ever used."""

_FIRST_STEPS = 2 << 20
"""Bytes beside its stack that a thread may take until it has begun: Python asks the system for a MiB at a time."""

_PATIENCE = 60.0
"""Seconds that starting them may take."""


class NoThread(OSError):  # noqa: N818 - it says what is the matter
    """No thread can be started: the exporter is short of memory, or may have no more of them."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EAGAIN, text)


def is_no_thread(error: BaseException) -> bool:
    """Tell whether something could not be done for want of a thread; Python has no error of its own for it."""
    return isinstance(error, NoThread) or (isinstance(error, RuntimeError) and "can't start new thread" in str(error))


def small_stacks() -> None:
    """Give the threads that are started from now on no more stack than they can need."""
    threading.stack_size(_STACK)


def see_room() -> None:
    """See that there is memory for one more thread to begin. One whose stack is all that there was left for is started, and
    ends before it has said that it has begun; whoever started it waits for that for ever.

    Raises:
        NoThread: There is not enough.
    """
    try:
        # Untouched, it costs nothing.
        mmap.mmap(-1, _STACK + _FIRST_STEPS, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        raise NoThread("there is no memory left for a thread") from None


def start_thread(work: Callable[[], object], name: str) -> None:
    """Do something in a thread that the end of the process does not wait for.

    Raises:
        NoThread: None can be started.
    """
    see_room()
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError as error:
        raise NoThread(f"no thread can be started: {error}") from None


def started_pool(workers: int, name: str) -> ThreadPoolExecutor:
    """Return a pool of which every thread runs already. Blocking, for as long as starting them takes.

    Where no more can be started, work goes on. One that starts threads as they are needed fails at that moment, in the
    middle of whatever needs it.

    Args:
        workers: How many threads.
        name: What they are called.

    Raises:
        NoThread: They cannot be started.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    together = threading.Barrier(workers)
    begun = []
    try:
        for _ in range(workers):
            see_room()
            begun.append(pool.submit(together.wait, _PATIENCE))
        for each in begun:
            each.result()
    except (RuntimeError, NoThread) as error:  # also a barrier that is broken
        together.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        why = error.strerror if isinstance(error, NoThread) else error
        raise NoThread(f"no {workers} threads can be started: {why}") from None
    return pool
