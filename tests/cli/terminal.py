"""A terminal for a command: what it shows, what is typed, its size."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["PATIENCE", "Terminal"]

PATIENCE = 120.0
"""Seconds after which what is waited for will not come."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>()][A-Z0-9]?)")


class Terminal:
    """Runs a command on a pseudo-terminal for as long as the block lasts.

    Args:
        command: What to run.
        folder: Where.
        environment: Variables beside the process's own, `TERM=xterm` among them.
        size: Columns and lines.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: dict[str, str] | None = None,
        size: tuple[int, int] = (120, 40),
    ) -> None:
        self._main, inner = pty.openpty()
        self.resize(*size)
        variables = {**os.environ, "TERM": "xterm", **(environment or {})}
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
            if name not in (environment or {}):
                variables.pop(name, None)
        self.raw = ""
        # setsid makes this the terminal that Ctrl-C and a new size are told by
        command = ["setsid", "--ctty", *command]
        self.process = subprocess.Popen(command, cwd=folder, env=variables, stdin=inner, stdout=inner, stderr=inner)
        os.close(inner)

    @property
    def text(self) -> str:
        """What was written so far, without colours and moves of the cursor."""
        return _ESCAPES.sub("", self.raw).replace("\r\n", "\n")

    def resize(self, columns: int, lines: int) -> None:
        """Give it another size, as a person does who drags its corner."""
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def enter(self, text: str) -> None:
        """Type."""
        os.write(self._main, text.encode())

    def until(self, text: str, *, raw: bool = False) -> None:
        """Wait until something has been written since the beginning, or the last `forget`."""
        deadline = time.monotonic() + PATIENCE
        while text not in (self.raw if raw else self.text):
            assert time.monotonic() < deadline, f"{text!r} did not come:\n{self.raw!r}"
            assert self._read() or text in (self.raw if raw else self.text), f"{text!r} did not come:\n{self.raw!r}"

    def settle(self) -> None:
        """Wait until it sleeps: Python does not see a signal between its prompt and its reading until a key is hit."""
        deadline = time.monotonic() + PATIENCE
        stat = Path(f"/proc/{self.process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline, "it does not sleep"
            time.sleep(0.05)

    def forget(self) -> None:
        """Forget what was written."""
        self.raw = ""

    def end(self) -> int:
        """Read to the end; return the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, f"it does not end:\n{self.raw!r}"
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        """Read what there is, within a second; say whether more may come."""
        if select.select([self._main], [], [], 1.0)[0]:
            try:
                data = os.read(self._main, 65536)
            except OSError:  # Linux' way to say that the other side is closed
                return False
            self.raw += data.decode(errors="replace")
            return bool(data)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._main)


EXPORTER = [sys.executable, "-m", "exporter"]
"""The command line, without its being installed."""
