"""Threads that are there from the start: where no more can be started, as at a limit of processes, work goes on."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

__all__ = ["started_pool"]

_PATIENCE = 60.0
"""Seconds that starting them may take."""


def started_pool(workers: int, name: str) -> ThreadPoolExecutor:
    """Return a pool of which every thread runs already. Blocking, for as long as starting them takes.

    One that starts threads as they are needed fails at that moment, in the middle of whatever needs it.

    Args:
        workers: How many threads.
        name: What they are called.

    Raises:
        OSError: They cannot be started.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    together = Barrier(workers)
    try:
        for begun in [pool.submit(together.wait, _PATIENCE) for _ in range(workers)]:
            begun.result()
    except RuntimeError as error:  # also a barrier that is broken
        together.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise OSError(errno.EAGAIN, f"no {workers} threads can be started: {error}") from None
    return pool
