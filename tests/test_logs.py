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
