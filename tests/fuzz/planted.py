"""Targets with a defect each, to see that it is found."""

from __future__ import annotations

import time

from exporter.verdict import Failure, Reason, Stage
from fuzz.model import Target

__all__ = ["TARGETS"]


def raises(data: bytes) -> object:
    """Read a header of four bytes that may be missing."""
    if data[:1] == b"{":
        if data[1:2] == b"}":
            raise KeyError("status")
        raise Failure(Stage.CHECK, Reason.MALFORMED, "as it is declared")
    return None


def hangs(data: bytes) -> object:
    """Take far too long over some inputs."""
    until = time.thread_time() + 0.2
    while data[:1] == b"{" and time.thread_time() < until:
        pass
    return None


def grows(data: bytes) -> object:
    """Make a lot of a little."""
    return ["x"] * 200_000 if data[:1] == b"{" else []


def surrogates(data: bytes) -> object:
    """Hand out what no label can hold."""
    return data.decode("ascii", "surrogateescape")


def swallows(data: bytes) -> object:
    """Take more and more memory; libFuzzer looks once a second."""
    held: list[bytearray] = []
    while data[:1] == b"{" and len(held) < 90:
        held.append(bytearray(b"x") * (16 << 20))
        time.sleep(0.05)
    return len(held)


def late(data: bytes) -> object:
    """Import a parser when it is used first."""
    from colorsys import rgb_to_hsv  # noqa: PLC0415 - that is what is planted

    return list(rgb_to_hsv(len(data), 1, 1))


_HERE = ("tests.fuzz.planted",)

TARGETS = (
    Target("raises", raises, _HERE),
    Target("hangs", hangs, _HERE, seconds=0.1),
    Target("grows", grows, _HERE),
    Target("surrogates", surrogates, _HERE),
    Target("swallows", swallows, _HERE),
    Target("late", late, ("colorsys",)),
)
