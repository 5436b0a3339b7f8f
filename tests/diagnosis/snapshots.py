"""Snapshots in short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.actuator import recording as app
from exporter.actuator.health_samples import COMPONENT_UP
from exporter.config.models import DependencySettings, ServiceSettings
from exporter.databases import flyway, pgbouncer, sessions
from exporter.diagnosis.diagnose import diagnose
from exporter.diagnosis.model import Diagnosis, Member, Reading, Snapshot, Suspicion
from exporter.kafka import families as kafka
from exporter.metrics import core as m
from exporter.metrics.family import Family
from exporter.redis import families as r
from exporter.verdict import Reason, Verdict
from exporter.workloads import families as k

UP, DOWN, UNKNOWN = Verdict.UP, Verdict.DOWN, Verdict.UNKNOWN

FAMILIES: Mapping[str, Family] = {
    "component": COMPONENT_UP, "p99": app.REQUEST_P99, "connections": app.CONNECTIONS, "pool": app.SATURATION,
    "heap": app.MEMORY_USED, "heap_max": app.MEMORY_MAX, "gc": app.GC_RATIO, "cache": app.CACHE_HIT_RATIO,
    "query": sessions.LONGEST_QUERY, "lock": sessions.LONGEST_LOCK_WAIT, "blocked": sessions.BLOCKED,
    "blocking": sessions.BLOCKING, "migration": flyway.FLYWAY_LOCK_SECONDS,
    "pooled": pgbouncer.LONGEST_WAIT, "clients": pgbouncer.CLIENTS, "paused": pgbouncer.PAUSED,
    "used_clients": pgbouncer.CLIENT_CONNECTIONS, "max_clients": pgbouncer.MAX_CLIENT_CONNECTIONS,
    "hits": r.HIT_RATIO, "cluster_ok": r.CLUSTER_OK, "slots": r.CLUSTER_SLOTS, "failed": r.CLUSTER_FAILED,
    "saved": r.PERSISTENCE, "used": r.MEMORY_USED, "memory": r.MEMORY_MAX, "policy": r.POLICY,
    "lag": kafka.TOPIC_LAG, "members": kafka.MEMBERS,
    "dead": kafka.DLQ_MESSAGES, "letters": kafka.DLQ_GROUP, "partition": kafka.PARTITION_ERROR, "verdict": kafka.VERDICT,
    "age": kafka.TOPIC_LAG_SECONDS, "committed": kafka.COMMITTED, "lost": kafka.LOST, "held": kafka.OPEN_MESSAGES,
    "canary": kafka.CANARY, "open": kafka.OPEN_SECONDS,
    "standing": kafka.STANDING_SECONDS, "broker": kafka.BROKER_UP, "took": m.DURATION,
    "ready": k.PODS_READY, "waiting": k.WAITING, "unschedulable": k.UNSCHEDULABLE, "ended": k.TERMINATED,
    "ended_at": k.TERMINATED_AT, "exit": k.EXIT_CODE, "limit": k.MEMORY_LIMIT, "replicas": k.REPLICAS, "stuck": k.STUCK,
    "refused": k.REPLICA_FAILURE, "node": k.NODE_TROUBLE, "at_limit": k.AT_LIMIT, "unable": k.UNABLE,
    "autoscaler": k.AUTOSCALER,
}  # fmt: skip
_USER = {"user": "u", "password": "p", "database": "d"}


def facts(**found: float | Mapping[Any, float]) -> dict[Family, tuple[Reading, ...]]:
    """Make facts: `facts(p99={"own": 0.7}, gc=0.3)`."""
    made: dict[Family, tuple[Reading, ...]] = {}
    for name, values in found.items():
        family = FAMILIES[name]
        readings = []
        for labels, value in (values if isinstance(values, Mapping) else {(): values}).items():
            named = zip(family.labels, (labels,) if isinstance(labels, str) else labels, strict=True)
            readings.append(Reading({**dict(named), "target": "h:1"}, value))
        made[family] = tuple(readings)
    return made


def service(name: str, verdict: Verdict = UP, *needs: str, reason: Reason = Reason.TIMEOUT, **more: Any) -> Member:
    """Make a service; what is not said is as the configuration has it."""
    limits = ServiceSettings.model_validate({"instances": ["h:1"], "probes": {"actuator": {}}}).limits
    reasons = {reason: 1} if verdict is DOWN else {}
    kinds = frozenset({"actuator"})
    return Member(
        name, verdict, **{"since": 0.0, "needs": needs, "kinds": kinds, "reasons": reasons, "limits": limits, **more}
    )


def dependency(name: str, kind: str, verdict: Verdict = UP, reason: Reason = Reason.CONNECT_REFUSED, **more: Any) -> Member:
    """Make a dependency."""
    probes = {kind: _USER if kind == "postgres" else {}}
    limits = DependencySettings.model_validate({"instances": ["h:1"], "probes": probes}).limits
    reasons = {reason: 1} if verdict is DOWN else {}
    kinds = frozenset({kind})
    return Member(name, verdict, **{"since": 0.0, "kinds": kinds, "reasons": reasons, "limits": limits, **more})


def found(*members: Member) -> dict[str, tuple[Diagnosis, ...]]:
    """Diagnose."""
    return diagnose(Snapshot(1000.0, {member.name: member for member in members}))


def causes(*members: Member) -> dict[str, list[tuple[str, str]]]:
    """Return of each that is in trouble the causes of its first diagnosis."""
    return {
        name: [(each.cause.name, each.dependency) for each in these[0].causes] for name, these in found(*members).items()
    }


def first(name: str, *members: Member) -> Suspicion:
    """Return the likeliest cause of one."""
    return found(*members)[name][0].causes[0]


def seen(suspicion: Suspicion) -> dict[str, float]:
    """Return what speaks for it."""
    return {each.text: each.value for each in suspicion.evidence}
