"""YAML with places: plain values, and for every path the line and column it came from.

Built on PyYAML's composer, because its loader forgets places and lets a duplicate key win silently.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from exporter.config.errors import ConfigError, Problem

__all__ = ["Document", "Place", "read_document"]

Place = tuple[int, int]
Location = tuple[str | int, ...]

MAX_BYTES = 4 * 1024 * 1024
_MAX_NODES = 200_000
_MAX_DEPTH = 40
_VARIABLE = re.compile(r"\$(?:\$\{|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\{[^}]*\}?)")


@dataclass(slots=True)
class Document:
    """A parsed file: its value and the place of every path in it."""

    file: str
    value: Any = None
    places: dict[Location, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, location: Location, message: str, key: str | None = None) -> Problem:
        """Make a problem at a path, or at the nearest enclosing path that has a place."""
        line, column = 0, 0
        for end in range(len(location), -1, -1):
            if location[:end] in self.places:
                line, column = self.places[location[:end]]
                break
        return Problem(self.file, line, column, dotted(location) if key is None else key, message)


def dotted(location: Location) -> str:
    """Write a path as people do: `services.identity.instances[0]`."""
    text = ""
    for item in location:
        text += f"[{item}]" if isinstance(item, int) else f".{item}" if text else item
    return text


def read_document(path: Path, environment: Mapping[str, str] | None = None) -> Document:
    """Read a YAML file and put environment variables in for `${NAME}` and `${NAME:-default}` (`$${` is a plain `${`).

    Raises:
        ConfigError: The file cannot be read or is not YAML; other problems are collected in the document.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode("utf-8")
    except OSError as error:
        raise ConfigError([Problem(name, 0, 0, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(name, 0, 0, "", f"is not UTF-8 text (byte {error.start})")]) from error
    if len(raw) > MAX_BYTES:
        raise ConfigError([Problem(name, 0, 0, "", f"is larger than {MAX_BYTES} bytes")])
    return parse_document(text, name, os.environ if environment is None else environment)


def parse_document(text: str, name: str, environment: Mapping[str, str]) -> Document:
    """Parse YAML text; see `read_document`."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise ConfigError([Problem(name, *place, "", f"is not YAML: {error.problem or error.context}")]) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([Problem(name, 0, 0, "", f"is not YAML: {type(error).__name__}")]) from error
    document = Document(name)
    if node is None:
        raise ConfigError([Problem(name, 1, 1, "", "is empty; expected a mapping with the key services")])
    document.value = _Builder(document, environment).build(node, ())
    return document


class _Builder:
    """Turns nodes into values, noting places; aliases are expanded under a budget, against alias bombs."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment
        self._constructor = yaml.SafeLoader("")
        self._nodes = 0

    def build(self, node: yaml.Node, location: Location) -> Any:
        self._nodes += 1
        place = (node.start_mark.line + 1, node.start_mark.column + 1)
        if self._nodes > _MAX_NODES or len(location) > _MAX_DEPTH:
            raise ConfigError([Problem(self._document.file, *place, dotted(location), "is nested or repeated too much")])
        self._document.places.setdefault(location, place)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*location, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        own = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        result: dict[str, Any] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and own.count(key.value) > 1 and key.value not in result:
                self._report((*location, key.value), key, "is given more than once")
                result[key.value] = None
        result.clear()
        self._constructor.flatten_mapping(node)  # merge keys: what the mapping itself says comes last and wins
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._report(location, key, "has a key that is not a plain word")
                continue
            path = (*location, key.value)
            self._document.places[path] = (key.start_mark.line + 1, key.start_mark.column + 1)
            result[key.value] = self.build(value, path)
        return result

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        if not isinstance(node.value, str) or "${" not in node.value:
            try:
                return self._constructor.construct_object(node)
            except (yaml.YAMLError, ValueError):
                self._report(location, node, f"{node.value!r} is not a valid {node.tag.rpartition(':')[2]}")
                return None
        return _VARIABLE.sub(lambda match: self._variable(match, node, location), node.value)

    def _variable(self, match: re.Match[str], node: yaml.Node, location: Location) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match[1], match[2]
        if name is None:
            self._report(location, node, "has ${ without a variable's name; write $${ for a plain ${")
            return ""
        value = self._environment.get(name) or default
        if value is None:
            self._report(location, node, f"environment variable {name} is not set")
        return value or ""

    def _report(self, location: Location, node: yaml.Node, message: str) -> None:
        mark = node.start_mark
        self._document.problems.append(
            Problem(self._document.file, mark.line + 1, mark.column + 1, dotted(location), message)
        )
