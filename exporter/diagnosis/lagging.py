"""Why a consumer group lags: brokers, nobody who consumes, messages that cannot be consumed, or consumers too slow."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.clients.kafka.progress import GroupVerdict
from exporter.diagnosis import causes
from exporter.diagnosis.facts import MOST, evidence
from exporter.diagnosis.model import Confidence, Diagnosis, Evidence, Member, Reading, Snapshot, Suspicion, Symptom
from exporter.diagnosis.slow import is_slow
from exporter.kafka import families as kafka
from exporter.verdict import Verdict

__all__ = ["why_lagging"]

MOST_GROUPS = 50
"""Groups of a cluster that are diagnosed: those that are furthest behind."""


def why_lagging(member: Member, snapshot: Snapshot) -> tuple[Diagnosis, ...]:
    """Return why groups of a cluster lag: those over the threshold, those with a lag and nobody to work it off, and those
    that stand still.
    """
    idle = {reading.labels["group"] for reading in member.readings(kafka.MEMBERS) if reading.value == 0}
    stuck = {
        reading.labels["group"]: GroupVerdict(reading.labels["verdict"])
        for reading in member.readings(kafka.VERDICT)
        if reading.labels["verdict"] in kafka.STUCK
    }
    worst = _worst(member, idle)
    groups = sorted(worst.keys() | stuck.keys(), key=lambda group: (-_value(worst.get(group)), group))[:MOST_GROUPS]
    if not groups:
        return ()
    leaderless, missing, dead = tuple(_leaderless(member)), tuple(_missing(member)), _dead_letters(member)
    found = []
    for group in groups:
        reading = worst.get(group) or _longest(member, group)
        lag = tuple(_lag(member, group, reading))
        owner = _owner(group, snapshot)
        these: list[Suspicion] = []
        if leaderless:
            evidences = (*leaderless, *missing, *lag)[:MOST]
            these.append(Suspicion(causes.BROKER_DOWN, member.name, Confidence.HIGH, evidences))
        if group in stuck:
            these.append(Suspicion(_OF_STUCK[stuck[group]], owner, Confidence.HIGH, lag))
        if group in idle:
            gone = evidence(f"members of {group}", 0.0, kafka.MEMBERS, member.name, {"group": group})
            these.append(Suspicion(causes.CONSUMERS_GONE, owner, Confidence.HIGH, (gone, *lag)))
        else:
            own = [seen for name, seen in dead.items() if reading is not None and name.startswith(reading.labels["topic"])]
            if own and stuck.get(group) is not GroupVerdict.POISONED:
                these.append(Suspicion(causes.POISON_MESSAGE, owner, Confidence.MEDIUM, (*own, *lag)[:MOST]))
            if not leaderless and group not in stuck:
                these.append(Suspicion(causes.SLOW_CONSUMER, owner, _how_slow(owner, snapshot), lag))
            if missing and not leaderless:
                these.append(Suspicion(causes.BROKER_DOWN, member.name, Confidence.LOW, (*missing, *lag)[:MOST]))
        found.append(Diagnosis(member.name, Symptom.LAGGING, tuple(these[:MOST]), group=group))
    return tuple(found)


def _value(reading: Reading | None) -> float:
    return reading.value if reading is not None else 0.0


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


def _longest(member: Member, group: str) -> Reading | None:
    """Return the topic that a group has stood still in for longest."""
    return member.highest(kafka.STANDING_SECONDS, group=group)


def _lag(member: Member, group: str, reading: Reading | None) -> Iterator[Evidence]:
    """Say how far behind a group is with a topic, and for how long it has stood still."""
    if reading is None:
        return
    topic = reading.labels["topic"]
    labels = {"group": group, "topic": topic}
    behind = member.highest(kafka.TOPIC_LAG, **labels)
    if behind is not None:
        yield evidence(f"messages of {topic} not consumed", behind.value, kafka.TOPIC_LAG, member.name, labels)
    stands = member.highest(kafka.STANDING_SECONDS, **labels)
    if stands is not None and stands.value > 0:
        text = f"seconds without a commit in {topic} although messages came"
        yield evidence(text, stands.value, kafka.STANDING_SECONDS, member.name, labels)


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


def _missing(member: Member) -> Iterator[Evidence]:
    gone = sum(not reading.value for reading in member.readings(kafka.BROKER_UP))
    if gone:
        yield evidence("brokers that do not answer", float(gone), kafka.BROKER_UP, member.name)


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


_OF_STUCK = {
    GroupVerdict.STALLED: causes.CONSUMERS_HANG,
    GroupVerdict.POISONED: causes.POISON_MESSAGE,
    GroupVerdict.AHEAD: causes.OFFSETS_AHEAD,
    GroupVerdict.REBALANCING: causes.REBALANCING,
}

_OF_BROKERS = frozenset({"no_leader", "not_leader", "not_available", "unreachable", "timeout"})
