"""From a file to a `Config`: defaults merged, everything validated, every error with its place."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from exporter.config.clusters import cluster_defaults, cluster_origin, clusterless, with_cluster
from exporter.config.document import Document, Location, Place, read_document
from exporter.config.errors import ConfigError, Problem
from exporter.config.labels import misnamed
from exporter.config.messages import message_of, unknown
from exporter.config.models import Config
from exporter.config.paths import closest, dotted
from exporter.probes import probe_types

__all__ = ["load", "validate"]

log = logging.getLogger(__name__)

_INHERITED = ("interval", "timeout", "recheck_interval", "confirm")
_GROUPS = ("dependencies", "services")

MOST_TOLD = 1_000
"""Problems that are told; of more, the number."""


def load(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read, merge and validate a configuration file. Blocking.

    Args:
        path: The YAML file.
        environment: Values for `${NAME}`; default: the process's.

    Raises:
        ConfigError: With every problem found. Nothing else is raised, whatever the file holds: what runs must go on with the
            configuration it has.
    """
    try:
        return validate(read_document(path, environment))
    except ConfigError:
        raise
    except MemoryError:
        raise ConfigError([Problem(str(path), 0, 0, "", "cannot be read: the exporter has no memory left")]) from None
    except Exception as error:
        # Where it happened is logged, not what it says: that may quote the file.
        where = "".join(traceback.format_tb(error.__traceback__))
        log.error("reading %s: unexpected %s\n%s", path, type(error).__name__, where)  # noqa: TRY400 - see above
        problem = Problem(str(path), 0, 0, "", f"cannot be read: unexpected {type(error).__name__}; see the log")
        raise ConfigError([problem], unforeseen=True) from None


def validate(document: Document) -> Config:
    """Validate a parsed document; see `load`."""
    findings = _Findings(document)
    if not isinstance(document.value, dict):
        findings.add((), "expected a mapping with the key services")
        raise findings.error()
    findings.add_all(misnamed(document.value))
    findings.add_all(_check_defaults(document.value))
    config: Config | None = None
    try:
        config = Config.model_validate(_merge(document.value))
    except ValidationError as error:
        findings.add_all(_of_model(document, item) for item in error.errors(include_url=False))
    else:
        findings.add_all(_check_references(config))
    if findings or config is None:
        raise findings.error()
    return config


Finding = tuple[Location, str | Callable[[], str]]
"""A path and what is wrong there, or how to say it, where that takes time."""


