"""Child processes of the benchmark, and the CPU time that they use."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["cpu_seconds", "started", "wait_for"]


def cpu_seconds(pid: int) -> float:
    """Return user and system CPU seconds of a process, all threads: proc(5), stat, fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for as long as the block lasts; it dies with this process."""
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - the benchmark's own commands
            ["setpriv", "--pdeathsig", "KILL", *command],  # noqa: S607 - from util-linux, on the PATH
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(
    url: str,
    process: subprocess.Popen[bytes],
    log: Path,
    seconds: float = 30.0,
    *,
    context: ssl.SSLContext | None = None,
) -> None:
    """Wait until a URL answers 200; over TLS by a context.

    Raises:
        RuntimeError: The process ended or did not answer in time; the text ends with its log.
    """
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1, context=context):  # noqa: S310 - a loopback URL
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not answer at {url}:\n{log.read_text()[-2000:]}")
