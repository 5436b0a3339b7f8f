"""The history in a file, so that it survives a restart: replaced as a whole, bounded, written beside the event loop.

Its first line says what it is and of which version; each other line is one target. One that is cut off or damaged is told of
and left unread: the history then begins anew, and so does the file. What is none of ours, or of another version, is neither
read nor replaced: it is somebody's. One exporter writes a file at a time: whoever holds the lock beside it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import errno
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from exporter.engine.history import MOST_DETAIL, Failed, History
from exporter.engine.rollup import Key
from exporter.net.pool import start_thread
from exporter.reading import read_regular
from exporter.verdict import Reason, Stage, Verdict

__all__ = ["EVERY", "MOST_BYTES", "BadState", "StateFile", "Unwritten"]

log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between writes."""

MOST_BYTES = 64 << 20
"""Of the file: some 20,000 targets. What does not fit is left out, and told."""

_FORMAT, _VERSION = "hafnium-exporter history", 1

_MOST_HEAD = 1000
"""Bytes of a first line of ours, and far more."""

_END_OF_TIME = 253_402_300_800.0
"""The year 10,000: no calendar goes further, and no clock is as wrong as that."""

_STAGES, _REASONS = {str(stage.value): stage for stage in Stage}, {str(reason.value): reason for reason in Reason}

T = TypeVar("T")


class BadState(Exception):  # noqa: N818 - it says what the file is
    """The file cannot be used; the text says why."""


class Unwritten(Exception):  # noqa: N818 - it says what has become of it
    """The file could not be written; the text says why."""


class StateFile:
    """One file.

    Args:
        path: Where.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._under_way = False
        self._lock: int | None = None

    def close(self) -> None:
        """Let another exporter write the file. One that is under way ends as it would."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    async def load(self) -> dict[Key, History]:
        """Return what the file holds; nothing where there is none yet, or it cannot be used, which is told in the log."""
        try:
            return await _apart(self._read)
        except FileNotFoundError:
            return {}
        except (BadState, OSError) as error:
            log.warning("the history in %s is left unread, and begins anew: %s", self.path, error)
            return {}

    async def write(self, entries: Iterable[tuple[Key, tuple[list[tuple[int, bytes, bytes]], list[Failed]]]]) -> None:
        """Replace the file.

        Args:
            entries: What it is to hold: of each target what `History.dump` gives.

        Raises:
            Unwritten: It could not be; the old one is there as it was.
        """
        if self._under_way:
            raise Unwritten("the write before hangs")
        self._under_way = True

        def write() -> int:
            try:
                return self._write(entries)
            finally:
                self._under_way = False

        try:
            left_out = await _apart(write)
        except (BadState, OSError) as error:
            raise Unwritten(str(error)) from error
        if left_out:
            raise Unwritten(f"of {left_out} targets there was no room in {MOST_BYTES >> 20} MiB")

    def _read(self) -> dict[Key, History]:
        content = read_regular(self.path, MOST_BYTES)
        if len(content) > MOST_BYTES:
            raise BadState(f"it is larger than {MOST_BYTES >> 20} MiB")
        head, *lines = content.split(b"\n")
        _check_head(head)
        if lines[-2:] != [b'"end"', b""]:
            raise BadState("it is cut off")
        return dict(_entry(line) for line in lines[:-2])

    def _write(self, entries: Iterable[tuple[Key, tuple[list[tuple[int, bytes, bytes]], list[Failed]]]]) -> int:
        """Write beside the file and put it in its place; return how many entries there was no room for."""
        path = Path(os.path.realpath(self.path))  # of a link what it leads to is replaced, in its own file system
        _check_replaceable(path)
        self._take_lock(path)
        beside = path.with_name(f".{path.name}.new")
        left_out, size = 0, 1000
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()  # of a writer that was killed
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(_line({"format": _FORMAT, "version": _VERSION}))
                for key, (rings, failures) in entries:
                    line = _line({"key": key, "rings": list(map(_ring, rings)), "failures": list(map(_failed, failures))})
                    size += len(line)
                    if size > MOST_BYTES:
                        left_out += 1
                    else:
                        file.write(line)
                file.write(b'"end"\n')
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
        return left_out

    def _take_lock(self, path: Path) -> None:
        """See to it that nobody else writes. The system lets go of the lock when the process ends, however it does."""
        if self._lock is not None:
            return
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise BadState("another exporter keeps its history there: each needs a file of its own") from None
        except OSError as error:
            os.close(lock)
            if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                raise
        else:
            self._lock = lock


def _check_head(head: bytes) -> None:
    """Find out whether a file is ours, and of our version, by its first line."""
    try:
        said = json.loads(head)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or said.get("format") != _FORMAT:
        raise BadState("it is no file of this exporter; give server.state_file a path of its own")
    if said.get("version") != _VERSION:
        raise BadState(f"it is of version {str(said.get('version'))[:20]}, and this exporter reads {_VERSION}: move it away")


def _check_replaceable(path: Path) -> None:
    """See to it that nothing of somebody else's is replaced. What is empty is nothing: a machine that lost its power."""
    try:
        head = read_regular(path, _MOST_HEAD)
    except FileNotFoundError:
        return
    if head:
        _check_head(head.partition(b"\n")[0])


async def _apart(work: Callable[[], T]) -> T:
    """Do something in a thread that nobody waits for at the end: a disk may hang for as long as it likes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            found = work()
        except Exception as error:
            _tell(loop, partial(_fail, done, error))
        else:
            _tell(loop, partial(_succeed, done, found))

    start_thread(run, "state file")
    return await done


def _tell(loop: asyncio.AbstractEventLoop, how: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(how)


def _succeed(done: asyncio.Future[T], found: T) -> None:
    if not done.done():
        done.set_result(found)


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _ring(ring: tuple[int, bytes, bytes]) -> list[object]:
    newest, counts, times = ring
    return [newest, base64.b64encode(counts).decode(), base64.b64encode(times).decode()]


def _failed(failed: Failed) -> list[object]:
    return [str(item) if isinstance(item, str) else item for item in failed]


def _entry(line: bytes) -> tuple[Key, History]:
    try:
        said: Mapping[str, Any] = json.loads(line)
        service, probe, target = map(_text, said["key"])
        rings = [(int(newest), base64.b64decode(counts), base64.b64decode(times)) for newest, counts, times in said["rings"]]
        failures = [_failure(*items) for items in said["failures"]]
        return (service, probe, target), History.loaded(rings, failures)
    except (ArithmeticError, ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error) as error:
        raise BadState(f"it is damaged ({type(error).__name__})") from error


def _failure(first: Any, last: Any, count: Any, verdict: Any, stage: Any, reason: Any, detail: Any) -> Failed:
    known = stage if stage is None else _STAGES[stage], reason if reason is None else _REASONS[reason]
    first, last = float(first), float(last)
    if not 0 <= first <= last < _END_OF_TIME:
        raise ValueError("a time that is none")
    return Failed(first, last, int(count), Verdict(verdict), *known, _text(detail)[:MOST_DETAIL])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # half a character, which no page could be made of, is a ValueError
    return value
