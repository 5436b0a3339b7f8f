"""What a target is, and what every target demands of the parser that it feeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from exporter.config.errors import ConfigError
from exporter.verdict import Failure
from exporter.visible import visible

__all__ = ["MAX_INPUT", "Finding", "Target", "checked", "run_one"]

MAX_INPUT = 4096
"""Bytes of an input: limits on more than that are held by the tests of each parser."""

MAX_WEIGHT = 100_000
"""What `Target.most` is, unless the target says otherwise: an input has 4,096 bytes at most."""


class Finding(Exception):  # noqa: N818 - it says what was found
    """A parser did what it must not."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parser, or several that read the same bytes.

    Attributes:
        name: As it is asked for on the command line; its corpus is the folder of that name.
        run: Feeds an input; a function of the module whose `TARGETS` have the target. It raises nothing but what `declared`
            has, and `Finding`.
        covers: Modules of the exporter whose reading is held by it.
        declared: The errors by which the parsers may refuse, which their docstrings name.
        seconds: CPU time that an input may take, under instrumentation, which makes Python several times slower.
        most: Characters and elements that may come of an input.
        also: Packages of others that are instrumented too.
    """

    name: str
    run: Callable[[bytes], object]
    covers: tuple[str, ...]
    declared: tuple[type[Exception], ...] = (Failure,)
    seconds: float = 0.25
    most: int = MAX_WEIGHT
    also: tuple[str, ...] = ()


def run_one(target: Target, data: bytes) -> None:
    """Feed one input to a target.

    Raises:
        Finding: The output is not bounded, cannot be written, or took too long, also when it was tried again.
        Exception: Whatever the parser raises that it has not declared.
    """
    if _run(target, data, time.monotonic) <= target.seconds:
        return  # so it took no more CPU time: asking for that is a call of the system's, dearer than most inputs
    took = min(_run(target, data, time.thread_time) for _ in range(3))
    if took > target.seconds:
        raise Finding(f"{len(data)} bytes took {took:.2f} s of CPU time, three times over")


def _run(target: Target, data: bytes, clock: Callable[[], float]) -> float:
    """Feed an input, look at what came of it, and return how long that took by a clock."""
    began = clock()
    try:
        found = target.run(data)
    except target.declared as refusal:
        found = None
        _check_refusal(refusal)
    took = clock() - began
    checked(found, target.most)
    return took


def _check_refusal(refusal: Exception) -> None:
    if isinstance(refusal, Failure):
        text = str(refusal)
        if len(refusal.detail) > Failure.MAX_DETAIL or visible(text) != text:
            raise Finding(f"a detail that is no line for people: {text!r}")
    elif isinstance(refusal, ConfigError):
        checked(str(refusal))


def checked(found: object, most: int = MAX_WEIGHT) -> None:
    """Demand of an output that it is bounded, and that its texts can be written: as labels, on pages, in the log.

    Raises:
        Finding: It is not.
    """
    left = most
    stack: list[object] = [found]
    while stack:
        each = stack.pop()
        left -= 1
        match each:
            case str():
                left -= len(each)
                _check_text(each)
            case bytes():
                left -= len(each)
            case _:
                stack.extend(_parts(each))
        if left < 0:
            raise Finding(f"an output of more than {most} characters and elements")


def _check_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Finding(f"a text that UTF-8 cannot carry: {text!r}") from None


def _parts(found: object) -> Iterable[object]:
    if isinstance(found, Mapping):
        return [*found.keys(), *found.values()]
    if isinstance(found, list | tuple | set | frozenset):
        return found
    if is_dataclass(found) and not isinstance(found, type):
        instance: Any = found
        return [getattr(instance, item.name) for item in fields(instance)]
    return ()
