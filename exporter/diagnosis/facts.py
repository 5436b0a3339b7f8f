"""Which facts a diagnosis reads, and how it writes what it has seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from exporter.actuator import recording as app
from exporter.actuator.health_samples import COMPONENT_UP
from exporter.databases import flyway, pgbouncer, sessions
from exporter.diagnosis.model import Evidence, Member, Reading
from exporter.kafka import families as kafka
from exporter.metrics import core as m
from exporter.metrics.family import Family
from exporter.metrics.store import Samples
from exporter.redis import families as r
from exporter.workloads import families as k

__all__ = [
    "FACTS",
    "GC_HIGH",
    "LEVELS",
    "clean",
    "evidence",
    "failed_writes",
    "gc_share",
    "heap",
    "levels",
    "lock_waits",
    "migration_lock",
    "most",
    "pool_pressed",
    "pooler_full",
    "pooler_waits",
]

FACTS: frozenset[Family] = frozenset({
    COMPONENT_UP, app.REQUEST_P99, app.CONNECTIONS, app.SATURATION, app.MEMORY_USED, app.MEMORY_MAX, app.GC_RATIO,
    app.CACHE_HIT_RATIO, sessions.LONGEST_QUERY, sessions.LONGEST_LOCK_WAIT, sessions.BLOCKED, sessions.BLOCKING,
    pgbouncer.LONGEST_WAIT, pgbouncer.CLIENTS, pgbouncer.PAUSED, pgbouncer.CLIENT_CONNECTIONS,
    pgbouncer.MAX_CLIENT_CONNECTIONS, flyway.FLYWAY_LOCK_SECONDS,
    kafka.TOPIC_LAG, kafka.MEMBERS, kafka.DLQ_MESSAGES, kafka.DLQ_GROUP,
    r.HIT_RATIO, r.CLUSTER_OK, r.CLUSTER_SLOTS, r.CLUSTER_FAILED, r.PERSISTENCE, r.POLICY, r.MEMORY_USED, r.MEMORY_MAX,
    r.SENTINEL_ADDRESS, r.SENTINEL_UP, r.SENTINEL_MASTERS, r.SENTINEL_SENTINELS, r.SENTINEL_QUORUM_OK,
    kafka.TOPIC_LAG_SECONDS, kafka.COMMITTED, kafka.LOST, kafka.OPEN_MESSAGES, kafka.OPEN_SECONDS, kafka.CANARY,
    kafka.PARTITION_ERROR, kafka.VERDICT, kafka.STANDING_SECONDS, kafka.BROKER_UP, m.DURATION, k.PODS_READY, k.WAITING,
    k.UNSCHEDULABLE, k.TERMINATED, k.TERMINATED_AT, k.EXIT_CODE, k.MEMORY_LIMIT, k.REPLICAS, k.STUCK, k.REPLICA_FAILURE,
    k.AUTOSCALER, k.AT_LIMIT, k.UNABLE, k.NODE_TROUBLE,
})  # fmt: skip
"""Families that rules read: a snapshot needs no others."""

LEVELS = (
    "latency_p99", "consumer_lag", "consumer_lag_seconds", "lost_messages", "idle_groups", "stuck_groups", "heap_ratio",
    "gc_ratio", "restarts", "unguarded",
)  # fmt: skip
"""What is kept of every attempt, whether or not anything is wrong: the highest of each."""

GC_HIGH = 0.2
"""Share of the time in garbage collection from which on it is what holds a process up."""

MOST = 5
"""Evidences of a cause, and causes of a service."""

MAX_TEXT = 120

_HEAP = ("heap",)


def levels(samples: Samples) -> dict[str, float]:
    """Return what is kept of an attempt. It is asked of each: it must cost next to nothing."""
    found: dict[str, float] = {}
    for name, family in (
        ("latency_p99", app.REQUEST_P99),
        ("consumer_lag", kafka.TOPIC_LAG),
        ("consumer_lag_seconds", kafka.TOPIC_LAG_SECONDS),
        ("lost_messages", kafka.LOST),
        ("gc_ratio", app.GC_RATIO),
        ("restarts", app.RESTARTS),
    ):
        values = samples.get(family)
        if values:
            found[name] = max(values.values())
    members = samples.get(kafka.MEMBERS)
    if members and not min(members.values()):
        found["idle_groups"] = 1.0
    if any(verdict in kafka.STUCK for _, verdict in samples.get(kafka.VERDICT, ())):
        found["stuck_groups"] = 1.0
    if r.SENTINEL_UP in samples and _unguarded(samples):
        found["unguarded"] = 1.0
    used, most = samples.get(app.MEMORY_USED, {}).get(_HEAP), samples.get(app.MEMORY_MAX, {}).get(_HEAP)
    if used is not None and most:
        found["heap_ratio"] = used / most
    return found


def _unguarded(samples: Samples) -> bool:
    """Tell whether a Sentinel says that what it watches is not well."""
    well = (*samples.get(r.SENTINEL_UP, {}).values(), *samples.get(r.SENTINEL_QUORUM_OK, {}).values())
    return not all(well) or any(seen > 1 for seen in samples.get(r.SENTINEL_MASTERS, {}).values())


def clean(text: str) -> str:
    """Make a label of what a server calls something: one line, printable, bounded."""
    one_line = " ".join("".join(letter if letter.isprintable() else " " for letter in text[: 4 * MAX_TEXT]).split())
    return one_line if len(one_line) <= MAX_TEXT else one_line[: MAX_TEXT - 1] + "…"


def evidence(
    text: str, value: float, family: Family | str, member: str, labels: Mapping[str, str] | None = None
) -> Evidence:
    """Write what was seen.

    Args:
        text: A noun phrase without the value.
        value: The value.
        family: Of which.
        member: Name of the service or dependency.
        labels: Which of its series.
    """
    name = family if isinstance(family, str) else family.name
    pairs = {"service": member, **(labels or {})}
    selector = ",".join(f'{label}="{_escaped(value)}"' for label, value in pairs.items())
    return Evidence(clean(text), value, f"{name}{{{selector}}}")


def pool_pressed(member: Member) -> tuple[Evidence, ...]:
    """Return what says that a connection pool is exhausted: threads wait, or all of it is in use."""
    found = []
    waiting = member.highest(app.CONNECTIONS, state="pending")
    if waiting is not None and waiting.value > 0:
        found.append(_of(member, app.CONNECTIONS, "threads waiting for a connection of {pool}", waiting))
    used = member.highest(app.SATURATION)
    if used is not None and used.value >= member.limits.get("pool_ratio", 1.0):
        found.append(_of(member, app.SATURATION, "share of {pool} in use", used))
    return tuple(found)


def heap(member: Member) -> Evidence | None:
    """Return how full the heap is, where that is over its limit; as it was last seen, where nothing is seen now."""
    found: dict[str, float] = {}
    for used in member.readings(app.MEMORY_USED, area="heap"):
        target = used.labels.get("target", "")
        highest = member.highest(app.MEMORY_MAX, area="heap", target=target)
        if highest is not None and highest.value > 0:
            found[target] = used.value / highest.value
    ratio = max(found.values()) if found else member.remembered.get("heap_ratio", math.nan)
    if not ratio > member.limits.get("heap_ratio", 1.0):
        return None
    return evidence("share of the heap in use", ratio, app.MEMORY_USED, member.name, {"area": "heap"})


def lock_waits(member: Member) -> tuple[Evidence, ...]:
    """Return how long sessions of a database have waited for a lock, and for whom, where that is over its limit."""
    longest = member.highest(sessions.LONGEST_LOCK_WAIT)
    if longest is None or not longest.value > member.limits.get("lock_wait", math.inf):
        return ()
    found = [_of(member, sessions.LONGEST_LOCK_WAIT, "seconds that a session has waited for a lock", longest)]
    root = member.highest(sessions.BLOCKED)
    if root is not None:
        found.append(_of(member, sessions.BLOCKED, "sessions that wait for {application} (user {user}, {state})", root))
    oldest = member.highest(sessions.BLOCKING)
    if oldest is not None:
        found.append(_of(member, sessions.BLOCKING, "seconds that {application} has had its transaction open", oldest))
    return tuple(found)


def pooler_waits(member: Member) -> tuple[Evidence, ...]:
    """Return how long clients of a pgbouncer have waited for a connection, where that is over its limit."""
    longest = member.highest(pgbouncer.LONGEST_WAIT)
    if longest is None or not longest.value > member.limits.get("pgbouncer_wait", math.inf):
        return ()
    found = [_of(member, pgbouncer.LONGEST_WAIT, "seconds that a client of pool {database}/{user} has waited", longest)]
    waiting = member.highest(pgbouncer.CLIENTS, state="waiting")
    if waiting is not None:
        found.append(_of(member, pgbouncer.CLIENTS, "clients of pool {database}/{user} that wait", waiting))
    paused = member.highest(pgbouncer.PAUSED)
    if paused is not None and paused.value > 0:
        found.append(_of(member, pgbouncer.PAUSED, "database {database} is paused", paused))
    return tuple(found)


def pooler_full(member: Member) -> Evidence | None:
    """Return how many clients a pgbouncer has, where it lets no more in; its console is open all the same."""
    for used in member.readings(pgbouncer.CLIENT_CONNECTIONS):
        most = member.highest(pgbouncer.MAX_CLIENT_CONNECTIONS, target=used.labels.get("target", ""))
        if most is not None and used.value >= most.value > 0:
            return _of(member, pgbouncer.CLIENT_CONNECTIONS, f"clients connected, of {most.value:g} that are let in", used)
    return None


def migration_lock(member: Member) -> Evidence | None:
    """Return for how long Flyway's lock in a database has been held, where that is over its limit."""
    held = member.highest(flyway.FLYWAY_LOCK_SECONDS)
    if held is None or not held.value > member.limits.get("migration_lock", math.inf):
        return None
    return _of(member, flyway.FLYWAY_LOCK_SECONDS, "seconds that Flyway's lock on schema {schema} has been held", held)


def failed_writes(member: Member) -> Evidence | None:
    """Return in how many partitions the canary of a Kafka cluster failed, where it did in all."""
    flown = [reading.value for reading in member.readings(kafka.CANARY)]
    if not flown or any(flown):
        return None
    return evidence("partitions that took and gave back no canary", float(len(flown)), kafka.CANARY, member.name)


def gc_share(member: Member, least: float) -> Evidence | None:
    """Return the share of the time that goes into garbage collection, where it is at least so much."""
    now = member.highest(app.GC_RATIO)
    share = now.value if now is not None else member.remembered.get("gc_ratio", math.nan)
    return evidence("share of time in garbage collection", share, app.GC_RATIO, member.name) if share >= least else None


def most(found: Iterator[Evidence] | tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    """Keep as many as are shown."""
    return tuple(found)[:MOST]


def _of(member: Member, family: Family, text: str, reading: Reading) -> Evidence:
    for name, value in reading.labels.items():
        text = text.replace(f"{{{name}}}", value)
    return evidence(text, reading.value, family, member.name, {k: v for k, v in reading.labels.items() if k != "target"})


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
