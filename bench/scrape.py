"""Cost of a scrape: the store joins ready bytes, prometheus_client formats every sample."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from exporter.metrics.family import gauge
from exporter.metrics.store import Store

__all__ = ["ScrapeCost", "run"]

TARGETS = 1000
FAMILIES = 20
LABELS = 5
SERIES = TARGETS * FAMILIES * LABELS


@dataclass(frozen=True, slots=True)
class ScrapeCost:
    """What a scrape of `SERIES` series takes.

    Attributes:
        store: Seconds of event-loop time of the store.
        client: Seconds of prometheus_client's generate_latest.
        size: Bytes of the exposition.
    """

    store: float
    client: float
    size: int

    @property
    def ratio(self) -> float:
        """How many times cheaper the store is."""
        return self.client / self.store


def run() -> ScrapeCost:
    """Measure both with the same names, labels and values; the best of several rounds each.

    Raises:
        RuntimeError: The two do not tell the same.
    """
    store, registry = _filled_store(), _filled_registry()
    ours, theirs = store.render(openmetrics=False), generate_latest(registry)
    if _samples(ours) != _samples(theirs):
        raise RuntimeError("the store and prometheus_client export different samples")
    return ScrapeCost(
        store=_best(lambda: store.render(openmetrics=False), 20),
        client=_best(lambda: generate_latest(registry), 3),
        size=len(ours),
    )


def _value(target: int, family: int, label: int) -> float:
    return target * 1.5 + family + label / 7


def _filled_store() -> Store:
    store = Store()
    families = [gauge(f"probe_bench_{f}", "A gauge.", "kind") for f in range(FAMILIES)]
    for target in range(TARGETS):
        owner = store.owner(_labels(target))
        owner.publish(
            {
                family: {(str(label),): _value(target, f, label) for label in range(LABELS)}
                for f, family in enumerate(families)
            }
        )
    return store


def _filled_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    for f in range(FAMILIES):
        metric = Gauge(f"probe_bench_{f}", "A gauge.", ["service", "probe", "target", "kind"], registry=registry)
        for target in range(TARGETS):
            for label in range(LABELS):
                metric.labels(*_labels(target).values(), str(label)).set(_value(target, f, label))
    return registry


def _labels(target: int) -> dict[str, str]:
    return {"service": f"service-{target}", "probe": "actuator", "target": f"10.0.0.{target}:8081"}


def _samples(text: bytes) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    families = text_string_to_metric_families(text.decode())
    return {(s.name, tuple(sorted(s.labels.items())), s.value) for family in families for s in family.samples}


def _best(work: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
