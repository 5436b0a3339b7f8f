"""The `kafka` probe: whether a cluster answers, how far its consumers are behind, and what lies in dead-letter topics."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from exporter.auth.secrets import current_secret
from exporter.clients.kafka.cluster import Cluster, Layout, Partition, read_layout
from exporter.clients.kafka.commits import Wanted
from exporter.clients.kafka.connection import Access, Connection
from exporter.clients.kafka.errors import PartitionFault, fault_of_failure, together
from exporter.clients.kafka.groups import Group, Groups, read_groups
from exporter.clients.kafka.offsets import BEGINNING, END, Offsets, read_offsets
from exporter.metrics.family import gauge
from exporter.net.tls import TlsSettings, client_context
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, Scope, SharedClients, Target
from exporter.values import Settings
from exporter.verdict import Failure, Reason, Stage

__all__ = ["PROBE", "KafkaProbe", "KafkaSettings"]

BROKERS = gauge("probe_kafka_brokers", "Brokers that the cluster's metadata lists.")
LAG = gauge(
    "probe_kafka_consumer_group_lag",
    "Messages of a partition that a consumer group has not committed.",
    "group",
    "topic",
    "partition",
)
TOPIC_LAG = gauge(
    "probe_kafka_consumer_group_topic_lag",
    "Messages of a topic that a consumer group has not committed, over the partitions it has commits for; left out while "
    "one of them cannot be read.",
    "group",
    "topic",
)
MEMBERS = gauge("probe_kafka_consumer_group_members", "Consumers that are members of a group.", "group")
STATE = gauge(
    "probe_kafka_consumer_group_state",
    "1 for the state of a consumer group: stable, empty, dead, preparing_rebalance, completing_rebalance or unknown.",
    "group",
    "state",
)
END_OFFSET = gauge("probe_kafka_topic_end_offset", "Offset after the last message of a partition.", "topic", "partition")
DLQ_MESSAGES = gauge("probe_kafka_dlq_messages", "Messages that a dead-letter topic holds, end minus beginning.", "topic")
PARTITION_ERROR = gauge(
    "probe_kafka_partition_error", "1 for why a partition's offsets are not known.", "topic", "partition", "reason"
)

GROUPS_SHARE = 0.5
"""Share of the time left after the verdict that groups may take; offsets get the rest."""

BROKER_SHARE = 0.85
"""Share of a part's time after which a broker is given up, so that what others said is still recorded."""


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_check_pattern)]


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
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("PLAIN", description="For SASL: the mechanism.")
    user: str | None = Field(None, min_length=1, max_length=255, description="For SASL: the user.")
    password: SecretStr | None = Field(None, description="For SASL: the password; masked wherever shown.")
    password_file: Path | None = Field(None, description="For SASL: file with the password, read at each login.")
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
        passwords = [self.password, self.password_file]
        if self.has_login and (self.user is None or passwords.count(None) != 1):
            raise ValueError(f"{self.protocol} needs user, and either password or password_file")
        if not self.has_login and (self.user is not None or passwords.count(None) != 2):
            raise ValueError(f"{self.protocol} has no login: use SASL_PLAINTEXT or SASL_SSL")
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
    dlq_suffixes: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(
        ("-dlt", ".DLT", "-dlq", ".dlq"), max_length=20, description="Endings of the names of dead-letter topics."
    )
    max_partitions: int = Field(
        5000, ge=1, le=50_000, description="Most partitions to read offsets of; with more selected, none are read."
    )


@dataclass(slots=True)
class _Round:
    """What one attempt has learnt, beyond its samples."""

    layout: Layout
    groups: Groups = field(default_factory=Groups)
    offsets: Offsets = field(default_factory=Offsets)
    lost: dict[int, Failure] = field(default_factory=dict)
    """Brokers that do not answer; they are not asked again in this attempt."""


