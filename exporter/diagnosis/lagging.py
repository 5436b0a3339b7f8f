"""Why a consumer group lags: brokers, nobody who consumes, messages that cannot be consumed, or consumers too slow."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.diagnosis import causes
from exporter.diagnosis.facts import MOST, evidence
from exporter.diagnosis.model import Confidence, Diagnosis, Evidence, Member, Reading, Snapshot, Suspicion, Symptom
from exporter.diagnosis.slow import is_slow
from exporter.probes import kafka
from exporter.verdict import Verdict

__all__ = ["why_lagging"]

MOST_GROUPS = 50
"""Groups of a cluster that are diagnosed: those that are furthest behind."""


def why_lagging(member: Member, snapshot: Snapshot) -> tuple[Diagnosis, ...]:
    """Return why groups of a cluster lag: those over the threshold, and those with a lag and nobody to work it off."""
    idle = {reading.labels["group"] for reading in member.readings(kafka.MEMBERS) if reading.value == 0}
    worst = _worst(member, idle)
    if not worst:
        return ()
    groups = sorted(worst, key=lambda group: (-worst[group].value, group))[:MOST_GROUPS]
    leaderless, dead = tuple(_leaderless(member)), _dead_letters(member)
    found = []
    for group in groups:
        reading = worst[group]
        topic = reading.labels["topic"]
        labels = {"group": group, "topic": topic}
        lag = evidence(f"messages of {topic} not consumed", reading.value, kafka.TOPIC_LAG, member.name, labels)
        owner = _owner(group, snapshot)
        these: list[Suspicion] = []
        if leaderless:
            these.append(Suspicion(causes.BROKER_DOWN, member.name, Confidence.HIGH, (*leaderless, lag)))
        if group in idle:
            gone = evidence(f"members of {group}", 0.0, kafka.MEMBERS, member.name, {"group": group})
            these.append(Suspicion(causes.CONSUMERS_GONE, owner, Confidence.HIGH, (gone, lag)))
        else:
            own = [seen for name, seen in dead.items() if name.startswith(topic)]
            if own:
                these.append(Suspicion(causes.POISON_MESSAGE, owner, Confidence.MEDIUM, (*own, lag)[:MOST]))
            if not leaderless:
                these.append(Suspicion(causes.SLOW_CONSUMER, owner, _how_slow(owner, snapshot), (lag,)))
        found.append(Diagnosis(member.name, Symptom.LAGGING, tuple(these[:MOST]), group=group))
    return tuple(found)


def _worst(member: Member, idle: set[str]) -> dict[str, Reading]:
    """Return the topic that each lagging group is furthest behind with."""
    limit = member.limits.get("consumer_lag", float("inf"))
    worst: dict[str, Reading] = {}
    for reading in member.readings(kafka.TOPIC_LAG):
        group = reading.labels["group"]
        if reading.value > limit or (group in idle and reading.value > 0):
            before = worst.get(group)
            if before is None or before.value < reading.value:
                worst[group] = reading
    return worst


def _how_slow(owner: str, snapshot: Snapshot) -> Confidence:
    """Something speaks for it where the service that consumes is in trouble itself."""
    if owner and (snapshot.members[owner].verdict is not Verdict.UP or is_slow(snapshot.members[owner])):
        return Confidence.MEDIUM
    return Confidence.LOW


def _leaderless(member: Member) -> Iterator[Evidence]:
    without = [reading for reading in member.readings(kafka.PARTITION_ERROR) if reading.labels.get("reason") in _OF_BROKERS]
    if without:
        count = float(len(without))
        yield evidence("partitions that no broker answers for", count, kafka.PARTITION_ERROR, member.name)


def _dead_letters(member: Member) -> dict[str, Evidence]:
    """Return the dead-letter topics that hold something."""
    found: dict[str, Evidence] = {}
    for reading in member.readings(kafka.DLQ_MESSAGES):
        if reading.value > 0:
            topic = reading.labels["topic"]
            found[topic] = evidence(
                f"dead letters in {topic}", reading.value, kafka.DLQ_MESSAGES, member.name, {"topic": topic}
            )
    return found


def _owner(group: str, snapshot: Snapshot) -> str:
    """Return the service whose group it is, by the names that people give: `case-service` is of `case`."""
    for name in (group, group.removesuffix("-service"), group.removesuffix("-consumer"), group.removesuffix("-group")):
        if name in snapshot.members:
            return name
    return ""


_OF_BROKERS = frozenset({"no_leader", "not_leader", "not_available", "unreachable", "timeout"})
