"""How slow this machine is now and then, in CPU time: what tests of stalls compare with."""

from __future__ import annotations

import json
import time

__all__ = ["piece_of_work"]


def piece_of_work() -> float:
    """Return the CPU seconds of a fixed piece of work, the most of some: 3 ms, or seven on a slow machine."""
    spent = []
    for _ in range(20):
        before = time.thread_time()
        json.loads(json.dumps([{"name": str(n), "value": n * 1.5} for n in range(3000)]))
        spent.append(time.thread_time() - before)
    return max(spent)
