"""Files that people write: the configuration, and the web configuration file."""

from __future__ import annotations

from pathlib import Path

from exporter.config.document import parse_document
from exporter.config.errors import ConfigError
from exporter.config.loader import validate
from exporter.parsing import parse_address, parse_duration
from exporter.web.access.file import notes, parse
from fuzz.model import Target

__all__ = ["TARGETS"]

_BOMB, _BOMB_SECONDS = 20_000_000, 8.0
"""What aliases may make of a small file: 200,000 nodes, of which each may repeat a text, in a third of a second, and in
some under instrumentation. The file is the operator's, and is read in a thread."""

_ENVIRONMENT = {"SECRET": "5tored", "BAD": "\ud800"}


def _yaml(data: bytes) -> object:
    document = parse_document(data.decode("utf-8", "replace"), "fuzz.yml", _ENVIRONMENT)
    return document.value, [fault.message for fault in document.faults]


def _configuration(data: bytes) -> object:
    validate(parse_document(data.decode("utf-8", "replace"), "fuzz.yml", _ENVIRONMENT))
    return None


def _web_configuration(data: bytes) -> object:
    config = parse(data.decode("utf-8", "replace"), "web.yml", Path("/nowhere"))
    return config.authenticates, list(notes(config)), config.rate_limit.seconds


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
    Target(
        "configuration",
        _configuration,
        ("exporter.config.loader",),
        (ConfigError,),
        seconds=_BOMB_SECONDS,
        also=("exporter.config.labels", "exporter.config.models", "exporter.config.server", "exporter.config.thresholds"),
    ),
    Target("web-configuration", _web_configuration, ("exporter.web.access.file",), (ConfigError,), seconds=_BOMB_SECONDS),
    Target("addresses", _words, ("exporter.parsing",), ()),
)
