"""A fast, bounded reader of Prometheus text 0.0.4, for wanted samples only, in pieces.

An application's answer has thousands of lines, of which a probe wants a part. Lines are told apart by name before anything
else is looked at. Labels are found by splitting at the quotes: what lies between the values, the *shape*, is the same for
all series of a family, so it is checked once and then recognised. A histogram's buckets differ in their bound alone, which
comes last: what is before it is recognised as a whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import add

from exporter.verdict import Failure, Reason, Stage

__all__ = ["PrometheusText", "Reader", "Summed", "Wanted", "parse", "pieces"]

MAX_LINES = 100_000
MAX_SAMPLES = 50_000

PIECE_BYTES = 65_536
"""About as much as is read at once: less than a millisecond's work."""


@dataclass(frozen=True, slots=True)
class Summed:
    """Labels to sum a name's samples by. What no total can have, negative, infinite, not a number, is left out."""

    labels: tuple[str, ...]


Wanted = Mapping[str, tuple[str, ...] | Summed]
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
_NO_RUN = b"\n"
"""What no line begins with."""

_NUMERIC = b"+-.0123456789EINaefn"
"""Of what a bound and a value consist, `+Inf` and `1.5E-5` included: what is left without it must be `_SKELETON`."""

_SKELETON = b'"} \n'

_KEPT_BLOCK = 1024
"""Longest labels whose shape is remembered beyond one answer."""


@dataclass(frozen=True, slots=True)
class PrometheusText:
    """What was read.

    Attributes:
        samples: Samples by name; names without any are there too, with an empty list. Of `Summed` names one for each set of
            labels.
        malformed: Lines of wanted names that could not be read and were skipped.
    """

    samples: Mapping[str, list[Sample]]
    malformed: int


_last_shapes: dict[tuple[bytes, tuple[bytes, ...]], tuple[list[bytes], tuple[int, ...]]] = {}
"""For each wanted name what was between the label values of the last line that was odd, and where the wanted ones are: the
applications of a fleet write the same. As many as there are wanted names."""


class _Column:
    """One wanted name: the labels to keep, the shapes seen, the samples found."""

    __slots__ = (
        "bounds", "decoded", "ends_in_wanted", "heads", "labels", "last_heads", "last_picks", "length", "lines", "name",
        "picks", "samples", "shapes", "sums", "texts", "totals",
    )  # fmt: skip

    def __init__(self, name: bytes, wanted: tuple[str, ...] | Summed) -> None:
        names = wanted.labels if isinstance(wanted, Summed) else wanted
        self.name = name
        self.labels = tuple(label.encode() for label in names)
        self.lines = 0
        self.samples: list[Sample] = []
        self.sums: dict[tuple[str, ...], float] | None = {} if isinstance(wanted, Summed) else None
        self.texts: dict[bytes, float] = {}
        """Sums by the text of the only label, as it was written: of buckets, which are the most by far."""
        self.bounds: list[bytes] = []
        self.totals: list[float] = []
        """Sums of a whole row of buckets, which is nearly always the same row again."""
        self.shapes: dict[tuple[bytes, ...], tuple[int, ...] | None] = {}
        self.decoded: dict[bytes, tuple[str]] = {}
        self.last_heads: list[bytes] | None = None
        self.last_picks: tuple[int, ...] | None = None
        self._recognise(*_last_shapes.get((name, self.labels), ([], ())))

    def _recognise(self, heads: list[bytes], picks: tuple[int, ...]) -> None:
        self.heads, self.picks = heads, picks
        self.length = 2 * len(heads) + 1
        self.ends_in_wanted = self.sums is not None and picks == (self.length - 2,)

    def remember(self, line: bytes, picks: tuple[int, ...], *, keep: bool) -> None:
        """Recognise lines of the same shape as this one, which was read; in other answers too, if it is to be kept."""
        heads = line.split(b'"')[:-1:2]
        self._recognise(heads, picks)
        if keep:
            _last_shapes[self.name, self.labels] = heads, picks

    def found(self) -> list[Sample]:
        """Return the samples, or the sums."""
        if self.sums is None:
            return self.samples
        sums = self.sums
        if not self.bounds and not self.texts:
            return list(sums.items())
        self.add_row([], [])
        for text, total in self.texts.items():
            labels = (text.decode("utf-8", "replace"),)
            sums[labels] = sums.get(labels, 0.0) + total
        self.texts = {}
        return list(sums.items())

    def add_row(self, bounds: list[bytes], values: list[float]) -> None:
        """Add the buckets of one series."""
        if bounds == self.bounds:
            self.totals = list(map(add, self.totals, values))
            return
        for text, total in zip(self.bounds, self.totals, strict=True):
            self.texts[text] = self.texts.get(text, 0.0) + total
        self.bounds, self.totals = bounds, values


def parse(body: bytes, wanted: Wanted, *, max_lines: int = MAX_LINES, max_samples: int = MAX_SAMPLES) -> PrometheusText:
    """Read the wanted samples of an answer at once.

    Raises:
        Failure: `too_large`, where there are more lines or more wanted samples than the limits.
    """
    reader = Reader(wanted, max_lines=max_lines, max_samples=max_samples)
    for piece in pieces(body, max_lines=max_lines):
        reader.read(piece)
    return reader.result()


def pieces(body: bytes, *, max_lines: int = MAX_LINES) -> Iterator[bytes]:
    """Cut an answer at line ends, into pieces that are short to read.

    Raises:
        Failure: `too_large`, at once, where there are more lines than the limit.
    """
    if len(body) >= max_lines <= body.count(b"\n"):
        raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"more than {max_lines} lines of metrics")
    at = 0
    while len(body) - at > 2 * PIECE_BYTES:
        end = body.find(b"\n", at + PIECE_BYTES)
        if end < 0:
            break
        yield body[at:end]
        at = end + 1
    yield body[at:] if at else body


