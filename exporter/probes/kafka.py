"""The `kafka` probe: whether a cluster answers, how far its consumers are behind, and what lies in dead-letter topics."""

from __future__ import annotations

import asyncio
import re
import shlex
import time
from collections import defaultdict
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from exporter.auth.oauth2 import OAuth2Settings
from exporter.auth.secrets import current_secret
from exporter.auth.ways import Authenticator, AuthSettings, BearerSettings
from exporter.clients.kafka.ages import Ages
from exporter.clients.kafka.canary import Canary
from exporter.clients.kafka.cluster import Cluster, Reading, Selection
from exporter.clients.kafka.connection import Access
from exporter.clients.kafka.layout import Partition
from exporter.clients.kafka.progress import Progress
from exporter.clients.kafka.sasl import CLEARTEXT
from exporter.kafka import families as k
from exporter.kafka.lags import Lags
from exporter.kafka.recording import (
    samples_of_brokers,
    samples_of_canary,
    samples_of_dead,
    samples_of_errors,
    samples_of_groups,
    samples_of_transactions,
)
from exporter.metrics.store import Samples
from exporter.net.referrals import Referrals, check_allowed
from exporter.net.tls import ClientTls, TlsSettings
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, Scope, SharedClients, Target
from exporter.values import Address, Duration, Settings
from exporter.verdict import Failure, Reason, Stage

__all__ = ["PROBE", "KafkaProbe", "KafkaSettings"]

_GAPS = 3
"""Intervals without a reading past which groups are watched anew, where that is longer than the window."""

_ASKED = 1000
"""Partitions of a reading that are asked about by timestamp at a time; the others come next."""

_LOOKS = 6
"""How often a reading asks by timestamp; a broker searches an index of its log for each."""

_SHARE_OF_LOOKING_BACK = 0.5
"""Share of the time left after a reading in which it may ask by timestamp."""

_SHARE_OF_CANARY = 0.5
"""Share of the time left after all else was read that the canary may take."""

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
    allow_cleartext: bool = Field(
        default=False,
        description="For SASL_PLAINTEXT: let PLAIN and OAUTHBEARER send the password or the token over a network as it is.",
    )

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
        if self.allow_cleartext and (self.protocol != "SASL_PLAINTEXT" or self.mechanism not in CLEARTEXT):
            raise ValueError("allow_cleartext is for PLAIN and OAUTHBEARER over SASL_PLAINTEXT")
        if not self.has_tls and self.tls != TlsSettings():
            raise ValueError(f"{self.protocol} has no TLS: use SSL or SASL_SSL")
        return self