class KafkaProbe(Probe[KafkaSettings]):
    """Asks a cluster for its metadata, which decides; then for groups and offsets, which do not."""

    kind = "kafka"
    settings_type = KafkaSettings
    scope = Scope.SERVICE
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.AUTH, Stage.QUERY)
    metrics = (BROKERS, LAG, TOPIC_LAG, MEMBERS, STATE, END_OFFSET, DLQ_MESSAGES, PARTITION_ERROR)

    def __init__(self, target: Target, settings: KafkaSettings, shared: SharedClients) -> None:
        super().__init__(target, settings, shared)
        security = settings.security
        access = Access(
            shared.resolver,
            self._password,
            tls=client_context(security.tls) if security.has_tls else None,
            server_name=security.tls.server_name,
            mechanism=security.mechanism if security.has_login else None,
            user=security.user or "",
        )
        self._cluster = Cluster(target.addresses, access)
        self._wants_group = settings.groups.selector()
        self._wants_topic = settings.topics.selector()

    async def check(self, attempt: Attempt) -> None:
        """Get the metadata and judge; then read commits, and only then ends, so that lag is never negative by order."""
        try:
            layout = read_layout(await self._cluster.metadata(attempt), self._wants_topic)
        except BaseException:
            self._cluster.drop()  # a new attempt looks anew
            raise
        attempt.record(BROKERS, len(layout.brokers))
        if not layout.brokers:
            self._cluster.drop()
            raise Failure(Stage.CHECK, Reason.REPORTED_DOWN, "the metadata lists no broker")
        self._cluster.keep_only(layout.brokers.values())
        this = _Round(layout)
        await self._read_groups(attempt, this)
        await self._read_offsets(attempt, this)

    async def close(self) -> None:
        """Close the connections."""
        self._cluster.close()
        await asyncio.sleep(0)  # aborted transports close their sockets in the loop's next turn

    async def _read_groups(self, attempt: Attempt, this: _Round) -> None:
        async with attempt.part("groups", timeout=GROUPS_SHARE * attempt.remaining) as part:
            is_bounded = this.layout.partitions <= self.settings.max_partitions
            wanted = Wanted.of(this.layout.by_topic() if is_bounded else [])

            async def read(_: int, connection: Connection) -> None:
                await read_groups(connection, self._wants_group, wanted, this.groups)

            failed = await self._on_brokers(part, this, this.layout.brokers, read)
            for name, group in this.groups.known.items():
                _record_group(part, name, group)
            _raise_together([*failed.values(), *this.groups.failures])

    async def _read_offsets(self, attempt: Attempt, this: _Round) -> None:
        async with attempt.part("offsets") as part:
            found, most = this.layout.partitions, self.settings.max_partitions
            if found > most:
                raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"{found} partitions, max_partitions is {most}: narrow topics")
            led: dict[int, list[Partition]] = defaultdict(list)
            for partition, leader in this.layout.leaders.items():
                led[leader].append(partition)
            offsets = this.offsets
            offsets.faults.update(this.layout.faults)

            async def read(node: int, connection: Connection) -> None:
                dead_letters = [partition for partition in led[node] if partition.topic.endswith(self.settings.dlq_suffixes)]
                await read_offsets(connection, dead_letters, BEGINNING, offsets)
                await read_offsets(connection, led[node], END, offsets)

            failed = await self._on_brokers(part, this, led, read)
            failed |= {node: failure for node, failure in this.lost.items() if node in led}
            for node, failure in failed.items():
                fault = fault_of_failure(failure)
                offsets.faults.update({partition: fault for partition in led[node] if partition not in offsets.ends})
            self._record_offsets(part, this)
            _raise_together([*failed.values(), *_of_partitions(this)])

    async def _on_brokers(
        self, part: Attempt, this: _Round, nodes: Collection[int], work: Callable[[int, Connection], Awaitable[None]]
    ) -> dict[int, Failure]:
        """Do work on brokers side by side; return how those failed that did."""
        brokers = this.layout.brokers
        asked = [node for node in nodes if node not in this.lost]
        seconds = BROKER_SHARE * part.remaining

        async def ask(node: int) -> Failure | None:
            return await self._cluster.on_broker(node, brokers[node], seconds, lambda connection: work(node, connection))

        failed: dict[int, Failure] = {}
        results = await asyncio.gather(*map(ask, asked), return_exceptions=True)
        for node, result in zip(asked, results, strict=True):
            if isinstance(result, Failure):  # returned, not raised
                failed[node] = result
                if not self._cluster.is_connected(brokers[node]):
                    this.lost[node] = result
            elif result is not None:
                raise result
        return failed

    def _record_offsets(self, part: Attempt, this: _Round) -> None:
        """Record what matters most first: an attempt takes a bounded number of series."""
        offsets, layout = this.offsets, this.layout
        lags, incomplete = _lags(this)
        totals: Counter[tuple[str, str]] = Counter()
        for (group, partition), lag in lags.items():
            totals[group, partition.topic] += lag
        for (group, topic), lag in totals.items():
            if (group, topic) not in incomplete:
                part.record(TOPIC_LAG, lag, group, topic)
        for topic, numbers in layout.by_topic():
            partitions = [Partition(topic, number) for number in numbers]
            if all(partition in offsets.ends and partition in offsets.beginnings for partition in partitions):
                depth = sum(max(0, offsets.ends[partition] - offsets.beginnings[partition]) for partition in partitions)
                part.record(DLQ_MESSAGES, depth, topic)
        for partition, fault in offsets.faults.items():
            part.record(PARTITION_ERROR, 1, partition.topic, str(partition.number), fault)
        for (group, partition), lag in lags.items():
            part.record(LAG, lag, group, partition.topic, str(partition.number))
        for partition, end in offsets.ends.items():
            part.record(END_OFFSET, end, partition.topic, str(partition.number))

    async def _password(self) -> str:
        security = self.settings.security
        return await current_secret(security.password, security.password_file) or ""


