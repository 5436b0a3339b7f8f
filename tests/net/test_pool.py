"""Threads that are there from the start."""

from __future__ import annotations

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


def _refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
