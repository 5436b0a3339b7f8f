"""Text that servers answer with as lines of `name:value`: INFO and CLUSTER INFO."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Set
from itertools import compress
from operator import ne

from exporter.clients.redis.resp import Answer
from exporter.verdict import Failure, Reason, Stage

__all__ = ["FieldFollower", "FieldReader", "Fields", "parse_fields"]

_WHOLE = re.compile(r"-?\d{1,20}", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,20}(?:\.\d{1,20})?", re.ASCII)
_NONE = frozenset({"nan", "-nan", "inf", "-inf"})
"""How a server writes a quotient without a denominator."""

_MOST_KEPT = 65_536
"""Bytes of an answer that the next one is held against; what is longer is read anew."""


class Fields:
    """The fields of one answer.

    Args:
        source: What was asked, for errors.
        fields: Names and values.
    """

    def __init__(self, source: str, fields: Mapping[str, str]) -> None:
        self._source = source
        self._fields = fields

    def text(self, name: str) -> str | None:
        """Return a field as it is; None where the server does not give it."""
        return self._fields.get(name)

    def number(self, name: str) -> float | None:
        """Return a whole number; None where the server does not give it.

        Raises:
            Failure: It is not a whole number that a sample can hold.
        """
        text = self._fields.get(name)
        if text is None:
            return None
        if _WHOLE.fullmatch(text) is None:
            raise self._malformed(name, "a whole number")
        return float(text)

    def decimal(self, name: str) -> float | None:
        """Return a number that may have a fraction; None where there is none, or it is the quotient of nothing.

        Raises:
            Failure: It is not a number.
        """
        text = self._fields.get(name)
        if text is None or text in _NONE:
            return None
        if _DECIMAL.fullmatch(text) is None:
            raise self._malformed(name, "a number")
        return float(text)

    def among(self, names: Set[str]) -> Set[str]:
        """Return those of the names that the server gives."""
        return names & self._fields.keys()

    def within(self, name: str) -> Fields:
        """Return the fields of a field, such as those of `db0:keys=3,expires=1`; none where the server does not give it."""
        pairs = (pair.partition("=") for pair in self._fields.get(name, "").split(","))
        return Fields(f"{self._source}: {name}", {key: value for key, equals, value in pairs if equals})

    def _malformed(self, name: str, expected: str) -> Failure:
        return Failure(Stage.CHECK, Reason.MALFORMED, f"{self._source}: {name} is not {expected}")


def parse_fields(source: str, answer: Answer) -> Mapping[str, str]:
    """Return the fields of an answer; section headings and the rest are left out.

    Raises:
        Failure: The answer is not text.
    """
    pairs = [line.partition(":") for line in _text(source, answer).split("\r\n")]
    return {name: value for name, colon, value in pairs if colon}


class FieldReader:
    """Reads those fields of an answer that are wanted, as `parse_fields` reads all.

    Of the 250 lines of INFO a sixth is wanted: looking for those takes a third of the time of splitting all.

    Args:
        source: What is asked, for errors.
        names: Of the fields.
    """

    def __init__(self, source: str, names: Collection[str]) -> None:
        self.names = frozenset(names)
        self._source = source
        self._field = re.compile(rf"\n({_any_of(sorted(names))}):([^\r\n]*)")

    def read(self, answer: Answer) -> Mapping[str, str]:
        """Return the fields; raises as `parse_fields` does."""
        return dict(self.pairs(answer))

    def pairs(self, answer: Answer) -> list[tuple[str, str]]:
        """Return the fields in the order of the answer, one that it gives twice as often; of these the last one counts."""
        return self._field.findall("\n" + _text(self._source, answer))


class FieldFollower:
    """Reads one server's answers, one after the other, and tells which fields are not as they were.

    Most lines are those of the answer before, in the same places: to find those that are not takes a fifth of the time of
    reading all.

    Args:
        reader: Reads an answer that cannot be held against the one before.
    """

    def __init__(self, reader: FieldReader) -> None:
        self._reader = reader
        self._names = {name.encode(): name for name in reader.names}
        self._fields: Mapping[str, str] = {}
        self._answer: bytes | None = None

    def read(self, answer: Answer) -> tuple[Mapping[str, str], Set[str]]:
        """Return the fields, and the names of those that have changed, come or gone; of the first answer all that it has.

        Raises:
            Failure: As for `FieldReader.read`; what comes next is held against the answer before.
        """
        before = self._fields
        new = self._changed(answer)
        if new is not None:
            self._answer, self._fields = answer if isinstance(answer, bytes) else None, {**before, **new}
            return self._fields, new.keys()
        pairs = self._reader.pairs(answer)
        self._fields = dict(pairs)
        told_once = len(pairs) == len(self._fields)  # else the first of two may change, of which the second counts
        self._answer = answer if isinstance(answer, bytes) and len(answer) <= _MOST_KEPT and told_once else None
        return self._fields, {name for name, _ in before.items() ^ self._fields.items()}

    def _changed(self, answer: Answer) -> dict[str, str] | None:
        """Return the fields whose lines have changed; None where lines have come, gone, or changed their places."""
        if self._answer is None or not isinstance(answer, bytes):
            return None
        now, before = answer.split(b"\n"), self._answer.split(b"\n")
        if len(now) != len(before):
            return None
        found: dict[str, str] = {}
        for line, old in compress(zip(now, before, strict=True), map(ne, now, before)):
            field, colon, value = line.partition(b":")
            if not colon or not old.startswith(field + colon):
                return None
            name = self._names.get(field)
            if name is not None:
                found[name] = value.partition(b"\r")[0].decode("utf-8", "replace")
        return found


def _text(source: str, answer: Answer) -> str:
    if not isinstance(answer, bytes):
        raise Failure(Stage.CHECK, Reason.MALFORMED, f"the answer to {source} is not text")
    return answer.decode("utf-8", "replace")


def _any_of(names: Iterable[str]) -> str:
    """Write an expression for any of the names, which branches by the next character: one by one takes ten times as long."""
    tails: dict[str, list[str]] = {}
    for name in names:
        tails.setdefault(name[:1], []).append(name[1:])
    branches = (re.escape(first) + (_any_of(rest) if first else "") for first, rest in tails.items())
    return f"(?:{'|'.join(branches)})"