class KafkaCanarySettings(Settings):
    """A topic that a record is written to, and read again from."""

    topic: str = Field(
        "hafnium.canary",
        min_length=1,
        max_length=249,
        pattern=r"^[A-Za-z0-9.-][A-Za-z0-9._-]*$",
        description="The topic, which is nobody else's. It must be there: it is never made. One partition for each broker.",
    )


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
    advertised: tuple[Annotated[str, AfterValidator(check_allowed)], ...] = Field(
        (),
        max_length=100,
        description="Where brokers may be that metadata names, beside the domains and networks of the bootstrap addresses: "
        "names, which stand for those below them too, and IP addresses or networks.",
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
    canary: KafkaCanarySettings | None = Field(
        None,
        description="Write a record to each partition of a topic and read it again at each attempt (part `canary`); "
        "default: nothing is written.",
    )
    per_partition: bool = Field(
        default=True, description="Export lag and end of each partition, and not only sums by group and topic."
    )

    def by_hand(self, address: Address) -> str:
        """The cluster's brokers; a login is for the person to add."""
        tls = ["-X", "tls.enabled=true"] if self.security.has_tls else []
        return shlex.join(["rpk", "cluster", "info", "-X", f"brokers={address}", *tls])


class KafkaProbe(Probe[KafkaSettings]):
    """Asks a cluster for its metadata, which decides; then for groups and offsets, which do not."""

    kind = "kafka"
    settings_type = KafkaSettings
    scope = Scope.SERVICE
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.AUTH, Stage.QUERY)
    metrics = k.FAMILIES

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
            referrals=Referrals(settings.advertised),
            allow_cleartext=security.allow_cleartext,
        )
        self._cluster = Cluster(target.addresses, access)
        self.max_series = settings.max_series
        self._progress = Progress(settings.window, longest_gap=_GAPS * settings.interval)
        self._ages = Ages()
        self._lags = Lags()
        self._canary = Canary(settings.canary.topic) if settings.canary is not None else None
        self._selection = Selection(
            groups=settings.groups.selector(),
            topics=settings.topics.selector(),
            beginnings=self._is_dead,
            max_partitions=settings.max_partitions,
            canary=settings.canary.topic if settings.canary is not None else "",
            expected=settings.expected_topics,
        )

    async def check(self, attempt: Attempt) -> None:
        """Read the cluster, judge by its metadata, and record what it said of groups and offsets."""
        try:
            reading = await self._cluster.read(self._selection, attempt.deadline, attempt)
        except Failure as refused:
            if (refused.stage, refused.reason) == (Stage.AUTH, Reason.AUTH):
                self._authenticator.rejected()
            raise
        attempt.record(k.BROKERS, len(reading.layout.brokers))
        silent = reading.failures["groups"]
        excused = isinstance(silent, Failure) and attempt.excused(silent) is not silent
        attempt.record_all(samples_of_brokers(reading, excused=excused))
        if not reading.layout.brokers:
            raise Failure(Stage.CHECK, Reason.REPORTED_DOWN, "the metadata lists no broker")
        now = asyncio.get_running_loop().time()
        large = reading.size > _LARGE
        await self._look_back(reading, now, attempt.deadline)
        if self._canary is not None:
            await self._fly(self._canary, attempt, reading)
        made = await asyncio.to_thread(self._samples, reading, now) if large else self._samples(reading, now)
        unseen = {"groups": self._unseen_groups(reading), "offsets": self._unseen_topics(reading)}
        with suppress(Failure):  # it is told of the part whose series there is no room for
            attempt.record_all({family: samples[family] for samples in made.values() for family in k.FIRST & samples.keys()})
        for part, samples in made.items():
            failure = reading.failures[part] or unseen[part]
            try:
                attempt.record_all(samples)
            except Failure as too_many:
                failure = failure or too_many
            attempt.note_part(part, failure)

    async def _fly(self, canary: Canary, attempt: Attempt, reading: Reading) -> None:
        """Fly the canary, once all else is read: whatever becomes of it, what is known of groups stands."""
        end = attempt.deadline - (1 - _SHARE_OF_CANARY) * attempt.remaining
        try:
            flight = (await self._cluster.fly(canary, reading.layout, end)).excused(attempt.excused)
        except Exception as error:
            attempt.note_part("canary", error)
            return
        attempt.record_all(samples_of_canary(flight))
        attempt.note_part("canary", flight.failure)

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
        standings = self._progress.observe(now, reading.groups, reading.ends, reading.layout.health.made)
        most = self.max_series if self.settings.per_partition else 0
        return {
            "groups": samples_of_groups(reading, standings),
            "offsets": {
                k.PARTITION_ERROR: samples_of_errors(reading.partition_errors),
                **self._lags.samples_of_offsets(reading, most),
                **samples_of_dead(reading, self._ages, now, self.settings.dlq_suffixes),
                **self._lags.samples_of_ages(reading, self._ages, now, most),
                **samples_of_transactions(reading, self._ages, now),
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
            asked = {partition: max(0, int((at + since_1970) * 1000)) for partition, at in times.items()}
            answers = await self._cluster.offsets_since(reading.layout, asked, end)
            self._ages.learn(now, times, answers)
            if not answers:
                return
            times = self._ages.ask(now, _ASKED)

    def _follow(self, reading: Reading, now: float) -> dict[Partition, float]:
        self._ages.observe(now, self._unread(reading), reading.ends, reading.beginnings, reading.layout.health.made)
        return self._ages.ask(now, _ASKED)

    def _unread(self, reading: Reading) -> dict[Partition, set[int]]:
        """Return the records whose age is wanted: first ones not committed, of open transactions, of dead-letter topics."""
        unread: defaultdict[str, defaultdict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        of_groups = [group.commits for group in reading.groups.values()]
        dead = {topic: found for topic, found in reading.beginnings.items() if self._is_dead(topic)}
        for by_topic in (*of_groups, dead, reading.stable):
            for topic, offsets in by_topic.items():
                of_topic = unread[topic]
                for number, offset in offsets.items():
                    of_topic[number].add(offset)
        return {Partition(topic, number): found for topic, of_topic in unread.items() for number, found in of_topic.items()}

    def _is_dead(self, topic: str) -> bool:
        return topic.endswith(self.settings.dlq_suffixes)

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


PROBE = KafkaProbe
