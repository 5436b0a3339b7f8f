"""What tests of the demo look at: whether processes run."""

from __future__ import annotations

import time
from pathlib import Path


def state(pid: int) -> str:
    """Return a process's state, as ps(1) names it; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until_gone(*pids: int, seconds: float = 30.0) -> None:
    """Wait until none of them runs; one that nobody has waited for yet does not."""
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if state(pid) not in ("", "Z")]:
        assert time.monotonic() < deadline, f"processes {left} live on"
        time.sleep(0.01)
