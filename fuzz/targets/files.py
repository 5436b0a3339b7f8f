"""Files that people write: the configuration, and the web configuration file."""

from __future__ import annotations

import zlib
from pathlib import Path

import yaml
from yaml.cyaml import CSafeLoader

from exporter.config import loader
from exporter.config.document import Document, document_of, parse_document
from exporter.config.errors import ConfigError
from exporter.parsing import parse_address, parse_duration
from exporter.web.access import file
from fuzz.model import Target

__all__ = ["TARGETS"]

_BOMB, _BOMB_SECONDS = 20_000_000, 8.0
"""What aliases may make of a small file: 200,000 nodes, of which each may repeat a text, in a third of a second, and in
some under instrumentation. The file is the operator's, and is read in a thread."""

_NOWHERE = Path("/nowhere")
_ENVIRONMENT = {"SECRET": "5tored", "BAD": "\ud800"}


def _yaml(data: bytes) -> object:
    document = parse_document(data.decode("utf-8", "replace"), "fuzz.yml", _ENVIRONMENT)
    return document.value, [fault.message for fault in document.faults]


def _configuration(data: bytes) -> object:
    if _as_shipped(data):
        loader.validate(parse_document(data.decode("utf-8", "replace"), "fuzz.yml", _ENVIRONMENT))
    elif (document := _composed_fast(data, _ENVIRONMENT)) is not None:
        loader.validate(document)
    return None


def _web_configuration(data: bytes) -> object:
    if _as_shipped(data):
        config = file.parse(data.decode("utf-8", "replace"), "web.yml", _NOWHERE)
    elif (document := _composed_fast(data, {})) is not None:
        config = file.validate(document, _NOWHERE)
    else:
        return None
    return config.authenticates, list(file.notes(config)), config.rate_limit.seconds


def _as_shipped(data: bytes) -> bool:
    """Whether an input is read from its characters on by what is shipped: one in sixteen, always the same ones."""
    return zlib.crc32(data) % 16 == 0


def _composed_fast(data: bytes, environment: dict[str, str]) -> Document | None:
    """Return the document of an input whose nodes libyaml composes, in a tenth of the time; None where it has none.

    Characters and nodes are the business of the target `yaml`; here it is what a document holds.
    """
    composer = CSafeLoader(data.decode("utf-8", "replace"))
    try:
        node = composer.get_single_node()
    except yaml.YAMLError:
        return None
    finally:
        composer.dispose()
    if node is None:
        return None
    _plain_has_no_style(node)
    return document_of(node, "fuzz.yml", environment)


def _plain_has_no_style(root: yaml.Node) -> None:
    """Say of plain scalars what PyYAML says: libyaml's style of them is an empty text."""
    seen: set[int] = set()
    left = [root]
    while left:
        node = left.pop()
        if isinstance(node, yaml.ScalarNode):
            node.style = node.style or None
        elif id(node) not in seen:
            seen.add(id(node))
            left.extend(part for item in node.value for part in (item if isinstance(item, tuple) else (item,)))


def _words(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    found: list[object] = []
    for read in (parse_address, parse_duration):
        try:
            found.append(read(text))
        except ValueError as error:
            found.append(str(error))
    return found


TARGETS = (
    Target(
        "yaml",
        _yaml,
        ("exporter.config.document",),
        (ConfigError,),
        seconds=_BOMB_SECONDS,
        most=_BOMB,
        also=("yaml.composer",),
    ),
    Target("configuration", _configuration, ("exporter.config.loader",), (ConfigError,), seconds=_BOMB_SECONDS),
    Target("web-configuration", _web_configuration, ("exporter.web.access.file",), (ConfigError,), seconds=_BOMB_SECONDS),
    Target("addresses", _words, ("exporter.parsing",), ()),
)
