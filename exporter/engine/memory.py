"""Memory that is free goes back to the system."""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Callable
from functools import cache

__all__ = ["data_limit", "give_back"]


def data_limit() -> int | None:
    """Return how many bytes of data the process may set aside, used or not; None where nothing limits them."""
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS))
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=None)


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
