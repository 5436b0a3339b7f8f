"""Encoding of one sample: label escaping and number formatting, valid in text 0.0.4 and in OpenMetrics 1.0."""

from __future__ import annotations

import math
from collections.abc import Iterable
from hashlib import blake2b

from exporter.visible import told_apart

__all__ = ["MAX_LABEL_LENGTH", "format_value", "label_pairs", "sample_prefix", "value_end"]

MAX_LABEL_LENGTH = 1024
"""Label values come from what servers answer; a longer one is cut, so that a hostile answer cannot bloat a scrape."""

_CUT_MARK = 8
"""Bytes of the hash that ends a value that was cut: two that begin alike are still two."""

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def format_value(value: float) -> bytes:
    """Write a sample value: shortest form that reads back to the same float."""
    value = float(value)  # counters come as int
    if value.is_integer() and -1e15 < value < 1e15:
        return b"%d" % value
    if math.isfinite(value):
        return repr(value).encode()
    if math.isnan(value):
        return b"NaN"
    return b"+Inf" if value > 0 else b"-Inf"


_SMALL_ENDS = {float(number): b" %d" % number for number in range(101)}
"""Flags, counts and what never happens: most of all values. Writing one takes four times as long as finding it here."""


def value_end(value: float) -> bytes:
    """Write what ends a sample line: a space and the value. No other value ends a line like that."""
    return _SMALL_ENDS.get(value) or b" %b" % format_value(value)


def escape(value: str) -> str:
    """Escape a label value; cut it to `MAX_LABEL_LENGTH`; mark what would be obeyed rather than shown, and lone surrogates,
    which UTF-8 cannot carry. Two values that differ are never written alike: one of their series would be lost."""
    if len(value) > MAX_LABEL_LENGTH:
        value = _cut(value)
    if value.isascii() and value.isalnum():  # most are: skip the table
        return value
    return told_apart(value, keep="\n").translate(_ESCAPES)


def _cut(value: str) -> str:
    mark = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=_CUT_MARK).hexdigest()
    return f"{value[: MAX_LABEL_LENGTH - 1 - len(mark)]}…{mark}"


def label_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """Write `a="1",b="2"`, without braces."""
    return ",".join(f'{name}="{escape(value)}"' for name, value in pairs)


def sample_prefix(name: str, labels: str) -> bytes:
    """Write everything of a sample line before the space and its value."""
    return f"{name}{{{labels}}}".encode() if labels else name.encode()
