"""Threads that are there from the start."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from exporter.net.pool import started_pool


def test_work_goes_on_where_no_thread_can_be_started_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with started_pool(3, "there") as pool:
        assert len([each for each in threading.enumerate() if each.name.startswith("there")]) == 3
        monkeypatch.setattr(threading.Thread, "start", _refuse)
        gate = threading.Event()
        waiting = [pool.submit(gate.wait, 20) for _ in range(9)]
        gate.set()
        assert [each.result() for each in waiting] == [True] * 9


def test_where_none_can_be_started_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Thread.start
    left = iter([started])

    def run_out(thread: threading.Thread) -> None:
        next(left, _refuse)(thread)

    monkeypatch.setattr(threading.Thread, "start", run_out)
    with pytest.raises(OSError, match="no 3 threads can be started: can't start new thread"):
        started_pool(3, "missing")


_STARTS = """
import resource, sys
from exporter.net.pool import small_stacks, started_pool
small_stacks()
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData:"))
limit, most = (used << 10) + (4 << 20), resource.getrlimit(resource.RLIMIT_DATA)[1]
then = limit + (3 << 20) + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
kept = []
try:
    while True:
        kept.append(bytes(500))  # what Python has in hand is used up
except MemoryError:
    pass
resource.setrlimit(resource.RLIMIT_DATA, (then, most))
try:
    started_pool(1, "late")
except OSError as error:
    del kept
    print(error.strerror)
"""


@pytest.mark.parametrize("more", [8192, 65_536])
def test_a_thread_for_which_there_is_only_its_stack_is_not_waited_for(more: int) -> None:
    """It would be started, and end for want of memory before it says that it has begun."""
    command = [sys.executable, "-c", _STARTS, str(more)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "no 1 threads can be started: there is no memory left for a thread\n", done.stderr
    assert done.returncode == 0


def _refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
