"""Memory that is free goes back to the system."""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

__all__ = ["data_limit", "give_back", "memory_limit"]

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_UNLIMITED = 1 << 60
"""Bytes from which on a limit is none: version 1 writes the largest number of pages where there is none."""


def data_limit() -> int | None:
    """Return how many bytes of data the process may set aside, used or not; None where nothing limits them."""
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS))
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=None)


def memory_limit(membership: Path = _MEMBERSHIP, mounted: Path = _CGROUPS) -> int | None:
    """Return how many bytes of memory the process's control groups let it use, as a container's or a systemd unit's; None
    where nothing limits them. Blocking: a few small files.

    Args:
        membership: Which groups it is in: cgroups(7), `/proc/PID/cgroup`.
        mounted: Where they are seen, which is the container's own where it has a namespace of its own.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    limits: list[int] = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if not controllers:
            limits += _limits_along(mounted, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_along(mounted / "memory", path, "memory.limit_in_bytes")
    return min((limit for limit in limits if limit < _UNLIMITED), default=None)


def _limits_along(root: Path, path: str, name: str) -> Iterator[int]:
    """Yield the limits of a group and of those that it is in. One that cannot be seen, or says `max`, has none."""
    group = root / path.lstrip("/")
    for each in (group, *group.parents):
        with suppress(OSError, ValueError):
            yield int((each / name).read_text())
        if each == root:
            return


def give_back() -> bool:
    """Return free memory to the system; say whether there was any. Blocking: some milliseconds, in which other threads that
    want large blocks wait.

    Of what a large scrape took, the C library keeps most for the next one, for ever, also when it was ten at once. Only
    glibc is asked; others return what is free by themselves.
    """
    trim = _trim()
    return bool(trim(0)) if trim is not None else False


@cache  # each opening of a library makes classes anew, which only the garbage collector finds
def _trim() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return trim
