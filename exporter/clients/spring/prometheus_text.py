"""A fast, bounded reader of Prometheus text 0.0.4, for wanted samples only.

An application's answer has thousands of lines, of which a probe wants a part. Lines are told apart by name before anything
else is looked at. Labels are found by splitting at the quotes: what lies between the values, the *shape*, is the same for
all series of a family, so it is checked once and then recognised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from exporter.verdict import Failure, Reason, Stage

__all__ = ["PrometheusText", "Wanted", "parse"]

MAX_LINES = 100_000
MAX_SAMPLES = 50_000

Wanted = Mapping[str, tuple[str, ...]]
"""Sample names (`x_total`, `x_seconds_bucket`), each with the labels to keep, in order."""

Sample = tuple[tuple[str, ...], float]
"""The values of the wanted labels, empty where a label is absent, and the value."""

_FIRST = re.compile(rb"[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*")
_NEXT = re.compile(rb"[ \t]*,[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*")
_END = re.compile(rb"[ \t]*,?[ \t]*")
_PAIR = re.compile(rb'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,[ \t]*|\Z)')
_ESCAPE = re.compile(rb'\\([\\n"])')
_ESCAPED = {b"\\": b"\\", b"n": b"\n", b'"': b'"'}
_TIMESTAMP = re.compile(rb"[+-]?\d+")


@dataclass(frozen=True, slots=True)
class PrometheusText:
    """What was read.

    Attributes:
        samples: Samples by name; names without any are there too, with an empty list.
        malformed: Lines of wanted names that could not be read and were skipped.
    """

    samples: Mapping[str, list[Sample]]
    malformed: int


class _Column:
    """One wanted name: the labels to keep, the shapes seen, the samples found."""

    __slots__ = ("decoded", "labels", "last_heads", "last_picks", "samples", "shapes")

    def __init__(self, labels: tuple[str, ...], samples: list[Sample]) -> None:
        self.labels = tuple(label.encode() for label in labels)
        self.samples = samples
        self.shapes: dict[tuple[bytes, ...], tuple[int, ...] | None] = {}
        self.decoded: dict[bytes, tuple[str]] = {}
        self.last_heads: list[bytes] | None = None
        self.last_picks: tuple[int, ...] | None = None


def parse(body: bytes, wanted: Wanted, *, max_lines: int = MAX_LINES, max_samples: int = MAX_SAMPLES) -> PrometheusText:
    """Read the wanted samples of an answer.

    Raises:
        Failure: `too_large`, where there are more lines or more wanted samples than the limits.
    """
    if body.count(b"\n") >= max_lines:
        raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"more than {max_lines} lines of metrics")
    found: dict[str, list[Sample]] = {name: [] for name in wanted}
    columns = {name.encode(): _Column(labels, found[name]) for name, labels in wanted.items()}
    column_of = columns.get
    left, malformed = max_samples, 0
    for line in body.split(b"\n"):
        name, brace, rest = line.partition(b"{")
        if not brace:
            name, _, rest = line.strip().replace(b"\t", b" ").partition(b" ")
        column = column_of(name.strip())
        if column is None:
            continue
        labels: tuple[str, ...] | None
        if brace:
            block, closing, rest = rest.rpartition(b"}")  # nothing after the labels has a brace
            labels = _labels(column, block) if closing else None
        else:
            labels = ("",) * len(column.labels)
        try:
            value = float(rest) if b"_" not in rest else None  # Python takes 1_000, Prometheus does not
        except ValueError:
            value = _value_with_timestamp(rest)
        if labels is None or value is None:
            malformed += 1
            continue
        left -= 1
        if left < 0:
            raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"more than {max_samples} samples of the wanted metrics")
        column.samples.append((labels, value))
    return PrometheusText(found, malformed)


def _value_with_timestamp(text: bytes) -> float | None:
    tokens = text.split()
    if len(tokens) != 2 or not _TIMESTAMP.fullmatch(tokens[1]):
        return None
    try:
        return float(tokens[0])
    except ValueError:
        return None


def _labels(column: _Column, block: bytes) -> tuple[str, ...] | None:
    if b"\\" in block:
        return _escaped_labels(column.labels, block)
    parts = block.split(b'"')
    if not len(parts) & 1:
        return None
    heads = parts[::2]
    if heads == column.last_heads:  # nearly always, and cheaper than hashing
        picks = column.last_picks
    else:
        shape = tuple(heads)
        if shape not in column.shapes:
            column.shapes[shape] = _picks(shape, column.labels)
        picks = column.last_picks = column.shapes[shape]
        column.last_heads = heads
    if picks is None:
        return None
    if len(picks) == 1:  # the thousands of buckets: few bounds, each decoded once
        raw = parts[picks[0]] if picks[0] else b""
        known = column.decoded.get(raw)
        if known is None:
            known = column.decoded[raw] = (raw.decode("utf-8", "replace"),)
        return known
    return tuple([parts[at].decode("utf-8", "replace") if at else "" for at in picks])


def _picks(shape: tuple[bytes, ...], wanted: tuple[bytes, ...]) -> tuple[int, ...] | None:
    """Find where the wanted labels' values are among the parts; 0, where a value never is, for an absent one."""
    *heads, end = shape
    places: dict[bytes, int] = {}
    for index, head in enumerate(heads):
        match = (_NEXT if index else _FIRST).fullmatch(head)
        if match is None:
            return None
        places[match[1]] = 2 * index + 1
    if not (_END.fullmatch(end) if heads else not end.strip()):
        return None
    return tuple(places.get(label, 0) for label in wanted)


def _escaped_labels(wanted: tuple[bytes, ...], block: bytes) -> tuple[str, ...] | None:
    values: dict[bytes, bytes] = {}
    at = 0
    while at < len(block):
        match = _PAIR.match(block, at)
        if match is None:
            return None
        values[match[1]] = match[2]
        at = match.end()
    return tuple(_unescape(values.get(label, b"")).decode("utf-8", "replace") for label in wanted)


def _unescape(value: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: _ESCAPED[match[1]], value) if b"\\" in value else value
