"""What a reading of a Kafka cluster says, as samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from exporter.clients.kafka.ages import Ages
from exporter.clients.kafka.canary import Flight
from exporter.clients.kafka.cluster import Reading
from exporter.clients.kafka.errors import PartitionErrorReason
from exporter.clients.kafka.layout import Partition
from exporter.clients.kafka.progress import Standing
from exporter.kafka import families as k
from exporter.metrics.family import Family
from exporter.metrics.store import LabelValues, Samples
from exporter.verdict import Verdict

__all__ = [
    "samples_of_brokers",
    "samples_of_canary",
    "samples_of_dead",
    "samples_of_errors",
    "samples_of_groups",
    "samples_of_transactions",
]


def samples_of_brokers(reading: Reading, *, excused: bool = False) -> Samples:
    """Return which brokers answer, and whether the partitions of the cluster are whole.

    Args:
        reading: What was read.
        excused: That a broker does not answer says nothing of it: the prober stood still.
    """
    layout = reading.layout
    silent = (*(() if excused else layout.brokers), *layout.health.missing)
    up: dict[LabelValues, float] = {(str(node),): 0 for node in silent if node not in reading.refused}
    seconds: dict[LabelValues, float] = {(str(node),): taken for node, taken in reading.seconds.items()}
    return {
        k.BROKER_UP: up | dict.fromkeys(seconds, 1),
        k.BROKER_SECONDS: seconds,
        k.BROKER_ADDRESS: {(str(node), str(at), layout.racks.get(node, "")): 1 for node, at in layout.brokers.items()},
        k.PARTITIONS: {(): layout.health.partitions},
        k.UNDER_REPLICATED: {(): layout.health.under_replicated},
        k.UNDER_MIN_ISR: {(): reading.under_min_isr} if reading.under_min_isr is not None else {},
        k.UNKNOWN_MIN_ISR: {(): reading.unknown_min_isr},
        k.OFFLINE: {(): layout.health.offline},
    }


def samples_of_canary(flight: Flight) -> Samples:
    """Return which records were written and read again, and how long that took; what the prober cannot tell is left out."""
    told = {at: why for at, why in flight.partitions.items() if why is None or why.verdict is Verdict.DOWN}
    return {
        k.CANARY: {(str(at),): float(why is None) for at, why in told.items()},
        k.CANARY_SECONDS: {
            (str(node), stage): seconds
            for node, times in flight.times.items()
            for stage, seconds in (("produce", times.produce), ("fetch", times.fetch), ("end_to_end", times.end_to_end))
        },
    }


def samples_of_groups(reading: Reading, standings: Mapping[str, Standing]) -> Samples:
    """Return what groups do, who is in them, and what they have commits for."""
    states: dict[LabelValues, float] = {}
    members: dict[LabelValues, float] = {}
    errors: dict[LabelValues, float] = {}
    infos: dict[LabelValues, float] = {}
    verdicts: dict[LabelValues, float] = {}
    by_topic: dict[Family, dict[LabelValues, float]] = {
        k.STANDING: {},
        k.STANDING_SECONDS: {},
        k.COMMITTED: {},
        k.UNCOMMITTED: {},
    }
    for name, group in reading.groups.items():
        state = group.state
        if state == "dead" and group.commits:
            state = "unknown"  # dead groups keep no commits: it is of the new protocol, whose state is not told
        if state is not None:
            states[name, state] = 1
        if group.members is not None and group.state != "dead":
            members[name,] = group.members
        if group.coordinator is not None:
            infos[name, str(group.coordinator), group.assignor] = 1
        errors.update(samples_of_errors(group.partition_errors))
        standing = standings[name]
        verdicts[name, standing.verdict] = 1
        for topic, seconds in standing.seconds.items():
            by_topic[k.STANDING_SECONDS][name, topic] = seconds
            by_topic[k.STANDING][name, topic] = standing.standing.get(topic, 0)
            if group.committed:
                by_topic[k.COMMITTED][name, topic] = len(group.commits.get(topic, ()))
                by_topic[k.UNCOMMITTED][name, topic] = standing.uncommitted.get(topic, 0)
    return {
        k.VERDICT: verdicts, k.STATE: states, k.MEMBERS: members, k.PARTITION_ERROR: errors, **by_topic, k.COORDINATOR: infos
    }  # fmt: skip


def samples_of_transactions(reading: Reading, ages: Ages, now: float) -> Samples:
    """Return what open transactions hold back, and for how long."""
    held: dict[LabelValues, float] = {}
    seconds: dict[LabelValues, float] = {}
    for topic, stable in reading.stable.items():
        ends = reading.ends.get(topic, {})
        for number, offset in stable.items():
            if number in ends and offset < ends[number]:  # the end was asked for first
                held[topic, str(number)] = ends[number] - offset
                age = ages.age(now, Partition(topic, number), offset)
                if age is not None:
                    seconds[topic, str(number)] = age
    return {k.OPEN_MESSAGES: held, k.OPEN_SECONDS: seconds}


def _depths(reading: Reading, suffixes: tuple[str, ...]) -> dict[LabelValues, float]:
    depths: dict[LabelValues, float] = {}
    for topic, beginnings in reading.beginnings.items():
        ends = reading.ends.get(topic, {})
        if topic.endswith(suffixes) and beginnings.keys() == ends.keys() == set(reading.layout.topics[topic]):
            depths[topic,] = sum(max(0, ends[number] - beginning) for number, beginning in beginnings.items())
    return depths


def samples_of_errors(errors: Mapping[Partition, PartitionErrorReason]) -> dict[LabelValues, float]:
    """Return why offsets of partitions are not known."""
    return {(partition.topic, str(partition.number), reason): 1 for partition, reason in errors.items()}


def samples_of_dead(reading: Reading, ages: Ages, now: float, suffixes: tuple[str, ...]) -> Samples:
    """Return what dead-letter topics hold, how old it is, and whose it is."""
    depths = _depths(reading, suffixes)
    oldest: dict[LabelValues, float] = {}
    unread: dict[LabelValues, float] = {}
    owners: dict[LabelValues, float] = {}
    readers = _readers(reading)
    for (topic,) in depths:
        age = _age_from(reading, ages, now, topic, {})
        if age is not None:
            oldest[topic,] = age
        left = [age, *(_age_from(reading, ages, now, topic, commits) for commits in readers.get(topic, ()))]
        known = [each for each in left if each is not None]
        if len(known) == len(left) and reading.failures.get("groups") is None:  # else who has read most may not be known
            unread[topic,] = min(known)
        read = {topic.removesuffix(suffix) for suffix in suffixes} - {topic}
        owners.update({(topic, name): 1 for name, group in reading.groups.items() if read & group.commits.keys()})
    return {k.DLQ_MESSAGES: depths, k.DLQ_SECONDS: oldest, k.DLQ_UNREAD_SECONDS: unread, k.DLQ_GROUP: owners}


def _readers(reading: Reading) -> Mapping[str, Sequence[Mapping[int, int] | None]]:
    """Return what groups have committed of each topic; None for one of which it is not all known."""
    found: defaultdict[str, list[Mapping[int, int] | None]] = defaultdict(list)
    for group in reading.groups.values():
        unknown = {partition.topic for partition in group.partition_errors}
        for topic in group.commits.keys() | unknown:
            found[topic].append(None if topic in unknown else group.commits[topic])
    return found


def _age_from(reading: Reading, ages: Ages, now: float, topic: str, commits: Mapping[int, int] | None) -> float | None:
    """Return the age of the oldest message of a topic from these offsets on, of partitions without one from the beginning.

    None where it is not known.
    """
    if commits is None:
        return None
    found = [
        ages.age(now, Partition(topic, number), commits.get(number, beginning))
        for number, beginning in reading.beginnings[topic].items()
    ]
    known = [age for age in found if age is not None]
    return max(known) if known and len(known) == len(found) else None
