"""From a file to a `Config`: defaults merged, everything validated, every error with its place."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from exporter.config.document import Document, Location, read_document
from exporter.config.errors import ConfigError, Problem
from exporter.config.models import Config
from exporter.probes import probe_types

__all__ = ["load", "validate"]

_INHERITED = ("interval", "timeout", "recheck_interval", "confirm")
_GROUPS = ("dependencies", "services")


def load(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read, merge and validate a configuration file. Blocking.

    Args:
        path: The YAML file.
        environment: Values for `${NAME}`; default: the process's.

    Raises:
        ConfigError: With every problem found.
    """
    return validate(read_document(path, environment))


def validate(document: Document) -> Config:
    """Validate a parsed document; see `load`."""
    problems = list(document.problems)
    if not isinstance(document.value, dict):
        raise ConfigError([*problems, document.problem((), "expected a mapping with the key services")])
    problems += _check_defaults(document)
    config: Config | None = None
    try:
        config = Config.model_validate(_merge(document.value))
    except ValidationError as error:
        known = {problem.key for problem in problems}  # a value that could not be read is not also a wrong value
        found = (_problem(document, item) for item in error.errors(include_url=False))
        problems += [problem for problem in found if problem.key not in known]
    else:
        problems += _check_references(document, config)
    if problems or config is None:
        raise ConfigError(problems)
    return config


def _merge(value: dict[str, Any]) -> dict[str, Any]:
    """Put the defaults under every probe."""
    defaults = value.get("defaults")
    if not isinstance(defaults, dict):
        defaults = {}
    common = {key: defaults[key] for key in _INHERITED if key in defaults}
    by_kind = defaults.get("probes") if isinstance(defaults.get("probes"), dict) else {}
    merged = dict(value)
    for group in _GROUPS:
        if isinstance(value.get(group), dict):
            merged[group] = {name: _merge_one(item, common, by_kind or {}) for name, item in value[group].items()}
    return merged


def _merge_one(item: Any, common: dict[str, Any], by_kind: dict[str, Any]) -> Any:
    if not isinstance(item, dict) or not isinstance(item.get("probes"), dict):
        return item
    probes = {}
    for kind, own in item["probes"].items():
        layers = [common, by_kind.get(kind), {} if own is None else own]  # `tls:` alone switches a probe on
        if not isinstance(layers[-1], dict) or kind not in probe_types():
            probes[kind] = own
            continue
        settings: dict[str, Any] = {}
        for layer in layers:
            settings = _deep(settings, layer) if isinstance(layer, dict) else settings
        probes[kind] = settings
    return {**item, "probes": probes}


def _deep(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        result[key] = _deep(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _check_defaults(document: Document) -> Iterator[Problem]:
    """Check `defaults.probes` even where nothing uses it; what is missing there may come from each use."""
    defaults = document.value.get("defaults")
    by_kind = defaults.get("probes") if isinstance(defaults, dict) else None
    if not isinstance(by_kind, dict):
        return
    for kind, settings in by_kind.items():
        where: Location = ("defaults", "probes", kind)
        if kind not in probe_types():
            yield document.problem(where, _unknown(kind, list(probe_types())))
        elif isinstance(settings, dict):
            try:
                probe_types()[kind].settings_type.model_validate(settings)
            except ValidationError as error:
                for item in error.errors(include_url=False):
                    if item["type"] != "missing" and item["loc"]:
                        yield _problem(document, {**item, "loc": (*where, *item["loc"])})


def _check_references(document: Document, config: Config) -> Iterator[Problem]:
    """Check what one model alone cannot see."""
    if not config.services and not config.dependencies:
        yield document.problem((), "nothing to probe: expected services or dependencies")
    yield from _check_names(document, config)
    yield from _check_sizes(document, config)


def _check_names(document: Document, config: Config) -> Iterator[Problem]:
    names = set(config.dependencies) | set(config.services)
    for name in sorted(set(config.dependencies) & set(config.services)):
        yield document.problem(("services", name), "a dependency has the same name; names are unique")
    for name, service in config.services.items():
        for index, needed in enumerate(service.depends_on):
            where = ("services", name, "depends_on", index)
            if needed == name:
                yield document.problem(where, "a service does not depend on itself")
            elif needed not in names:
                yield document.problem(where, f"{needed!r} is not a dependency or a service{_suggest(needed, names)}")


def _check_sizes(document: Document, config: Config) -> Iterator[Problem]:
    for group in _GROUPS:
        for name, item in getattr(config, group).items():
            if not item.probe_settings:
                yield document.problem((group, name, "probes"), f"expected a kind of probe: {', '.join(probe_types())}")
            static = item.instances.static
            if static and item.min_ready > len(static):
                yield document.problem((group, name, "min_ready"), f"instances lists only {len(static)}")


def _problem(document: Document, error: ErrorDetails) -> Problem:
    location = _strip(error["loc"])
    return document.problem(_origin(document, location), _message(error, location))


def _strip(loc: tuple[int | str, ...]) -> Location:
    """Drop what is the model's and not the file's: the name of the list form, marks of mapping keys."""
    return tuple(item for item in loc if item not in ("static", "[key]"))


def _origin(document: Document, location: Location) -> Location:
    """Find where a merged value was written: at the probe, under its kind's defaults, or under the defaults."""
    if location in document.places or len(location) < 5 or location[0] not in _GROUPS or location[2] != "probes":
        return location
    kind, rest = location[3], location[4:]
    for candidate in (("defaults", "probes", kind, *rest), ("defaults", *rest)):
        if candidate in document.places:
            return candidate
    return location


def _message(error: ErrorDetails, location: Location) -> str:
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return _unknown(str(location[-1]), _keys_at(location[:-1]))
    if kind == "missing":
        return "is required"
    if kind in _EXPECTED:
        message = f"expected {_EXPECTED[kind].format(**error.get('ctx', {}))}"
    else:
        message = error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    if isinstance(value, str | int | float | bool) and not _is_secret(location):
        message += f", got {str(value)[:60]!r}" if isinstance(value, str) else f", got {value}"
    elif value is None:
        message += ", got nothing"
    return message


_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "greater_than_equal": "at least {ge}",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "model_type": "a mapping",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_type": "text",
    "tuple_type": "a list",
}
"""What people are told in place of the words of the model library, by its type of error."""


def _unknown(key: str, known: list[str]) -> str:
    return f"unknown key{_suggest(key, known) or '; known: ' + ', '.join(known)}"


def _suggest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _field_at(location: Location) -> Any:
    """Follow a path through the models; return the annotation reached, or None."""
    annotation: Any = Config
    for item in location:
        model = _model_in(annotation)
        if model is not None:
            field = model.model_fields.get(str(item))
            annotation = field.annotation if field else None
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


def _keys_at(location: Location) -> list[str]:
    model = _model_in(_field_at(location))
    return list(model.model_fields) if model else []


def _is_secret(location: Location) -> bool:
    return (
        any(
            SecretStr in _flatten(_field_at(location[:end])) or "SecretStr" in str(_field_at(location[:end]))
            for end in range(1, len(location) + 1)
        )
        and _model_in(_field_at(location)) is None
    )