class Reader:
    """Reads an answer piece by piece.

    Args:
        wanted: What to read.
        max_lines: More lines in one piece are not believed.
        max_samples: Nor more wanted samples in all.
    """

    def __init__(self, wanted: Wanted, *, max_lines: int = MAX_LINES, max_samples: int = MAX_SAMPLES) -> None:
        self._wanted = wanted
        self._columns: dict[bytes, _Column | None] = dict.fromkeys(_encoded(tuple(wanted)))
        self._max_samples = self._left = max_samples
        self._malformed = 0
        self._run = _NO_RUN
        self._row: list[bytes] = []
        self._of: _Column | None = None

    def result(self) -> PrometheusText:
        """Return what was read so far."""
        columns = zip(self._wanted, self._columns.values(), strict=True)
        return PrometheusText({name: column.found() if column else [] for name, column in columns}, self._malformed)

    def read(self, piece: bytes) -> None:
        """Read whole lines.

        Raises:
            Failure: `too_large`, where there are more wanted samples than the limit.
        """
        columns = self._columns
        run, row = self._run, self._row
        start = len(run)
        for line in piece.split(b"\n"):
            if line.startswith(run):  # another bucket of the same series
                row.append(line[start:])
                continue
            name, brace, rest = line.partition(b"{")
            if not brace:
                if line.startswith(b"#"):
                    continue
                name, _, rest = line.strip().replace(b"\t", b" ").partition(b" ")
            if name not in columns:
                name = name.strip()
                if name not in columns:
                    continue
            column = columns[name]
            if column is None:
                column = columns[name] = _Column(name, self._wanted[name.decode()])
            if self._take(column, line, bool(brace), rest):
                run, row = self._run, self._row
                start = len(run)
        self._end_row()
        if self._left < 0:
            raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"more than {self._max_samples} samples of the wanted metrics")

    def _take(self, column: _Column, line: bytes, brace: bool, rest: bytes) -> bool:
        """Take a line of a wanted name; return whether what it begins with is recognised from here on."""
        if brace and b"\\" not in line:
            parts = line.split(b'"')
            tail = parts[-1]
            if len(parts) == column.length and parts[:-1:2] == column.heads and tail.startswith(b"}") and b"_" not in tail:
                try:
                    value = float(tail[1:])
                except ValueError:
                    pass  # there may be a timestamp
                else:
                    labels = tuple([parts[at].decode("utf-8", "replace") if at else "" for at in column.picks])
                    self._add(column, labels, value)
                    return column.ends_in_wanted and column.lines > 1 and self._begin_row(column, line, parts)
        self._take_odd(column, line, brace, rest)
        return False

    def _take_odd(self, column: _Column, line: bytes, brace: bool, rest: bytes) -> None:
        """Take a line that is not of the same shape as the one of its name before it."""
        block = b""
        labels: tuple[str, ...] | None = ("",) * len(column.labels)
        if brace:
            block, closing, rest = rest.rpartition(b"}")  # nothing after the labels has a brace
            labels = _labels(column, block) if closing else None
        value = _value(rest)
        if labels is None or value is None:
            self._malformed += 1
            return
        if block.endswith(b'"') and b"\\" not in block and column.last_picks is not None:
            column.remember(line, column.last_picks, keep=len(block) <= _KEPT_BLOCK)
        self._add(column, labels, value)

    def _add(self, column: _Column, labels: tuple[str, ...], value: float) -> None:
        self._left -= 1
        column.lines += 1
        if column.sums is None:
            column.samples.append((labels, value))
        elif 0 <= value < math.inf:
            column.sums[labels] = column.sums.get(labels, 0.0) + value

    def _begin_row(self, column: _Column, line: bytes, parts: list[bytes]) -> bool:
        """Recognise lines that differ from this one in the value of the last label, the wanted one, and in their value."""
        self._end_row()
        self._run = line[: -len(parts[-1]) - len(parts[-2]) - 1]
        self._of = column
        return True

    def _end_row(self) -> None:
        """Take the lines that were recognised: all at once where they are as they always are."""
        row, column = self._row, self._of
        if not row or column is None:
            return
        self._row = []
        text = b"\n".join(row)
        if text.translate(None, _NUMERIC) == (_SKELETON * len(row))[:-1]:
            both = text.replace(b'"} ', b"\n").split(b"\n")
            try:
                values = list(map(float, both[1::2]))
            except ValueError:
                values = [math.nan]
            if len(both) == 2 * len(row) and sum(values) < math.inf and min(values) >= 0:
                self._left -= len(row)
                column.add_row(both[::2], values)
                return
        run, self._run = self._run, _NO_RUN
        for tail in row:
            self._take(column, run + tail, True, (run + tail).partition(b"{")[2])  # noqa: FBT003 - it has a brace
        self._run, self._row = run, []


@lru_cache(maxsize=16)
def _encoded(names: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(name.encode() for name in names)


def _value(text: bytes) -> float | None:
    if b"_" in text:  # Python takes 1_000, Prometheus does not
        return _value_with_timestamp(text)
    try:
        return float(text)
    except ValueError:
        return _value_with_timestamp(text)


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
            find = _known_picks if len(block) <= _KEPT_BLOCK else _picks
            column.shapes[shape] = find(shape, column.labels)
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


_known_picks = lru_cache(maxsize=1024)(_picks)
"""The shapes that a fleet's applications have are few, and the same at each attempt."""


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
