"""Files as they are read everywhere: regular ones alone, at once, and never more of them than makes sense."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["read_regular"]

MOST = 16 << 20
"""Bytes that are read of a file where nothing else is said: bundles of all authorities there are have a quarter of a MiB."""

_PIECE = 65_536


def read_regular(path: Path, most: int = MOST) -> bytes:
    """Read a file, at most so many bytes of it and one. Blocking. Takes as much memory as the file has.

    A named pipe that nobody writes to would hold its reader for ever, a device never end, and a file that is larger than any
    of its kind take the memory: none of them is what was meant.

    Raises:
        OSError: It cannot be read, or is no regular file.
        ValueError: It is no path, having a null character.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "it is not a regular file")
        pieces, left = [], most + 1
        while piece := file.read(min(left, _PIECE)):  # asked for all at once, all that may come were set aside before
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for a writer, as a named pipe would have it."""
    return os.open(path, flags | os.O_NONBLOCK)