def _record_group(part: Attempt, name: str, group: Group) -> None:
    state = group.state
    if state == "dead" and group.commits:
        state = "unknown"  # dead groups keep no commits: it is of the new protocol, whose state this request does not tell
    if state is not None:
        part.record(STATE, 1, name, state)
    if group.members is not None and group.state != "dead":
        part.record(MEMBERS, group.members, name)
    for partition, fault in group.faults.items():
        part.record(PARTITION_ERROR, 1, partition.topic, str(partition.number), fault)


def _lags(this: _Round) -> tuple[dict[tuple[str, Partition], int], set[tuple[str, str]]]:
    """Return the lag by group and partition, and the topics of a group whose sum would be too small."""
    lags: dict[tuple[str, Partition], int] = {}
    incomplete: set[tuple[str, str]] = set()
    for name, group in this.groups.known.items():
        incomplete.update((name, partition.topic) for partition in group.faults)
        for partition, commit in group.commits.items():
            end = this.offsets.ends.get(partition)
            if end is None:
                incomplete.add((name, partition.topic))
            else:
                lags[name, partition] = max(0, end - commit)  # a topic made anew has less than was committed of the old one
    return lags, incomplete


_FAULT_REASONS = {
    PartitionFault.NO_LEADER: Reason.NO_LEADER,
    PartitionFault.NOT_LEADER: Reason.NO_LEADER,
    PartitionFault.NOT_AUTHORIZED: Reason.AUTH,
    PartitionFault.TIMEOUT: Reason.TIMEOUT,
}


def _of_partitions(this: _Round) -> list[Failure]:
    """Say what is wrong with partitions and topics, in one failure for each of the two."""
    failures = []
    faults = this.offsets.faults
    if faults:
        partition, fault = min(faults.items())
        words = f" ({this.offsets.words})" if this.offsets.words else ""
        detail = (
            f"{len(faults)} of {this.layout.partitions} partitions, such as {partition.topic}/{partition.number}: {fault}"
        )
        failures.append(Failure(Stage.CHECK, _FAULT_REASONS.get(fault, Reason.QUERY_FAILED), detail + words))
    if this.layout.refused:
        topic, error = min(this.layout.refused.items())
        detail = f"{len(this.layout.refused)} topics, such as {topic}: {error}"
        failures.append(Failure(Stage.CHECK, Reason.QUERY_FAILED, detail))
    return failures


def _raise_together(failures: list[Failure]) -> None:
    failure = together(failures)
    if failure is not None:
        raise failure


PROBE = KafkaProbe
