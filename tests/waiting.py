"""Waiting for what another process will do."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["SLACK", "until"]

SLACK = 8
"""Times as long as on an idle machine: workers share cores that may be slow. What happens soon costs nothing by it."""


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for something to become true, which on an idle machine takes less than these seconds."""
    deadline = time.monotonic() + SLACK * seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {SLACK * seconds:g} s: {what}"
        time.sleep(0.1)
