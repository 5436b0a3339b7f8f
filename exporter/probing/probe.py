"""What every kind of probe is: settings, metrics and a check, in one file of `exporter.probes`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import Field, model_validator

from exporter.auth.tokens import Tokens
from exporter.clients.kubernetes.cluster import Clusters
from exporter.metrics.family import Family
from exporter.net.http import HttpClient
from exporter.net.resolver import Resolver
from exporter.probing.attempt import MAX_SERIES, Attempt
from exporter.values import Address, Duration, Labels, Settings
from exporter.verdict import Failure, Stage

__all__ = ["Confirmation", "Probe", "ProbeSettings", "Scope", "SharedClients", "Target"]


class Confirmation(Settings):
    """How many attempts in a row change a confirmed verdict."""

    failures: int = Field(2, ge=1, le=10, description="Failures in a row that make an up target down.")
    successes: int = Field(1, ge=1, le=10, description="Successes in a row that make a down target up.")


class ProbeSettings(Settings):
    """Settings that every probe has. A kind of probe adds its own."""

    interval: Duration = Field(15.0, description="Time between grid attempts.")
    timeout: Duration = Field(5.0, description="Deadline of one attempt, all phases together.")
    recheck_interval: Duration | None = Field(
        None,
        description="Time between rechecks while failing; default: a quarter of the interval, at least 1s.",
    )
    confirm: Confirmation = Field(default_factory=Confirmation, description="Confirmation of verdicts.")
    labels: Labels = Field(default_factory=dict, description="Extra labels on this probe's series.")

    @model_validator(mode="after")
    def _timeout_within_interval(self) -> ProbeSettings:
        if self.timeout > self.interval:
            raise ValueError("timeout must not be longer than interval")
        return self

    @property
    def in_the_clear(self) -> str | None:
        """What is sent to the target over plain HTTP that others must not read, and is not allowed to be; None: nothing."""
        return None

    def by_hand(self, address: Address) -> str | None:
        """Return the command by which a person asks an instance the same, fit for a shell, without any secret.

        Args:
            address: Of the instance.

        Returns:
            None: there is no such command.
        """
        return None

    @property
    def recheck(self) -> float:
        """Seconds between rechecks while failing."""
        return self.recheck_interval or max(1.0, self.interval / 4)


class Scope(StrEnum):
    """What one target of a probe is."""

    INSTANCE = "instance"
    """Each instance is a target, named `host:port`."""
    SERVICE = "service"
    """All instances together are one target, named after the service (a Kafka cluster, a namespace)."""


@dataclass(frozen=True, slots=True)
class Target:
    """What one probe runs against.

    Attributes:
        service: Name of the service or dependency.
        probe: Kind of the probe.
        name: `host:port`, or the service's name where the probe covers it as a whole.
        addresses: Where to connect: one for an instance, all for a service, which may be none.
        labels: Extra labels from the configuration; all targets of one probe of one service share them.
        instance_labels: What the source of the instance says of it, such as pod and node.
        uid: What tells its instance from another one of the same name; empty where the name does.

    Its identity is its `key`: addresses and labels may change while what is believed of it stays.
    """

    service: str
    probe: str
    name: str
    addresses: tuple[Address, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    instance_labels: Mapping[str, str] = field(default_factory=dict)
    uid: str = ""

    @property
    def address(self) -> Address:
        """The first address: the only one of an instance."""
        return self.addresses[0]

    @property
    def key(self) -> tuple[str, str, str]:
        """Identity of the target in the whole fleet."""
        return (self.service, self.probe, self.name)

    @property
    def series_labels(self) -> dict[str, str]:
        """The labels that all its series carry."""
        own = {"service": self.service, "probe": self.probe, "target": self.name}
        return {**own, **self.labels, **self.instance_labels}

    def __str__(self) -> str:
        return f"{self.service}/{self.probe}/{self.name}"


@dataclass(frozen=True, slots=True)
class SharedClients:
    """What probes share: one HTTP client, one resolver, one set of access tokens and one view of each cluster."""

    http: HttpClient
    resolver: Resolver
    tokens: Tokens = field(init=False)
    clusters: Clusters = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "clusters", Clusters(self.resolver))
        object.__setattr__(self, "tokens", Tokens(self.http))

    @classmethod
    def open(cls) -> SharedClients:
        """Make them; nothing connects yet."""
        resolver = Resolver()
        return cls(HttpClient(resolver), resolver)

    async def close(self) -> None:
        """End the watching of clusters and the fetching of tokens, close connections and the resolver."""
        await self.clusters.close()
        await self.tokens.close()
        await self.http.close()
        await self.resolver.close()


S = TypeVar("S", bound=ProbeSettings)


class Probe(ABC, Generic[S]):
    """One probe of one target, kept between attempts: it may hold a connection or the last counters.

    Subclasses live in `exporter.probes`, one file each, and are named there by `PROBE`.

    Class attributes:
        kind: Name in the configuration and in the `probe` label.
        settings_type: The model of its settings.
        scope: Whether instances are targets, or the service as a whole.
        vital: Whether its verdict counts towards `probe_service_up`.
        needs_instances: Whether there is nothing to probe without an instance; what covers the service as a whole may do
            without.
        metrics: The families it records.
        phases: Stages it times, on the path that decides the verdict.

    Attributes:
        max_series: Series that an attempt may record.
    """

    kind: ClassVar[str]
    settings_type: ClassVar[type[Any]]
    scope: ClassVar[Scope] = Scope.INSTANCE
    vital: ClassVar[bool] = True
    needs_instances: ClassVar[bool] = True
    metrics: ClassVar[tuple[Family, ...]] = ()
    phases: ClassVar[tuple[Stage, ...]] = ()
    max_series: int = MAX_SERIES

    def __init__(self, target: Target, settings: S, shared: SharedClients) -> None:
        self.target = target
        self.settings = settings
        self.shared = shared

    @abstractmethod
    async def check(self, attempt: Attempt) -> None:
        """Probe the target once. Returning means up.

        The caller sets the deadline by cancelling; a probe only has to let `CancelledError` through, and to leave nothing
        half-used behind.

        Raises:
            Failure: Down or unknown, by its reason.
            Exception: Anything the client library raises; `classify` or the common table names it.
        """

    def classify(self, error: Exception, stage: Stage) -> Failure | None:
        """Name an error of this probe's client library, or return None to leave it to the common table."""
        return None

    def retarget(self, target: Target) -> bool:
        """Take in that the target is reached at other addresses now, keeping connections and memory; return whether it did.

        Called between attempts. A probe that returns False, as most do, is replaced by a new one.
        """
        return False

    async def close(self) -> None:
        """Close what is held open. Must not wait on the network for more than a second or two."""
