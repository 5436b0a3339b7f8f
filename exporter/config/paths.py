"""Paths of a configuration: what the models know of them, and which of their keys may be shown.

A key can be a secret too, written where a mapping was not expected: `bearer: {TOKEN: }`. So a key is shown if the models
know it, if it is close to one that they know, if it is the name of a service, or if it is a plain word in a place that has
to do with no secret; else it is `…`.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from exporter.config.document import Location
from exporter.config.kinds import annotation_of, description_of
from exporter.config.models import Config, ProbesSettings

__all__ = ["HIDDEN", "closest", "description_at", "dotted", "known_keys"]

HIDDEN = "…"
_GROUPS = (("services",), ("dependencies",))
_DEFAULTS = ("defaults", "probes")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_WORD = re.compile(r"[A-Za-z]{1,24}([-_][A-Za-z]{1,24}){0,3}")
_LONGEST_WORD = 63
_MOST_WORDS = 1_000
"""Names among which a close one is looked for: each takes some ten microseconds."""


def dotted(location: Location) -> str:
    """Write a path as people do: `services.identity.instances[0]`, with what may be a secret as `…`."""
    text = ""
    for end, item in enumerate(location):
        if isinstance(item, int):
            text += f"[{item}]"
        else:
            shown = item if _may_be_shown(location[:end], item) else HIDDEN
            text += f".{shown}" if text else shown
    return text


def known_keys(location: Location) -> list[str]:
    """Return the keys that the model at a path has."""
    model = _model_in(_annotation_at(location))
    return list(model.model_fields) if model else []


def description_at(location: Location) -> str:
    """Return what the model says of the setting at a path; empty where it says nothing."""
    model = _model_in(_annotation_at(location[:-1]))
    field = model.model_fields.get(str(location[-1])) if model else None
    return description_of(field) if field else ""


def closest(word: str, known: Collection[str]) -> str | None:
    """Return the known word that was probably meant."""
    if len(word) > _LONGEST_WORD or len(known) > _MOST_WORDS:
        return None
    return next(iter(difflib.get_close_matches(word, known, 1)), None)


def _may_be_shown(above: Location, key: str) -> bool:
    annotation = _annotation_at(above)
    model = _model_in(annotation)
    if model is not None:
        known = model.model_fields
        plain = _WORD.fullmatch(key) is not None and not _has_to_do_with_secrets(model)
        return key in known or plain or closest(key, known) is not None
    if not any(get_origin(arg) is dict for arg in _flatten(annotation)):
        return False  # there should be no keys at all
    return (_NAME if above in _GROUPS else _WORD).fullmatch(key) is not None


@cache
def _has_to_do_with_secrets(model: type[BaseModel]) -> bool:
    """Say whether a model, or one right below it, has a secret."""
    annotations = [annotation_of(field) for field in model.model_fields.values()]
    below = [_model_in(annotation) for annotation in annotations]
    annotations += [annotation_of(field) for inner in below if inner for field in inner.model_fields.values()]
    return any(SecretStr in _within(annotation) for annotation in annotations)


def _within(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _within(argument)


def _annotation_at(location: Location) -> Any:
    """Follow a path through the models; return the annotation reached, or None."""
    annotation: Any = Config
    for end, item in enumerate(location, 1):
        model = _model_in(annotation)
        if location[:end] == _DEFAULTS:
            annotation = ProbesSettings  # its own is looser: what is missing may come from each use
        elif model is not None:
            field = model.model_fields.get(str(item))
            annotation = annotation_of(field) if field else None
        else:
            args = [arg for arg in _flatten(annotation) if get_origin(arg) in (dict, tuple, list)]
            annotation = get_args(args[0])[-1 if get_origin(args[0]) is dict else 0] if args else None
    return annotation


def _flatten(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for arg in get_args(annotation) for inner in _flatten(arg)]
    return [annotation]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for item in _flatten(annotation):
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item
    return None
