"""Why something is slow: what it needs, its pool, its cache, its JVM, or too few of it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping

from exporter.actuator import recording as app
from exporter.config.thresholds import Thresholds
from exporter.databases import pgbouncer, sessions
from exporter.diagnosis import causes
from exporter.diagnosis.cluster_words import autoscaling, named
from exporter.diagnosis.facts import (
    MOST,
    evidence,
    failed_writes,
    gc_share,
    heap,
    lock_waits,
    most,
    pool_pressed,
    pooler_waits,
)
from exporter.diagnosis.graph import roots
from exporter.diagnosis.model import Confidence, Diagnosis, Evidence, Member, Snapshot, Suspicion, Symptom
from exporter.metrics import core as m
from exporter.redis import families as r
from exporter.verdict import Verdict

__all__ = ["is_slow", "why_slow"]

GC_NOTICED = 0.1
"""Share of the time in garbage collection from which on requests feel it."""

_ORDER = list(Confidence)
_HIT_RATIO: float = Thresholds.model_fields["hit_ratio"].default


def is_slow(member: Member) -> bool:
    """Say whether the p99 of a service's requests is over its threshold. What is down is not slow."""
    if member.verdict is Verdict.DOWN:
        return False
    return _p99(member) > member.limits.get("latency_p99", float("inf"))


def why_slow(snapshot: Snapshot, down_roots: Mapping[str, tuple[str, ...]]) -> Generator[None, None, dict[str, Diagnosis]]:
    """Find out, bit by bit, why each service is slow that is.

    Args:
        snapshot: Everything that is known.
        down_roots: Of what is down, in what it lies.
    """
    members = snapshot.members
    slow = {name: member for name, member in members.items() if is_slow(member)}
    if not slow:
        return {}
    bad = {name: _bad(member, members) for name, member in slow.items()}
    graph: dict[str, tuple[str, ...]] = {other: () for others in bad.values() for other in others}
    graph |= {name: (*bad[name], *(other for other in member.needs if other in slow)) for name, member in slow.items()}
    beyond: dict[str, frozenset[str]] = {}
    for reach in roots(graph):
        beyond[reach.name] = reach.beyond
        yield
    seen = {name: found for others in bad.values() for name, found in others.items()}
    found: dict[str, Diagnosis] = {}
    for name, member in slow.items():
        these = [
            *_beyond(sorted(beyond[name]), members, seen, down_roots),
            *_own(member, members),
        ]
        these.sort(key=lambda suspicion: _ORDER.index(suspicion.confidence))
        these = these or [Suspicion(causes.UNKNOWN, confidence=Confidence.LOW, evidence=(_latency(member),))]
        found[name] = Diagnosis(name, Symptom.SLOW, tuple(these[:MOST]), names=named(member))
        yield
    return found


def _bad(member: Member, members: Mapping[str, Member]) -> dict[str, tuple[Evidence, ...]]:
    """Return what the service needs that is down or slow by what its own probe sees, with what was seen."""
    found: dict[str, tuple[Evidence, ...]] = {}
    for name in member.needs:
        other = members.get(name)
        if other is None or is_slow(other):
            continue
        if other.verdict is Verdict.DOWN:
            found[name] = (evidence(f"verdict on {name} by its own probe", 0.0, m.SERVICE_UP, name),)
        elif seen := tuple(_slowness(other, member.limits.get("latency_p99", float("inf")))):
            found[name] = seen
    return found


def _slowness(other: Member, limit: float) -> Iterator[Evidence]:
    yield from lock_waits(other)
    yield from pooler_waits(other)
    query = other.highest(sessions.LONGEST_QUERY)
    if query is not None and query.value > other.limits.get("longest_query", float("inf")):
        yield evidence("seconds that the longest query has been running", query.value, sessions.LONGEST_QUERY, other.name)
    took = other.highest(m.DURATION)
    if took is not None and took.value > limit:
        yield evidence(f"seconds that probing {other.name} took", took.value, m.DURATION, other.name)


def _beyond(
    names: list[str],
    members: Mapping[str, Member],
    seen: Mapping[str, tuple[Evidence, ...]],
    down_roots: Mapping[str, tuple[str, ...]],
) -> Iterator[Suspicion]:
    down = dict.fromkeys(
        root for name in names if members[name].verdict is Verdict.DOWN for root in down_roots.get(name, (name,))
    )
    for root in down:
        yield Suspicion(causes.DEPENDENCY_DOWN, root, Confidence.HIGH, seen.get(root, ()))
    for name in names:
        member = members[name]
        if member.verdict is Verdict.DOWN:
            continue
        what = seen.get(name) or (_latency(member),)
        if any(each.series.startswith(sessions.LONGEST_LOCK_WAIT.name) for each in what):
            yield Suspicion(causes.LOCK_HELD, name, Confidence.HIGH, most(what))
            continue
        if any(each.series.startswith(pgbouncer.LONGEST_WAIT.name) for each in what):
            yield Suspicion(causes.POOLER_EXHAUSTED, name, Confidence.HIGH, most(what))
            continue
        sure = is_slow(member) or any(each.series.startswith(sessions.LONGEST_QUERY.name) for each in what)
        yield Suspicion(causes.DEPENDENCY_SLOW, name, Confidence.HIGH if sure else Confidence.MEDIUM, what)


def _own(member: Member, members: Mapping[str, Member]) -> Iterator[Suspicion]:
    if pressed := pool_pressed(member):
        yield Suspicion(causes.POOL_EXHAUSTED, "", Confidence.HIGH, pressed)
    yield from _caches(member, members)
    for name in member.needs:
        other = members.get(name)
        if other is not None and (failed := failed_writes(other)) is not None:
            yield Suspicion(causes.WRITES_FAILING, name, Confidence.MEDIUM, (failed,))
    if collecting := gc_share(member, GC_NOTICED):
        full = heap(member)
        yield Suspicion(causes.GC_PRESSURE, "", Confidence.MEDIUM, (collecting, *([full] if full else [])))
    yield from autoscaling(member)
    missing = sum(count for verdict, count in member.instances.items() if verdict is not Verdict.UP)
    if missing:
        gone = evidence("instances that are not up", float(missing), m.SERVICE_INSTANCES, member.name, {"verdict": "down"})
        yield Suspicion(causes.TOO_FEW_REPLICAS, "", Confidence.MEDIUM, (gone,))


def _caches(member: Member, members: Mapping[str, Member]) -> Iterator[Suspicion]:
    for name in member.needs:
        other = members.get(name)
        ratio = other.lowest(r.HIT_RATIO) if other is not None else None
        if other is not None and ratio is not None and ratio.value < other.limits.get("hit_ratio", 0.0):
            seen = evidence(f"hit ratio of {name}", ratio.value, r.HIT_RATIO, name)
            yield Suspicion(causes.CACHE_MISSES, name, Confidence.MEDIUM, (seen,))
            return
    own = member.lowest(app.CACHE_HIT_RATIO)
    if own is not None and own.value < _HIT_RATIO:
        cache = own.labels.get("cache", "")
        seen = evidence(f"hit ratio of its cache {cache}", own.value, app.CACHE_HIT_RATIO, member.name, {"cache": cache})
        yield Suspicion(causes.CACHE_MISSES, "", Confidence.MEDIUM, (seen,))


def _p99(member: Member) -> float:
    reading = member.highest(app.REQUEST_P99)
    return reading.value if reading is not None else 0.0


def _latency(member: Member) -> Evidence:
    return evidence("p99 of its requests in seconds", _p99(member), app.REQUEST_P99, member.name)
