"""Names that a configured label cannot have: two labels of one name make Prometheus refuse the whole scrape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from exporter.config.document import Location
from exporter.metrics.core import CORE
from exporter.probes import probe_types

__all__ = ["misnamed", "reserved_labels"]

_OF_PROMETHEUS = frozenset({"job", "instance", "le", "quantile"})
_TO_COME = frozenset({"pod", "node", "zone", "revision", "namespace", "incident", "reason"})
"""Of instances that are found in a cluster, and of incidents: a label that would have to be renamed then is refused now."""


@cache
def reserved_labels() -> frozenset[str]:
    """Return every label name of every family, of each kind of probe and of the exporter itself, and Prometheus's own."""
    families = [*CORE, *(family for probe in probe_types().values() for family in probe.metrics)]
    used = {label for family in families for label in (*family.owner_labels, *family.labels)}
    return _OF_PROMETHEUS | _TO_COME | used


def misnamed(document: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Find the labels whose names are taken, wherever labels can be written; yield their paths and what is wrong."""
    for location, labels in _written(document):
        for name in labels:
            if name in reserved_labels():
                yield (*location, name), f"{name!r} is a label that the exporter or Prometheus sets; choose another name"


def _written(document: Mapping[str, Any]) -> Iterator[tuple[Location, Mapping[str, Any]]]:
    yield from _of_probes(("defaults",), document.get("defaults"))
    for group in ("dependencies", "services"):
        for name, member in _mapping(document.get(group)).items():
            yield (group, name, "labels"), _mapping(_mapping(member).get("labels"))
            yield from _of_probes((group, name), member)


def _of_probes(location: Location, owner: Any) -> Iterator[tuple[Location, Mapping[str, Any]]]:
    for kind, settings in _mapping(_mapping(owner).get("probes")).items():
        yield (*location, "probes", kind, "labels"), _mapping(_mapping(settings).get("labels"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
