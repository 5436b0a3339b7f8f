"""The log: written by a thread, so that a pipe that nobody reads holds up nothing."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from queue import SimpleQueue
from threading import Event

from exporter.net.pool import NoThread, start_thread
from exporter.visible import visible

__all__ = ["LogThread"]

_WAITING = 10_000
"""Lines that may wait to be written; of more, the number is kept."""

_BREATH = 0.001
"""Seconds before the next try: for want of memory not even waiting for a line may be possible."""

_LONGEST = 16_384
"""Characters of a line, a traceback included."""

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Visible(logging.Formatter):
    """Formats a line so that nothing in it is obeyed by a terminal, or can pass for another line."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST]}… ({len(text)} characters)"
        return visible(text, keep="\t\n").replace("\n", "\n  ")


class _Dropping(logging.Handler):
    """Hands lines over, and counts those for which there is no room."""

    def __init__(self, lines: SimpleQueue[str | None]) -> None:
        super().__init__()
        self._lines = lines
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= _WAITING:
            self.dropped += 1
            return
        try:
            self._lines.put(self.format(record))
        except Exception as error:  # `handleError` would write to standard error, which may be a pipe that nobody reads
            self.dropped += 1
            self._say_that_it_cannot(record, error)

    def _say_that_it_cannot(self, record: logging.LogRecord, error: Exception) -> None:
        with suppress(MemoryError):
            text = f"a line of {record.pathname}:{record.lineno} cannot be written: {type(error).__name__}"
            self._lines.put(visible(text))


class LogThread:
    """Has all that is logged written by a thread, within bounds. What cannot be written is dropped and counted.

    Args:
        level: The least level that is written.
        descriptor: Where to: a file descriptor, since a stream's lock would be held while it waits, also at the end of
            the process.

    Raises:
        NoThread: No thread can be started.
    """

    def __init__(self, level: int | str, descriptor: int = 2) -> None:
        # Neither side of it waits for a lock that the other holds, or needs memory to wait: at its end there may be none.
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._handler = _Dropping(self._lines)
        self._handler.setFormatter(_Visible(_FORMAT))
        self._descriptor = descriptor
        self._lost = 0
        self._ended = Event()
        try:
            start_thread(self._write, "log")
        except NoThread as error:
            raise NoThread(f"the log cannot be written: {error.strerror}") from None
        root = logging.getLogger()
        root.setLevel(level)
        root.addHandler(self._handler)

    @property
    def dropped(self) -> int:
        """Lines that were not written: there was no room, or the writing failed."""
        return self._handler.dropped + self._lost

    def close(self, within: float = 1.0) -> None:
        """Write what waits, as far as it can be within so many seconds."""
        logging.getLogger().removeHandler(self._handler)
        self._lines.put(None)
        self._ended.wait(within)

    def _write(self) -> None:
        while True:
            try:
                line = self._lines.get()
                if line is None:
                    break
                left = memoryview(f"{line}\n".encode("utf-8", "backslashreplace"))
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except (OSError, MemoryError):  # a full disk, a pipe whose reader has gone; the next line may do better
                self._lost += 1
                time.sleep(_BREATH)
        self._ended.set()
