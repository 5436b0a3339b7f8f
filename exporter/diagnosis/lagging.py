"""Why a consumer group lags: brokers, nobody who consumes, messages that cannot be consumed or are kept back by a
transaction, offsets set back, or consumers too slow; and that retention overtakes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import NamedTuple

from exporter.clients.kafka.verdicts import GroupVerdict
from exporter.diagnosis import causes
from exporter.diagnosis.facts import MOST, evidence
from exporter.diagnosis.model import Confidence, Diagnosis, Evidence, Member, Reading, Snapshot, Suspicion, Symptom
from exporter.diagnosis.slow import is_slow
from exporter.kafka import families as kafka
from exporter.verdict import Verdict

__all__ = ["why_lagging"]

MOST_GROUPS = 50
"""Groups of a cluster that are diagnosed: those that are furthest behind."""


_OPEN_LONG = 60.0
"""Seconds for which a transaction is open at most where all is well: transaction.timeout.ms of a producer by default."""


def why_lagging(member: Member, snapshot: Snapshot) -> tuple[Diagnosis, ...]:
    """Return why groups of a cluster lag: those over a threshold, those with a lag and nobody to work it off, those that
    stand still, and those of which messages were deleted unread.
    """
    idle = {reading.labels["group"] for reading in member.readings(kafka.MEMBERS) if reading.value == 0}
    verdicts = {
        reading.labels["group"]: GroupVerdict(reading.labels["verdict"]) for reading in member.readings(kafka.VERDICT)
    }
    stuck = {group for group, verdict in verdicts.items() if verdict in kafka.STUCK}
    worst, losing, old = _worst(member, idle), _losing(member), _old(member)
    groups = sorted(worst.keys() | stuck | losing.keys() | old.keys(), key=lambda group: (-_value(worst.get(group)), group))[
        :MOST_GROUPS
    ]
    if not groups:
        return ()
    whose: defaultdict[str, set[str]] = defaultdict(set)
    for of_group in member.readings(kafka.DLQ_GROUP):
        whose[of_group.labels["topic"]].add(of_group.labels["group"])
    cluster = _Cluster(member, tuple(_leaderless(member)), tuple(_missing(member)), _dead_letters(member), whose)
    found = []
    for group in groups:
        standing = _longest(member, group) if group in stuck else None
        reading = worst.get(group) or standing or losing.get(group) or old.get(group)
        owner = _owner(group, snapshot)
        lag = tuple(_lag(member, group, reading))
        these = _of_brokers(cluster, lag)
        if group in idle:
            gone = evidence(f"members of {group}", 0.0, kafka.MEMBERS, member.name, {"group": group})
            if group in stuck:
                these.append(Suspicion(_OF_STUCK[verdicts[group]], owner, Confidence.HIGH, lag))
            these.append(Suspicion(causes.CONSUMERS_GONE, owner, Confidence.HIGH, (gone, *lag)))
        else:
            these += _of_consumers(cluster, reading, verdicts.get(group), lag, owner, snapshot)
        if group in losing:
            these.append(
                Suspicion(causes.RETENTION_PASSED, member.name, Confidence.HIGH, (_lost(member, losing[group]), *lag))
            )
        found.append(Diagnosis(member.name, Symptom.LAGGING, tuple(these[:MOST]), group=group))
    return tuple(found)


class _Cluster(NamedTuple):
    """What concerns all groups of a cluster."""

    member: Member
    leaderless: tuple[Evidence, ...]
    missing: tuple[Evidence, ...]
    dead: Mapping[str, Evidence]
    whose: Mapping[str, set[str]]


def _of_brokers(cluster: _Cluster, lag: tuple[Evidence, ...]) -> list[Suspicion]:
    if not cluster.leaderless:
        return []
    evidences = (*cluster.leaderless, *cluster.missing, *lag)[:MOST]
    return [Suspicion(causes.BROKER_DOWN, cluster.member.name, Confidence.HIGH, evidences)]


def _of_consumers(
    cluster: _Cluster,
    reading: Reading | None,
    verdict: GroupVerdict | None,
    lag: tuple[Evidence, ...],
    owner: str,
    snapshot: Snapshot,
) -> Iterator[Suspicion]:
    """Return why a group with members lags."""
    member = cluster.member
    kept_back = _kept_back(member, reading) if reading is not None else ()
    stuck = verdict in kafka.STUCK
    if kept_back:
        yield Suspicion(causes.TRANSACTION_OPEN, member.name, Confidence.HIGH, (*kept_back, *lag)[:MOST])
    if stuck and verdict is not None and not (kept_back and verdict in _STANDS):
        yield Suspicion(_OF_STUCK[verdict], owner, Confidence.HIGH, lag)
    own = _own_letters(cluster, reading) if reading is not None else []
    if own and verdict is not GroupVerdict.POISONED:
        yield Suspicion(causes.POISON_MESSAGE, owner, Confidence.MEDIUM, (*own, *lag)[:MOST])
    if verdict is GroupVerdict.REWOUND:
        yield Suspicion(causes.OFFSETS_REWOUND, owner, Confidence.MEDIUM, lag)
    elif not cluster.leaderless and not stuck and not kept_back:
        yield Suspicion(causes.SLOW_CONSUMER, owner, _how_slow(owner, snapshot), lag)
    if cluster.missing and not cluster.leaderless:
        yield Suspicion(causes.BROKER_DOWN, member.name, Confidence.LOW, (*cluster.missing, *lag)[:MOST])


def _own_letters(cluster: _Cluster, reading: Reading) -> list[Evidence]:
    """Return the dead letters of a group's topic; not those of another topic, whose groups are others, by their names."""
    group, topic = reading.labels["group"], reading.labels["topic"]
    own = (name for name in cluster.dead if name.startswith(topic) and group in cluster.whose.get(name, {group}))
    return [cluster.dead[name] for name in own]


