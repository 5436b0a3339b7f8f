"""What Spring Boot applications answer."""

from __future__ import annotations

import math

from exporter.actuator import flyway
from exporter.clients.spring import health, meters, metrics_json, prometheus_text
from exporter.clients.spring.prometheus_text import Summed, Wanted
from fuzz.model import Finding, Target
from fuzz.wires import finish

__all__ = ["TARGETS"]

_WANTED: Wanted = {
    "jvm_x_bytes": ("area", "pool"),
    "http_x_total": Summed(("uri",)),
    "http_x_bucket": Summed(("le",)),
    "plain": (),
}


def _exposition(data: bytes) -> object:
    """Read it twice: as the curated meters of an application, and in pieces, which must come to the same as the whole."""
    readings = meters.read(prometheus_text.parse(data, meters.WANTED))
    whole = prometheus_text.parse(data, _WANTED, max_samples=MAX_SAMPLES)
    if sum(map(len, whole.samples.values())) > MAX_SAMPLES:
        raise Finding("more samples than the limit")
    reader = prometheus_text.Reader(_WANTED, max_samples=MAX_SAMPLES)
    for piece in data.split(b"\n"):
        reader.read(piece)
    again = reader.result()
    if again.malformed != whole.malformed or not _come_to_the_same(again, whole):
        raise Finding("line by line it is not what it is at once")
    return readings, whole


MAX_SAMPLES = 1_000


def _come_to_the_same(one: prometheus_text.PrometheusText, other: prometheus_text.PrometheusText) -> bool:
    """Say whether the samples are the same, but for the last digits of sums: the order of addition differs."""
    ours, theirs = _sorted(one), _sorted(other)
    if len(ours) != len(theirs):
        return False
    return all(
        where == there and (math.isclose(value, again, rel_tol=1e-9) or (math.isnan(value) and math.isnan(again)))
        for (where, value), (there, again) in zip(ours, theirs, strict=True)
    )


def _sorted(text: prometheus_text.PrometheusText) -> list[tuple[tuple[str, tuple[str, ...]], float]]:
    found = [((name, labels), value) for name, samples in text.samples.items() for labels, value in samples]
    return sorted(found, key=lambda each: (each[0], math.isnan(each[1]), each[1]))


def _health(data: bytes) -> object:
    found = health.parse(data)
    if len(found.components) > health.MAX_COMPONENTS or len(found.groups) > health.MAX_GROUPS:
        raise Finding("more components or groups than the limits")
    return found, health.judge(200, found), health.judge(503, found)


def _metrics(data: bytes) -> object:
    """Read it as a list of names, as one meter, and as what an application answers to every question."""
    measured = metrics_json.parse(data)
    readings = meters.Readings()

    async def ask(_name: str, _tags: object) -> metrics_json.Measured:
        return measured

    names = frozenset({"jvm.memory.max", "http.server.requests", "cache.gets", "process.uptime", "hikaricp.connections.max"})
    finish(metrics_json.collect(names, ask, readings))
    return measured, readings


def _names(data: bytes) -> object:
    return metrics_json.parse_names(data)


def _flyway(data: bytes) -> object:
    found = flyway.parse(data)
    return found, [each.behind for each in found], list(flyway.samples_of(found).values())


TARGETS = (
    Target(
        "exposition", _exposition, ("exporter.clients.spring.prometheus_text", "exporter.clients.spring.meters"),
    ),
    Target("health", _health, ("exporter.clients.spring.health",)),
    Target("metrics", _metrics, ("exporter.clients.spring.metrics_json", "exporter.clients.spring.meters")),
    Target("metric-names", _names, ("exporter.clients.spring.metrics_json",)),
    Target("flyway", _flyway, ("exporter.actuator.flyway",)),
)  # fmt: skip