class _Findings:
    """What is wrong, told in the order of the file: all of it, up to a number that nobody reads."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._told = {fault.location for fault in document.faults}
        self._found: list[tuple[Place, Finding]] = [
            (fault.place, (fault.location, fault.message)) for fault in document.faults
        ]

    def __len__(self) -> int:
        return len(self._found)

    def add(self, location: Location, message: str | Callable[[], str]) -> None:
        """Add what is wrong at a path, unless something is known of it: a value that cannot be read is not also wrong."""
        if location not in self._told:
            self._told.add(location)
            self._found.append((self._document.place(location), (location, message)))

    def add_all(self, findings: Iterable[Finding]) -> None:
        """Add several."""
        for location, message in findings:
            self.add(location, message)

    def error(self) -> ConfigError:
        """Put it in words."""
        self._found.sort(key=lambda item: item[0])
        problems = []
        for place, (location, message) in self._found[:MOST_TOLD]:
            text = message if isinstance(message, str) else message()
            problems.append(Problem(self._document.file, *place, dotted(location), text))
        if len(self._found) > MOST_TOLD:
            place = self._found[MOST_TOLD][0]
            problems.append(Problem(self._document.file, *place, "", f"{len(self._found) - MOST_TOLD} more, here and below"))
        return ConfigError(problems)


def _merge(value: dict[str, Any]) -> dict[str, Any]:
    """Put the defaults under every probe."""
    defaults = value.get("defaults")
    if not isinstance(defaults, dict):
        defaults = {}
    common = {key: defaults[key] for key in _INHERITED if key in defaults}
    by_kind = defaults.get("probes") if isinstance(defaults.get("probes"), dict) else {}
    limits = defaults.get("thresholds")
    merged = dict(value)
    cluster = cluster_defaults(value)
    if "kubernetes" in value and value["kubernetes"] is None:
        merged["kubernetes"] = {}  # `kubernetes:` alone is the cluster that this process runs in
    for group in _GROUPS:
        if isinstance(value.get(group), dict):
            merged[group] = {
                name: with_cluster(_merge_thresholds(_merge_one(item, common, by_kind or {}), limits), cluster)
                for name, item in value[group].items()
            }
    return merged


def _merge_thresholds(item: Any, defaults: Any) -> Any:
    if not isinstance(item, dict) or not isinstance(defaults, dict):
        return item
    own = item.get("thresholds", {})
    return {**item, "thresholds": {**defaults, **own}} if isinstance(own, dict) else item


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


def _check_defaults(value: dict[str, Any]) -> Iterator[Finding]:
    """Check `defaults.probes` even where nothing uses it; what is missing there may come from each use."""
    defaults = value.get("defaults")
    by_kind = defaults.get("probes") if isinstance(defaults, dict) else None
    if not isinstance(by_kind, dict):
        return
    for kind, settings in by_kind.items():
        where: Location = ("defaults", "probes", kind)
        if kind not in probe_types():
            yield where, partial(unknown, kind, list(probe_types()))
        elif isinstance(settings, dict):
            try:
                probe_types()[kind].settings_type.model_validate(settings)
            except ValidationError as error:
                for item in error.errors(include_url=False):
                    if item["type"] != "missing" and item["loc"]:
                        location = (*where, *_strip(item["loc"]))
                        yield location, partial(message_of, item, location)


def _check_references(config: Config) -> Iterator[Finding]:
    """Check what one model alone cannot see."""
    if not config.services and not config.dependencies:
        yield (), "nothing to probe: expected services or dependencies"
    yield from _check_names(config)
    yield from clusterless(config)
    yield from _check_sizes(config)


def _check_names(config: Config) -> Iterator[Finding]:
    names = set(config.dependencies) | set(config.services)
    for name in sorted(set(config.dependencies) & set(config.services)):
        yield ("services", name), "a dependency has the same name; names are unique"
    for name, service in config.services.items():
        for index, needed in enumerate(service.depends_on):
            where = ("services", name, "depends_on", index)
            if needed == name:
                yield where, "a service does not depend on itself"
            elif needed not in names:
                yield where, partial(_no_member, needed, names)


def _no_member(needed: str, names: Collection[str]) -> str:
    meant = closest(needed, names)
    return "is not a dependency or a service" + (f"; did you mean {meant!r}?" if meant else "")


def _check_sizes(config: Config) -> Iterator[Finding]:
    for group in _GROUPS:
        for name, item in getattr(config, group).items():
            if not item.probe_settings:
                yield (group, name, "probes"), f"expected a kind of probe: {', '.join(probe_types())}"
            static = item.instances.static
            if static and isinstance(item.min_ready, int) and item.min_ready > len(static):
                yield (group, name, "min_ready"), f"instances lists only {len(static)}"


def _of_model(document: Document, error: ErrorDetails) -> Finding:
    location = _strip(error["loc"])
    return _origin(document, location), partial(message_of, error, location)


def _strip(loc: tuple[int | str, ...]) -> Location:
    """Drop what is the model's and not the file's: the name of the list form, marks of mapping keys."""
    return tuple(item for item in loc if item not in ("static", "[key]"))


def _origin(document: Document, location: Location) -> Location:
    """Find where a merged value was written: at the probe, under its kind's defaults, or under the defaults."""
    if location in document.places or len(location) < 4 or location[0] not in _GROUPS:
        return location
    section = cluster_origin(location)
    if section is not None and section in document.places:
        return section
    if location[2] == "thresholds" and ("defaults", *location[2:]) in document.places:
        return ("defaults", *location[2:])
    if len(location) < 5 or location[2] != "probes":
        return location
    kind, rest = location[3], location[4:]
    for candidate in (("defaults", "probes", kind, *rest), ("defaults", *rest)):
        if candidate in document.places:
            return candidate
    return location