def _kept_back(member: Member, reading: Reading) -> tuple[Evidence, ...]:
    """Return what says that a group has come as far as an open transaction of a topic, and gets nothing more.

    It has passed it where fewer messages wait for it than are kept back: then it reads what is not committed too.
    """
    topic = reading.labels["topic"]
    oldest = member.highest(kafka.OPEN_SECONDS, topic=topic)
    behind = member.highest(kafka.TOPIC_LAG, topic=topic, group=reading.labels["group"])
    if oldest is None or oldest.value <= _OPEN_LONG or behind is None:
        return ()
    held = sum(each.value for each in member.readings(kafka.OPEN_MESSAGES, topic=topic))
    if not held <= behind.value <= 2 * held:
        return ()
    labels = {"topic": topic}
    return (
        evidence(
            f"seconds that a transaction in {topic} has been open", oldest.value, kafka.OPEN_SECONDS, member.name, labels
        ),
        evidence("messages that it keeps back", held, kafka.OPEN_MESSAGES, member.name, labels),
    )


def _losing(member: Member) -> dict[str, Reading]:
    """Return the topic of which each group has lost most."""
    return _highest_of_groups(reading for reading in member.readings(kafka.LOST) if reading.value > 0)


def _old(member: Member) -> dict[str, Reading]:
    """Return the topic of which the oldest message is unread by each group for too long.

    The marker of a transaction stays unread for ever: one message a partition is no lag.
    """
    limit = member.limits.get("consumer_lag_seconds", inf)
    late = [reading for reading in member.readings(kafka.TOPIC_LAG_SECONDS) if reading.value > limit]
    if not late:
        return {}
    lags, partitions = (
        {(each.labels["group"], each.labels["topic"]): each.value for each in member.readings(family)}
        for family in (kafka.TOPIC_LAG, kafka.COMMITTED)
    )
    places = ((reading, (reading.labels["group"], reading.labels["topic"])) for reading in late)
    return _highest_of_groups(reading for reading, at in places if lags.get(at, 0.0) > partitions.get(at, inf))


def _highest_of_groups(readings: Iterable[Reading]) -> dict[str, Reading]:
    highest: dict[str, Reading] = {}
    for reading in readings:
        group = reading.labels["group"]
        before = highest.get(group)
        if before is None or before.value < reading.value:
            highest[group] = reading
    return highest


def _lost(member: Member, reading: Reading) -> Evidence:
    topic = reading.labels["topic"]
    labels = {"group": reading.labels["group"], "topic": topic}
    return evidence(f"messages of {topic} deleted before they were read", reading.value, kafka.LOST, member.name, labels)


def _value(reading: Reading | None) -> float:
    return reading.value if reading is not None else 0.0


def _worst(member: Member, idle: set[str]) -> dict[str, Reading]:
    """Return the topic that each lagging group is furthest behind with."""
    limit = member.limits.get("consumer_lag", inf)
    return _highest_of_groups(
        reading
        for reading in member.readings(kafka.TOPIC_LAG)
        if reading.value > limit or (reading.labels["group"] in idle and reading.value > 0)
    )


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
    age = member.highest(kafka.TOPIC_LAG_SECONDS, **labels)
    if age is not None and age.value > 0:
        yield evidence(f"age of the oldest of {topic} in seconds", age.value, kafka.TOPIC_LAG_SECONDS, member.name, labels)
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

_STANDS = frozenset({GroupVerdict.STALLED, GroupVerdict.POISONED})

_OF_BROKERS = frozenset({"no_leader", "not_leader", "not_available", "unreachable", "timeout"})
