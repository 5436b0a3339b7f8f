"""The `kafka` probe: whether a cluster answers, how far its consumers are behind, and what lies in dead-letter topics."""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from exporter.auth.oauth2 import OAuth2Settings
from exporter.auth.secrets import current_secret
from exporter.auth.ways import Authenticator, AuthSettings, BearerSettings
from exporter.clients.kafka.ages import Ages
from exporter.clients.kafka.cluster import Cluster, Reading, Selection
from exporter.clients.kafka.connection import Access
from exporter.clients.kafka.errors import PartitionErrorReason
from exporter.clients.kafka.layout import Partition
from exporter.clients.kafka.progress import GroupVerdict, Progress, Standing
from exporter.metrics.family import Family, gauge
from exporter.metrics.store import LabelValues, Samples
from exporter.net.tls import ClientTls, TlsSettings
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, Scope, SharedClients, Target
from exporter.values import Duration, Settings
from exporter.verdict import Failure, Reason, Stage

__all__ = ["PROBE", "STUCK", "KafkaProbe", "KafkaSettings"]

BROKERS = gauge("probe_kafka_brokers", "Brokers that the cluster's metadata lists.")
BROKER_UP = gauge(
    "probe_kafka_broker_up",
    "1 if a broker has answered, 0 if it has not, or if it holds replicas and the cluster's metadata does not list it.",
    "broker",
)
BROKER_SECONDS = gauge(
    "probe_kafka_broker_answer_seconds",
    "Time in which a broker said which groups it coordinates, connecting included; a dead one has none.",
    "broker",
)
BROKER_ADDRESS = gauge(
    "probe_kafka_broker_address", "1; where a broker listens, and its rack, empty if none.", "broker", "address", "rack"
)
PARTITIONS = gauge("probe_kafka_partitions", "Partitions of the cluster, of all topics, selected or not.")
UNDER_REPLICATED = gauge(
    "probe_kafka_under_replicated_partitions",
    "Partitions of the cluster with fewer replicas in sync than they should have, of all topics, selected or not.",
)
OFFLINE = gauge(
    "probe_kafka_offline_partitions",
    "Partitions of the cluster without a leader, which nothing is read from or written to, of all topics, selected or not.",
)
LAG = gauge(
    "probe_kafka_consumer_group_lag",
    "Messages of a partition that a consumer group has not committed; below zero where a commit is beyond the end.",
    "group",
    "topic",
    "partition",
)
TOPIC_LAG = gauge(
    "probe_kafka_consumer_group_topic_lag",
    "Messages of a topic that a consumer group has not committed, over the partitions it has commits for, none of them "
    "counted below zero; left out while one of them cannot be read.",
    "group",
    "topic",
)
COMMITTED = gauge(
    "probe_kafka_consumer_group_committed_partitions",
    "Partitions of a topic that a consumer group has commits for: those that its lag is the sum of.",
    "group",
    "topic",
)
UNCOMMITTED = gauge(
    "probe_kafka_consumer_group_uncommitted_partitions",
    "Partitions of a topic that a member of a consumer group has been given, and that nothing was ever committed of.",
    "group",
    "topic",
)
VERDICT = gauge(
    "probe_kafka_consumer_group_verdict",
    "1 for what a consumer group does: ok, lagging, stalled, poisoned, stopped, rewound, ahead, empty, rebalancing or "
    "unknown.",
    "group",
    "verdict",
)
STANDING = gauge(
    "probe_kafka_consumer_group_standing_partitions",
    "Partitions of a topic whose commit has stood still for the whole window although messages came in.",
    "group",
    "topic",
)
STANDING_SECONDS = gauge(
    "probe_kafka_consumer_group_standing_seconds",
    "Longest time for which a commit of a topic has stood still although messages came in; 0 where none does.",
    "group",
    "topic",
)
COORDINATOR = gauge(
    "probe_kafka_consumer_group_coordinator",
    "1; the broker that coordinates a consumer group, and how its members share out partitions, empty while they do not.",
    "group",
    "coordinator",
    "assignor",
)
MEMBERS = gauge("probe_kafka_consumer_group_members", "Consumers that are members of a group.", "group")
STATE = gauge(
    "probe_kafka_consumer_group_state",
    "1 for the state of a consumer group: stable, empty, dead, preparing_rebalance, completing_rebalance, assigning, "
    "reconciling or unknown.",
    "group",
    "state",
)
LAG_SECONDS = gauge(
    "probe_kafka_consumer_group_lag_seconds",
    "Age of the first record of a partition that a consumer group has not committed, where there is one; by when the end of "
    "the log passed it, not by reading it.",
    "group",
    "topic",
    "partition",
)
TOPIC_LAG_SECONDS = gauge(
    "probe_kafka_consumer_group_topic_lag_seconds",
    "Age of the oldest record of a topic that a consumer group has not committed, 0 where there is none; left out while it "
    "is not known for one of the partitions that the group has commits for.",
    "group",
    "topic",
)
MARGIN = gauge(
    "probe_kafka_consumer_group_retention_margin",
    "Messages between the beginning of the log and the first that a consumer group has not committed, which retention takes "
    "before it; the least of the topic's partitions in which something is not committed.",
    "group",
    "topic",
)
LOST = gauge(
    "probe_kafka_consumer_group_lost_messages",
    "Messages of a topic that were deleted before a consumer group committed them: by how much the beginning of the log is "
    "beyond its commits; 0 again once it commits.",
    "group",
    "topic",
)
OPEN_MESSAGES = gauge(
    "probe_kafka_open_transaction_messages",
    "Messages of a partition from the first of an open transaction on, which consumers that read what was committed alone "
    "do not get; only where there is one, of topics that groups have commits for.",
    "topic",
    "partition",
)
OPEN_SECONDS = gauge(
    "probe_kafka_open_transaction_seconds",
    "Age of the first message of the oldest open transaction of a partition.",
    "topic",
    "partition",
)
DLQ_SECONDS = gauge(
    "probe_kafka_dlq_oldest_seconds",
    "Age of the oldest message that a dead-letter topic holds; 0 where it is empty.",
    "topic",
)
DLQ_GROUP = gauge(
    "probe_kafka_dlq_group",
    "1; a consumer group that has commits for the topic a dead-letter topic is named after.",
    "topic",
    "group",
)
END_OFFSET = gauge("probe_kafka_topic_end_offset", "Offset after the last message of a partition.", "topic", "partition")
DLQ_MESSAGES = gauge("probe_kafka_dlq_messages", "Messages that a dead-letter topic holds, end minus beginning.", "topic")
PARTITION_ERROR = gauge(
    "probe_kafka_partition_error", "1 for why a partition's offsets are not known.", "topic", "partition", "reason"
)

