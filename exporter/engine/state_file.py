"""The history in a file, so that it survives a restart: replaced as a whole, bounded, written beside the event loop.

Its first line says what it is and of which version; each other line is one target. A file that is none of ours, of another
version, too large, cut off or damaged is told of and left unread: the history then begins anew, and so does the file.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from exporter.engine.history import Failed, History
from exporter.engine.rollup import Key
from exporter.verdict import Reason, Stage, Verdict

__all__ = ["EVERY", "MOST_BYTES", "BadState", "StateFile", "Unwritten"]

log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between writes."""

MOST_BYTES = 64 << 20
"""Of the file: some 20,000 targets. What does not fit is left out, and told."""

_FORMAT, _VERSION = "hafnium-exporter history", 1

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
        self._path = path
        self._under_way = False

    async def load(self) -> dict[Key, History]:
        """Return what the file holds; nothing where there is none yet, or it cannot be used, which is told in the log."""
        try:
            return await _apart(self._read)
        except FileNotFoundError:
            return {}
        except (BadState, OSError) as error:
            log.warning("the history in %s is left unread, and begins anew: %s", self._path, error)
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
        except OSError as error:
            raise Unwritten(str(error)) from error
        if left_out:
            raise Unwritten(f"of {left_out} targets there was no room in {MOST_BYTES >> 20} MiB")

    def _read(self) -> dict[Key, History]:
        with self._path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise BadState(f"it is larger than {MOST_BYTES >> 20} MiB")
        head, *lines = content.split(b"\n")
        try:
            said = json.loads(head)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict) or said.get("format") != _FORMAT:
            raise BadState("it is no file of this exporter; give server.state_file a path of its own")
        if said.get("version") != _VERSION:
            raise BadState(f"it is of version {str(said.get('version'))[:20]}, and this exporter reads {_VERSION}")
        if lines[-2:] != [b'"end"', b""]:
            raise BadState("it is cut off")
        return dict(_entry(line) for line in lines[:-2])

    def _write(self, entries: Iterable[tuple[Key, tuple[list[tuple[int, bytes, bytes]], list[Failed]]]]) -> int:
        """Write beside the file and put it in its place; return how many entries there was no room for."""
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        left_out, size = 0, 1000
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
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
            beside.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
        return left_out


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

    threading.Thread(target=run, name="state file", daemon=True).start()
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
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error) as error:
        raise BadState(f"it is damaged ({type(error).__name__})") from error


def _failure(first: Any, last: Any, count: Any, verdict: Any, stage: Any, reason: Any, detail: Any) -> Failed:
    known = stage if stage is None else _STAGES[stage], reason if reason is None else _REASONS[reason]
    return Failed(float(first), float(last), int(count), Verdict(verdict), *known, _text(detail))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
