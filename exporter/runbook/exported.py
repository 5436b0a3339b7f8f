"""What the exporter can export: names of series, their labels, bounds of histograms; and what a query asks beyond that."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from exporter.metrics.core import CORE
from exporter.metrics.family import Kind
from exporter.probes import probe_types
from exporter.runbook.promql import Query

__all__ = ["CONFIGURED", "OF_PROMETHEUS", "Series", "labels_of", "series", "unexported"]

OF_PROMETHEUS = frozenset({"job", "instance"})
CONFIGURED = frozenset({"tier", "team"})
"""Labels that a configuration gives services, which the shipped rules know of."""


@dataclass(frozen=True, slots=True)
class Series:
    """A name under which series are exported.

    Attributes:
        labels: Its label names, those of Prometheus included.
        bounds: Values of `le`; empty where there is none, or where an application decides them.
    """

    labels: frozenset[str]
    bounds: frozenset[str] = frozenset()


@cache
def series() -> Mapping[str, Series]:
    """Return everything that can be exported, by name; and `up`, which Prometheus makes of each scrape."""
    probes = [family for probe in probe_types().values() for family in probe.metrics]
    found = {"up": Series(OF_PROMETHEUS)}
    for family in (*CORE, *probes):
        labels = frozenset({*family.labels, *family.owner_labels, *OF_PROMETHEUS})
        if family.kind is Kind.HISTOGRAM:
            bounds = frozenset({*(repr(float(bound)) for bound in family.buckets), "+Inf"} if family.buckets else ())
            found[f"{family.name}_bucket"] = Series(labels | {"le"}, bounds)
            found[f"{family.name}_sum"] = found[f"{family.name}_count"] = Series(labels - {"le"})
        else:
            found[family.name] = Series(labels)
    return found


def labels_of(query: Query) -> frozenset[str]:
    """Return the labels that a query's series can have, those included that it makes itself."""
    known = (series()[use.metric].labels for use in query.uses if use.metric in series())
    return frozenset().union(query.strings, *known)


def unexported(query: Query, configured: Collection[str]) -> Iterator[str]:
    """Say what a query asks for and nothing exports.

    Args:
        query: The query.
        configured: Labels that the configuration gives services.
    """
    for use in query.uses:
        found = series().get(use.metric)
        if found is None:
            yield f"nothing exports {use.metric}"
            continue
        for label, operator, value in use.matchers:
            if label not in found.labels and label not in configured:
                yield f"{use.metric} has no label {label}"
            elif label == "le" and operator == "=" and found.bounds and value not in found.bounds:
                yield f'{use.metric} has no bucket le="{value}"'
    known = labels_of(query) | frozenset(configured)
    if query.uses and not query.others:
        yield from (f"no series in it has the label {label}" for label in sorted(query.grouped - known))