FIRST = frozenset({VERDICT, TOPIC_LAG, TOPIC_LAG_SECONDS, LOST, MEMBERS, DLQ_MESSAGES})
"""What alerts go by: it is recorded before all else, since an attempt takes a bounded number of series."""

STUCK = frozenset({GroupVerdict.STALLED, GroupVerdict.POISONED, GroupVerdict.AHEAD, GroupVerdict.REBALANCING})
"""Verdicts that somebody must see to, whatever the lag."""

_ASKED = 1000
"""Partitions of a reading that are asked about by timestamp at a time; the others come next."""

_LOOKS = 6
"""How often a reading asks by timestamp; a broker searches an index of its log for each."""

_SHARE_OF_LOOKING_BACK = 0.5
"""Share of the time left after a reading in which it may ask by timestamp."""

_LARGE = 5000
"""Offsets and commits past which a reading is turned into samples in a thread: that many take some milliseconds."""


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_check_pattern)]


ExpectedName = Annotated[str, Field(min_length=1, max_length=255)]


class NameFilter(Settings):
    """Which names are wanted. A pattern must match the whole name."""

    include: tuple[Pattern, ...] = Field((), max_length=100, description="Regular expressions; empty: all names.")
    exclude: tuple[Pattern, ...] = Field((), max_length=100, description="Regular expressions; they win over include.")

    def selector(self) -> Callable[[str], bool]:
        """Return the test, with its patterns compiled."""
        include, exclude = ([re.compile(pattern) for pattern in patterns] for patterns in (self.include, self.exclude))

        def select(name: str) -> bool:
            wanted = not include or any(pattern.fullmatch(name) for pattern in include)
            return wanted and not any(pattern.fullmatch(name) for pattern in exclude)

        return select


