"""Where long work has come to, for people who wait: a line on a terminal, wiped when it ends. Pipes and logs see nothing."""

from __future__ import annotations

import os
import shutil
import sys
from types import TracebackType
from typing import Self

__all__ = ["ProgressLine"]

_WIPE = "\r\x1b[K"


class ProgressLine:
    """A line of standard error, while the block lasts. It needs no library: it is there before they are imported.

    Args:
        text: What it says at first.
        wanted: Whether it is; never where standard error is no terminal, or one that cannot wipe a line.
    """

    def __init__(self, text: str, *, wanted: bool = True) -> None:
        self._shown = wanted and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._text = text

    def say(self, text: str) -> None:
        """Say something else."""
        if self._shown and text != self._text:
            self._text = text
            self._write()

    def probed(self, done: int, known: int) -> None:
        """Say how many targets were probed."""
        self.say(f"probed {done} of {known} …")

    def __enter__(self) -> Self:
        if self._shown:
            self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._shown:
            sys.stderr.write(_WIPE)
            sys.stderr.flush()

    def _write(self) -> None:
        sys.stderr.write(_WIPE + self._text[: shutil.get_terminal_size().columns - 1])
        sys.stderr.flush()
