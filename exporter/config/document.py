"""YAML with places: plain values, and for every path the line and column it came from.

Built on PyYAML's composer, because its loader forgets places and lets a duplicate key win silently. Of YAML 1.1's types only
null, bool, int and float are known: a plain `2026-01-31` or `12:30:00` is text, as it is in YAML 1.2.

No message here repeats what the file holds: any of it may be a secret that was written in the wrong place or shape.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.reader import ReaderError

from exporter.config.errors import ConfigError, Problem
from exporter.reading import read_regular

__all__ = ["Document", "Fault", "Location", "Place", "parse_document", "read_document", "read_text"]

Place = tuple[int, int]
Location = tuple[str | int, ...]

MAX_BYTES = 4 * 1024 * 1024
_MAX_NODES = 200_000
_MAX_DEPTH = 40
_MAX_NUMBER = 40
"""Characters of a number; what is longer stays text, and is told as such where a number is expected."""

_VARIABLE = re.compile(r"\$(?:\$\{|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\{[^}]*\}?)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_VARIABLE_TOLD = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_QUOTED = re.compile(r"""(?<!\w)(['"])(?:\\.|(?!\1).)*\1""")
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_COLLECTIONS = (_TAG + "map", _TAG + "seq")
_NUMBERS = (_TAG + "int", _TAG + "float")
_CONSTRUCTED = (*_NUMBERS, _TAG + "bool", _TAG + "null")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with the text at a path."""

    location: Location
    place: Place
    message: str


@dataclass(slots=True)
class Document:
    """A parsed file: its value, the place of every path in it, and what was wrong with the text."""

    file: str
    value: Any = None
    places: dict[Location, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def place(self, location: Location) -> Place:
        """Return the place of a path, or of the nearest enclosing path that has one."""
        for end in range(len(location), 0, -1):
            if location[:end] in self.places:
                return self.places[location[:end]]
        return self.places.get((), (0, 0))


def read_document(path: Path, environment: Mapping[str, str] | None = None) -> Document:
    """Read a YAML file and put environment variables in for `${NAME}` and `${NAME:-default}` (`$${` is a plain `${`).

    Raises:
        ConfigError: The file cannot be read or is not YAML; other problems are collected in the document.
    """
    return parse_document(read_text(path), str(path), os.environ if environment is None else environment)


def read_text(path: Path) -> str:
    """Read a file of text.

    Raises:
        ConfigError: It cannot be read, is no text, or is too large.
    """
    name = str(path)
    try:
        raw = read_regular(path, MAX_BYTES)
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(name, _place_in(error.object[: error.start].decode("utf-8", "replace")), "is not UTF-8 text")
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = error.strerror if isinstance(error, OSError) else "it is not a path"
        _refuse(name, (0, 0), f"cannot be read: {reason}")
    if len(raw) > MAX_BYTES:
        _refuse(name, (0, 0), f"is larger than {MAX_BYTES} bytes")
    return text


def parse_document(text: str, name: str, environment: Mapping[str, str]) -> Document:
    """Parse YAML text; see `read_document`."""
    try:
        node = _compose(text)
    except _TooMuch as error:
        _refuse(name, error.place, "is nested or repeated too much")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        _refuse(name, place, f"is not YAML: {_QUOTED.sub(_punctuation, error.problem or error.context or '')}")
    except ReaderError as error:
        _refuse(name, _place_in(text[: error.position]), "is not YAML: has a character that text cannot have")
    document = Document(name)
    if node is None:
        _refuse(name, (1, 1), "is empty; expected a mapping with the key services")
    document.value = _Builder(document, environment).build(node, (), _mark(node))
    return document


def _refuse(file: str, place: Place, message: str) -> NoReturn:
    raise ConfigError([Problem(file, *place, "", message)]) from None  # the cause quotes the file


def _place_in(before: str) -> Place:
    """Return the place that comes after a text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _punctuation(quoted: re.Match[str]) -> str:
    """Keep what YAML's own words quote: one character, or a token such as <block end>."""
    inner = quoted[0][1:-1]
    return quoted[0] if len(inner) == 1 or re.fullmatch(r"<[a-z ]+>|,' or '\]|,' or '\}", inner) else "…"


def _mark(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


class _TooMuch(Exception):  # noqa: N818 - it says what is wrong
    """There is more than any configuration has, or it is nested deeper."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place


class _Composer(yaml.SafeLoader):
    """Composes nodes within bounds: beyond them, it would take the stack or the memory."""

    depth = nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        self.nodes += 1
        if self.depth > _MAX_DEPTH or self.nodes > _MAX_NODES:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call] # the stubs leave it out
            raise _TooMuch((mark.line + 1, mark.column + 1))
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str) -> yaml.Node | None:
    composer = _Composer(text)
    try:
        return composer.get_single_node()
    except (ValueError, OverflowError):  # PyYAML converts `\U` beyond Unicode, and a version of any length, as they are
        mark = composer.get_mark()
        raise yaml.MarkedYAMLError(
            problem="has a number that is none of a character or a version", problem_mark=mark
        ) from None
    finally:
        composer.dispose()


class _Builder:
    """Turns nodes into values, noting places; aliases are expanded under a budget, against alias bombs."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment
        self._yaml = yaml.SafeLoader("")
        self._nodes = 0
        self._depth = 0

    def build(self, node: yaml.Node, location: Location, place: Place) -> Any:
        """Return the value of a node. Its place is that of its key, where it has one."""
        self._document.places[location] = place
        if isinstance(node, yaml.ScalarNode):
            self._spend(node)
            return self._scalar(node, location)
        if node.tag not in _COLLECTIONS:
            self._report(location, _mark(node), "has a tag; none is used here")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        self._spend(node)
        self._depth += 1
        built = [self.build(item, (*location, index), _mark(item)) for index, item in enumerate(node.value)]
        self._depth -= 1
        return built

    def _spend(self, node: yaml.Node) -> None:
        self._nodes += 1
        if self._nodes > _MAX_NODES or self._depth > _MAX_DEPTH:
            _refuse(self._document.file, _mark(node), "is nested or repeated too much")

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        """Build a mapping: what it merges (`<<`) first, so that what it says itself wins."""
        self._spend(node)
        self._depth += 1
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        result: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                self._merge(key, value, location, result)
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._report(location, _mark(key), "has a key that is not a plain word")
                continue
            self._text(key.value, key, location)
            path = (*location, key.value)
            if keys[key.value] > 1:
                self._report(path, _mark(key), "is given more than once")
                keys[key.value] = 1  # told once, at the first
            if key.tag != _MERGE:
                result[key.value] = self.build(value, path, _mark(key))
        self._depth -= 1
        return result

    def _merge(self, key: yaml.Node, node: yaml.Node, location: Location, result: dict[str, Any]) -> None:
        """Put in what is merged; of several mappings the first wins."""
        several = isinstance(node, yaml.SequenceNode)
        for part in reversed(node.value) if several else [node]:
            if isinstance(part, yaml.MappingNode):
                result.update(self._mapping(part, location))
            else:
                self._report(location, _mark(key), "<< merges a mapping, or a list of mappings")

    def _scalar(self, node: yaml.ScalarNode, location: Location) -> Any:
        text: str = node.value
        if "${" in text:
            text = _VARIABLE.sub(lambda match: self._variable(match, node, location), text)
            return self._text(text, node, location)
        implicit = self._implied_tag(node) == node.tag
        if node.tag in _CONSTRUCTED and not (node.tag in _NUMBERS and (":" in text or len(text) > _MAX_NUMBER)):
            try:
                return self._yaml.construct_object(node)
            except Exception:  # PyYAML lets whatever its conversions raise through: KeyError, IndexError, AttributeError …
                if not implicit:
                    self._report(location, _mark(node), f"is not a valid {node.tag.removeprefix(_TAG)}")
        elif not implicit and node.tag != _TAG + "str":
            self._report(location, _mark(node), "has a tag; none is used here, and text that begins with ! is put in quotes")
        return self._text(text, node, location)

    def _text(self, text: str, node: yaml.Node, location: Location) -> str:
        """Return a text that can be sent and written, or report it and return an empty one.

        Half a surrogate pair cannot: YAML has it where somebody escapes it, as JSON does two of.
        """
        if _SURROGATE.search(text) is None:
            return text
        self._report(location, _mark(node), "has half of a surrogate pair, which is no character")
        return ""

    def _implied_tag(self, node: yaml.ScalarNode) -> Any:
        """Return the tag that a scalar has where none is written."""
        plain = node.style is None
        return self._yaml.resolve(yaml.ScalarNode, node.value, (plain, not plain))  # type: ignore[no-untyped-call] # not in stubs

    def _variable(self, match: re.Match[str], node: yaml.Node, location: Location) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match[1], match[2]
        if name is None:
            self._report(location, _mark(node), "has ${ without a variable's name; write $${ for a plain ${")
            return ""
        told = f"environment variable {name}" if _VARIABLE_TOLD.fullmatch(name) else "environment variable"
        value = self._environment.get(name)
        if value and _SURROGATE.search(value) is not None:  # so Python gives bytes that are no UTF-8
            self._report(location, _mark(node), f"{told} is not UTF-8 text")
            return ""
        value = value or default
        if value is None:
            self._report(location, _mark(node), f"{told} is not set")
        return value or ""

    def _report(self, location: Location, place: Place, message: str) -> None:
        self._document.faults.append(Fault(location, place, message))
