"""The log is written by a thread: what cannot be formatted costs its line, is counted, and blocks nobody."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

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