class KafkaSecurity(Settings):
    """How to get into the cluster."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="As the brokers' listener has it."
    )
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "PLAIN", description="For SASL: the mechanism."
    )
    user: str | None = Field(None, min_length=1, max_length=255, description="For SASL: the user; OAUTHBEARER has none.")
    password: SecretStr | None = Field(None, description="For SASL: the password; masked wherever shown.")
    password_file: Path | None = Field(None, description="For SASL: file with the password, read at each login.")
    bearer: BearerSettings | None = Field(None, description="For OAUTHBEARER: a token; its file is read at each login.")
    oauth2: OAuth2Settings | None = Field(None, description="For OAUTHBEARER: a token by client credentials.")
    tls: TlsSettings = Field(default_factory=TlsSettings, description="For SSL: roots, client certificate, name.")

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol in {"SSL", "SASL_SSL"}

    @property
    def has_login(self) -> bool:
        """Whether SASL is spoken."""
        return self.protocol.startswith("SASL")

    @model_validator(mode="after")
    def _fits_together(self) -> KafkaSecurity:
        passwords, tokens = (
            sum(way is not None for way in ways)
            for ways in ((self.password, self.password_file), (self.bearer, self.oauth2))
        )
        if not self.has_login and (self.user is not None or passwords or tokens):
            raise ValueError(f"{self.protocol} has no login: use SASL_PLAINTEXT or SASL_SSL")
        by_token = self.mechanism == "OAUTHBEARER"
        if self.has_login and by_token and (self.user is not None or passwords or tokens != 1):
            raise ValueError("OAUTHBEARER needs either bearer or oauth2, and has neither user nor password")
        if self.has_login and not by_token and (self.user is None or passwords != 1):
            raise ValueError(f"{self.protocol} needs user, and either password or password_file")
        if not by_token and tokens:
            raise ValueError("bearer and oauth2 are for OAUTHBEARER")
        if not self.has_tls and self.tls != TlsSettings():
            raise ValueError(f"{self.protocol} has no TLS: use SSL or SASL_SSL")
        return self


class KafkaSettings(ProbeSettings):
    """How to reach the cluster, and which groups and topics to look at."""

    security: KafkaSecurity = Field(default_factory=KafkaSecurity, description="Encryption and login.")
    groups: NameFilter = Field(default_factory=NameFilter, description="Consumer groups to look at.")
    topics: NameFilter = Field(
        default_factory=NameFilter, description="Topics to look at; internal ones, named __…, never are."
    )
    expected_groups: tuple[ExpectedName, ...] = Field(
        (),
        max_length=1000,
        description="Groups that must be there: one that is not seen is told. With them, the right to describe the cluster, "
        "without which groups are left out in silence, is not needed.",
    )
    expected_topics: tuple[ExpectedName, ...] = Field(
        (), max_length=1000, description="Topics that must be there: one that is not seen is told."
    )
    dlq_suffixes: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(
        ("-dlt", ".DLT", "-dlq", ".dlq", ".DLQ"), max_length=20, description="Endings of the names of dead-letter topics."
    )
    max_partitions: int = Field(
        5000, ge=1, le=50_000, description="Most partitions to read offsets of; with more selected, none are read."
    )
    max_series: int = Field(
        200_000,
        ge=1000,
        le=500_000,
        description="Most series of an attempt, which fails in parts with more; lag of single partitions is left out first.",
    )
    window: Duration = Field(
        300.0,
        description="Time after which a commit that does not move, while messages come in, stands still; longer than "
        "consumers take between two commits.",
    )
    per_partition: bool = Field(
        default=True, description="Export lag and end of each partition, and not only sums by group and topic."
    )


class KafkaProbe(Probe[KafkaSettings]):
    """Asks a cluster for its metadata, which decides; then for groups and offsets, which do not."""

    kind = "kafka"
    settings_type = KafkaSettings
    scope = Scope.SERVICE
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.AUTH, Stage.QUERY)
    metrics = (
        BROKERS, BROKER_UP, BROKER_SECONDS, BROKER_ADDRESS, PARTITIONS, UNDER_REPLICATED, OFFLINE, LAG, TOPIC_LAG, COMMITTED,
        UNCOMMITTED, LAG_SECONDS, TOPIC_LAG_SECONDS, MARGIN, LOST, VERDICT, STANDING, STANDING_SECONDS, MEMBERS, STATE,
        COORDINATOR, END_OFFSET, OPEN_MESSAGES, OPEN_SECONDS, DLQ_MESSAGES, DLQ_SECONDS, DLQ_GROUP, PARTITION_ERROR,
    )  # fmt: skip

    def __init__(self, target: Target, settings: KafkaSettings, shared: SharedClients) -> None:
        super().__init__(target, settings, shared)
        security = settings.security
        by_token = security.bearer is not None or security.oauth2 is not None
        way_in = AuthSettings(bearer=security.bearer, oauth2=security.oauth2) if by_token else None
        self._authenticator = Authenticator(way_in, shared.tokens)
        access = Access(
            shared.resolver,
            self._password,
            tls=ClientTls(security.tls) if security.has_tls else None,
            mechanism=security.mechanism if security.has_login else None,
            user=security.user or "",
        )
        self._cluster = Cluster(target.addresses, access)
        self.max_series = settings.max_series
        self._progress = Progress(settings.window)
        self._ages = Ages()
        self._selection = Selection(
            groups=settings.groups.selector(),
            topics=settings.topics.selector(),
            beginnings=self._is_dead,
            max_partitions=settings.max_partitions,
        )

    async def check(self, attempt: Attempt) -> None:
        """Read the cluster, judge by its metadata, and record what it said of groups and offsets."""
        try:
            reading = await self._cluster.read(self._selection, attempt.deadline, attempt)
        except Failure as refused:
            if (refused.stage, refused.reason) == (Stage.AUTH, Reason.AUTH):
                self._authenticator.rejected()
            raise
        attempt.record(BROKERS, len(reading.layout.brokers))
        attempt.record_all(_samples_of_brokers(reading))
        if not reading.layout.brokers:
            raise Failure(Stage.CHECK, Reason.REPORTED_DOWN, "the metadata lists no broker")
        now = asyncio.get_running_loop().time()
        large = reading.size > _LARGE
        await self._look_back(reading, now, attempt.deadline)
        made = await asyncio.to_thread(self._samples, reading, now) if large else self._samples(reading, now)
        unseen = {"groups": self._unseen_groups(reading), "offsets": self._unseen_topics(reading)}
        with suppress(Failure):  # it is told of the part whose series there is no room for
            attempt.record_all({family: samples[family] for samples in made.values() for family in FIRST & samples.keys()})
        for part, samples in made.items():
            failure = reading.failures[part] or unseen[part]
            try:
                attempt.record_all(samples)
            except Failure as too_many:
                failure = failure or too_many
            attempt.note_part(part, failure)

    def _unseen_groups(self, reading: Reading) -> Failure | None:
        """Say what may be missing without a word: a broker leaves out groups that it may not describe to the user."""
        expected = self.settings.expected_groups
        if reading.layout.describes is False and not expected:
            detail = "no right to describe the cluster: groups that may not be described are left out; name expected_groups"
            return Failure(Stage.CHECK, Reason.AUTH, detail)
        return _missing("group", expected, reading.groups, reading.layout.describes)

    def _unseen_topics(self, reading: Reading) -> Failure | None:
        if reading.layout.describes is False and not reading.layout.topics and not self.settings.expected_topics:
            return Failure(Stage.CHECK, Reason.AUTH, "no topic is seen: there is none, or none may be described")
        return _missing("topic", self.settings.expected_topics, reading.layout.topics, reading.layout.describes)

    def _samples(self, reading: Reading, now: float) -> dict[str, Samples]:
        standings = self._progress.observe(now, reading.groups, reading.ends)
        return {
            "groups": _samples_of_groups(reading, standings),
            "offsets": {
                **_samples_of_offsets(reading, self.max_series if self.settings.per_partition else 0),
                **self._samples_of_ages(reading, now),
            },
        }

    async def _look_back(self, reading: Reading, now: float, deadline: float) -> None:
        """Follow the ends of partitions, and ask when they passed what is not committed where that was not seen."""
        since_1970 = time.time() - now
        end = now + _SHARE_OF_LOOKING_BACK * (deadline - now)
        follow = partial(self._follow, reading, now)
        times = await asyncio.to_thread(follow) if reading.size > _LARGE else follow()
        for _ in range(_LOOKS):
            if not times:
                return
            asked = {partition: int((at + since_1970) * 1000) for partition, at in times.items()}
            answers = await self._cluster.offsets_since(reading.layout, asked, end)
            if not answers:
                return
            self._ages.learn(now, times, answers)
            times = self._ages.ask(now, _ASKED)

    def _follow(self, reading: Reading, now: float) -> dict[Partition, float]:
        self._ages.observe(now, self._unread(reading), reading.ends, reading.beginnings)
        return self._ages.ask(now, _ASKED)

    def _unread(self, reading: Reading) -> dict[Partition, set[int]]:
        """Return the records whose age is wanted: first ones not committed, of open transactions, of dead-letter topics."""
        unread: defaultdict[Partition, set[int]] = defaultdict(set)
        of_groups = [group.commits for group in reading.groups.values()]
        dead = {topic: found for topic, found in reading.beginnings.items() if self._is_dead(topic)}
        for by_topic in (*of_groups, dead, reading.stable):
            for topic, offsets in by_topic.items():
                for number, offset in offsets.items():
                    unread[Partition(topic, number)].add(offset)
        return dict(unread)

    def _is_dead(self, topic: str) -> bool:
        return topic.endswith(self.settings.dlq_suffixes)

    def _samples_of_ages(self, reading: Reading, now: float) -> Samples:
        ages = self._ages
        by_topic: dict[LabelValues, float] = {}
        by_partition: dict[LabelValues, float] = {}
        for name, group in reading.groups.items():
            unread = {partition.topic for partition in group.partition_errors}
            for topic, commits in group.commits.items():
                ends = reading.ends.get(topic, {})
                found = {
                    number: ages.age(now, Partition(topic, number), commit) if number in ends else None
                    for number, commit in commits.items()
                }
                known = [age for age in found.values() if age is not None]
                if len(known) == len(found) and topic not in unread:
                    by_topic[name, topic] = max(known)
                if self.settings.per_partition and len(by_partition) <= self.max_series:
                    by_partition.update({(name, topic, str(number)): age for number, age in found.items() if age})
        return {
            TOPIC_LAG_SECONDS: by_topic,
            **self._samples_of_dead(reading, now),
            **_samples_of_transactions(reading, ages, now),
            LAG_SECONDS: by_partition,
        }

    def _samples_of_dead(self, reading: Reading, now: float) -> Samples:
        depths = _depths(reading, self._is_dead)
        oldest: dict[LabelValues, float] = {}
        for (topic,) in depths:
            found = [self._ages.age(now, Partition(topic, n), offset) for n, offset in reading.beginnings[topic].items()]
            known = [age for age in found if age is not None]
            if len(known) == len(found):
                oldest[topic,] = max(known)
        owners: dict[LabelValues, float] = {}
        for (topic,) in depths:
            read = {topic.removesuffix(suffix) for suffix in self.settings.dlq_suffixes} - {topic}
            owners.update({(topic, name): 1 for name, group in reading.groups.items() if read & group.commits.keys()})
        return {DLQ_MESSAGES: depths, DLQ_SECONDS: oldest, DLQ_GROUP: owners}

    def retarget(self, target: Target) -> bool:
        """Take in other bootstrap addresses; connections to brokers that are still of the cluster stay."""
        self.target = target
        self._cluster.retarget(target.addresses)
        return True

    async def close(self) -> None:
        """Close the connections."""
        self._cluster.close()
        await asyncio.sleep(0)  # aborted transports close their sockets in the loop's next turn

    async def _password(self) -> str:
        security = self.settings.security
        token = await self._authenticator.token()
        return token or await current_secret(security.password, security.password_file) or ""


def _missing(what: str, expected: Sequence[str], seen: Container[str], describes: bool | None) -> Failure | None:
    missing = [name for name in expected if name not in seen]
    if not missing:
        return None
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    if describes is False:
        detail = f"{what} {missing[0]}{more}: not there, or may not be described"
        return Failure(Stage.CHECK, Reason.AUTH, detail)
    return Failure(Stage.CHECK, Reason.QUERY_FAILED, f"{what} {missing[0]}{more}: expected, and not there")


def _samples_of_brokers(reading: Reading) -> Samples:
    layout = reading.layout
    up: dict[LabelValues, float] = {(str(node),): 0 for node in (*layout.brokers, *layout.health.missing)}
    seconds: dict[LabelValues, float] = {(str(node),): taken for node, taken in reading.seconds.items()}
    return {
        BROKER_UP: up | dict.fromkeys(seconds, 1),
        BROKER_SECONDS: seconds,
        BROKER_ADDRESS: {(str(node), str(at), layout.racks.get(node, "")): 1 for node, at in layout.brokers.items()},
        PARTITIONS: {(): layout.health.partitions},
        UNDER_REPLICATED: {(): layout.health.under_replicated},
        OFFLINE: {(): layout.health.offline},
    }


def _samples_of_groups(reading: Reading, standings: Mapping[str, Standing]) -> Samples:
    states: dict[LabelValues, float] = {}
    members: dict[LabelValues, float] = {}
    errors: dict[LabelValues, float] = {}
    infos: dict[LabelValues, float] = {}
    verdicts: dict[LabelValues, float] = {}
    by_topic: dict[Family, dict[LabelValues, float]] = {STANDING: {}, STANDING_SECONDS: {}, COMMITTED: {}, UNCOMMITTED: {}}
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
        errors.update(_error_samples(group.partition_errors))
        standing = standings[name]
        verdicts[name, standing.verdict] = 1
        for topic, seconds in standing.seconds.items():
            by_topic[STANDING_SECONDS][name, topic] = seconds
            by_topic[STANDING][name, topic] = standing.standing.get(topic, 0)
            if group.committed:
                by_topic[COMMITTED][name, topic] = len(group.commits.get(topic, ()))
                by_topic[UNCOMMITTED][name, topic] = standing.uncommitted.get(topic, 0)
    return {
        VERDICT: verdicts, STATE: states, MEMBERS: members, PARTITION_ERROR: errors, **by_topic, COORDINATOR: infos
    }  # fmt: skip


def _samples_of_offsets(reading: Reading, most: int) -> Samples:
    """Return what matters most first: an attempt takes a bounded number of series, and no more than that of partitions."""
    lags: dict[LabelValues, float] = {}
    topic_lags: dict[LabelValues, float] = {}
    for name, group in reading.groups.items():
        unread = {partition.topic for partition in group.partition_errors}
        for topic, commits in group.commits.items():
            ends = reading.ends.get(topic, {})
            known = commits if commits.keys() <= ends.keys() else {n: commit for n, commit in commits.items() if n in ends}
            lag = [ends[number] - commit for number, commit in known.items()]
            if most and len(lags) <= most:  # past it the part fails, and more are not recorded
                lags.update(zip(_labels(known, name, topic), lag, strict=True))
            if known is commits and topic not in unread:  # else the sum would be too small
                # What is beyond the end in one partition makes up for nothing in another.
                topic_lags[name, topic] = sum(behind for behind in lag if behind > 0)
    ends_of: dict[LabelValues, float] = {}
    for topic, ends in reading.ends.items():
        if most and len(ends_of) <= most:
            ends_of.update(zip(_labels(ends, topic), ends.values(), strict=True))
    return {
        TOPIC_LAG: topic_lags,
        **_samples_of_retention(reading),
        PARTITION_ERROR: _error_samples(reading.partition_errors),
        LAG: lags,
        END_OFFSET: ends_of,
    }


def _samples_of_retention(reading: Reading) -> Samples:
    """What retention is about to take from groups, and what it has taken."""
    margins: dict[LabelValues, float] = {}
    lost: dict[LabelValues, float] = {}
    for name, group in reading.groups.items():
        unread = {partition.topic for partition in group.partition_errors}
        for topic, commits in group.commits.items():
            beginnings, ends = reading.beginnings.get(topic, {}), reading.ends.get(topic, {})
            if topic in unread or not commits.keys() <= beginnings.keys() & ends.keys():
                continue
            lost[name, topic] = sum(max(0, beginnings[number] - commit) for number, commit in commits.items())
            left = [max(0, commit - beginnings[number]) for number, commit in commits.items() if commit < ends[number]]
            if left:
                margins[name, topic] = min(left)
    return {LOST: lost, MARGIN: margins}


def _samples_of_transactions(reading: Reading, ages: Ages, now: float) -> Samples:
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
    return {OPEN_MESSAGES: held, OPEN_SECONDS: seconds}


def _depths(reading: Reading, is_dead: Callable[[str], bool]) -> dict[LabelValues, float]:
    depths: dict[LabelValues, float] = {}
    for topic, beginnings in reading.beginnings.items():
        ends = reading.ends.get(topic, {})
        if is_dead(topic) and beginnings.keys() == ends.keys() == set(reading.layout.topics[topic]):
            depths[topic,] = sum(max(0, ends[number] - beginning) for number, beginning in beginnings.items())
    return depths


def _error_samples(errors: Mapping[Partition, PartitionErrorReason]) -> dict[LabelValues, float]:
    return {(partition.topic, str(partition.number), reason): 1 for partition, reason in errors.items()}


def _labels(numbers: Iterable[int], *before: str) -> Iterator[LabelValues]:
    """Label values of partitions, which end in their number."""
    return zip(*map(repeat, before), map(str, numbers), strict=False)  # repeat never ends


PROBE = KafkaProbe
