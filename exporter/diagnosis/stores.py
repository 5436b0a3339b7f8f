"""What a Redis says of itself that explains why it is down."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.clients.redis.cluster import SLOTS
from exporter.diagnosis import causes
from exporter.diagnosis.facts import evidence, most
from exporter.diagnosis.model import Confidence, Evidence, Member, Suspicion
from exporter.redis import families as r
from exporter.verdict import Reason

__all__ = ["of_store"]


def of_store(member: Member) -> Iterator[Suspicion]:
    """Yield what its server says that explains why it is down."""
    serves = member.lowest(r.CLUSTER_OK)
    if serves is not None and serves.value == 0:
        yield Suspicion(causes.CLUSTER_DOWN, "", Confidence.HIGH, most(_of_cluster(member)))
    if Reason.QUERY_FAILED not in member.reasons:
        return  # neither alone makes it down: reads are served, and it may be told to go on without saves
    for policy in member.readings(r.POLICY, policy="noeviction"):
        target = policy.labels.get("target", "")
        used, highest = member.highest(r.MEMORY_USED, target=target), member.highest(r.MEMORY_MAX, target=target)
        if used is not None and highest is not None and used.value >= highest.value > 0:
            full = evidence("share of maxmemory in use", used.value / highest.value, r.MEMORY_USED, member.name)
            yield Suspicion(causes.MEMORY_LIMIT, "", Confidence.HIGH, (full,))
            break
    failed = [each for each in member.readings(r.PERSISTENCE) if each.value == 0]
    if failed:
        seen = (_failed(member, each.labels.get("operation", "")) for each in failed)
        yield Suspicion(causes.SAVE_FAILING, "", Confidence.HIGH, most(seen))


def _of_cluster(member: Member) -> Iterator[Evidence]:
    served = member.lowest(r.CLUSTER_SLOTS, state="ok")
    if served is not None:
        yield evidence("slots not served", SLOTS - served.value, r.CLUSTER_SLOTS, member.name, {"state": "ok"})
    failed = member.highest(r.CLUSTER_FAILED, state="fail")
    if failed is not None:
        yield evidence("nodes of the cluster that failed", failed.value, r.CLUSTER_FAILED, member.name, {"state": "fail"})
    yield evidence("cluster_state, where 0 is fail", 0.0, r.CLUSTER_OK, member.name)


def _failed(member: Member, operation: str) -> Evidence:
    words = operation.replace("_", " ")
    return evidence(f"the last {words} worked", 0.0, r.PERSISTENCE, member.name, {"operation": operation})
