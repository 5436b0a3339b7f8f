"""The log is written by a thread: what cannot be formatted costs its line, is counted, and blocks nobody."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event

import pytest

from exporter.logs import LogThread


@contextmanager
def logging_to(descriptor: int) -> Iterator[LogThread]:
    lines = LogThread("INFO", descriptor)
    try:
        yield lines
    finally:
        lines.close()


class Unwritable:
    def __str__(self) -> str:
        raise ZeroDivisionError("hunter2")


def test_a_line_that_cannot_be_formatted_is_counted_and_told_by_its_place(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own handler would write a traceback to standard error, which may be a pipe that nobody reads."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's raises
    reader, writer = os.pipe()
    with logging_to(writer) as lines:
        log = logging.getLogger("exporter.test")
        log.info("of %s", Unwritable())
        log.info("one %d", "two")
        log.info("whole")
        assert lines.dropped == 2
    os.close(writer)
    with os.fdopen(reader) as file:
        first, second, third = file.read().splitlines()
    assert first.endswith("cannot be written: ZeroDivisionError")
    assert "test_logs.py:" in first
    assert second.endswith("cannot be written: TypeError")
    assert third.endswith("exporter.test: whole")
    assert capfd.readouterr().err == ""


def test_a_line_for_which_there_is_no_memory_does_not_end_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's raises
    written: list[bytes] = []

    def write(_descriptor: int, data: bytes) -> int:
        written.append(bytes(data))
        if len(written) == 1:
            raise MemoryError
        return len(data)

    monkeypatch.setattr(os, "write", write)
    with logging_to(2) as lines:
        logging.getLogger("exporter.test").info("first")
        logging.getLogger("exporter.test").info("second")
    assert lines.dropped == 1
    assert written[-1].endswith(b"second\n")


def test_want_of_memory_while_it_waits_for_a_line_does_not_end_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nothing more would be written, and whoever waits for the end of it would wait in vain."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's raises

    class Short(SimpleQueue[str | None]):
        short = 3

        def get(self, block: bool = True, timeout: float | None = None) -> str | None:
            if self.short:
                self.short -= 1
                raise MemoryError
            return super().get(block, timeout)

    monkeypatch.setattr("exporter.logs.SimpleQueue", Short)
    written: list[bytes] = []

    def write(_descriptor: int, data: bytes) -> int:
        written.append(bytes(data))
        return len(data)

    monkeypatch.setattr(os, "write", write)
    with logging_to(2):
        logging.getLogger("exporter.test").info("first")
    assert written[-1].endswith(b"first\n")


def test_lines_for_which_there_is_no_room_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it is a pipe that nobody reads."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's raises
    reading, gate = Event(), Event()

    def write(_descriptor: int, data: bytes) -> int:
        reading.set()
        gate.wait(20)
        return len(data)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr("exporter.logs._WAITING", 5)
    with logging_to(2) as lines:
        logging.getLogger("exporter.test").info("the one that is being written")
        assert reading.wait(20)
        for _ in range(8):
            logging.getLogger("exporter.test").info("another")
        assert lines.dropped == 3
        gate.set()
