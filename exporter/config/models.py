"""The configuration's models. Kinds of probe bring their own; this module knows none of them by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, StringConstraints, create_model, model_validator

from exporter.config.floor import Floor
from exporter.config.kinds import OfKind
from exporter.config.kubernetes import ClusterSettings, KubernetesInstances
from exporter.config.server import Server
from exporter.config.thresholds import THRESHOLDS, Thresholds
from exporter.ownership.settings import SharingSettings
from exporter.probes import probe_types
from exporter.probing.probe import Confirmation, ProbeSettings
from exporter.values import AddressField, DnsName, Duration, Labels, Settings

__all__ = [
    "Config",
    "Defaults",
    "DependencySettings",
    "Instances",
    "Limits",
    "Links",
    "MemberSettings",
    "Server",
    "ServiceSettings",
]

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s#/?@]+([/?][^\s#]*)?$", max_length=2000)]
"""It is shown to everybody, so no user and password stand before the host."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class Links(Settings):
    """Where people read on from the pages and from `explain`."""

    runbook: Url | None = Field(None, description="Address of the runbook; the anchor of a section is put behind it.")
    dashboard: Url | None = Field(None, description="Address of the fleet dashboard, as https://grafana/d/hafnium-fleet.")


class Limits(Settings):
    """What the exporter may do at once."""

    max_in_flight: int = Field(1000, ge=1, le=100_000, description="Attempts in flight, over all targets.")
    max_in_flight_per_host: int = Field(32, ge=1, le=10_000, description="Attempts in flight to one host.")


class Defaults(Settings):
    """What every probe inherits, and what every probe of a kind inherits."""

    interval: Duration | None = Field(None, description="Time between grid attempts.")
    timeout: Duration | None = Field(None, description="Deadline of one attempt.")
    recheck_interval: Duration | None = Field(None, description="Time between rechecks while failing.")
    confirm: Confirmation | None = Field(None, description="Confirmation of verdicts.")
    thresholds: Thresholds = Field(default_factory=Thresholds, description="From where on something is wrong.")
    probes: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Settings by kind of probe, merged under each use of that kind."
    )


_WAYS = "expected a list of host:port, {dns: NAME, port: PORT}, or {kubernetes: {selector: LABELS, port: PORT}}"


class Instances(Settings):
    """The instances of a service: a static list, a DNS name whose every address is one, or pods."""

    static: tuple[AddressField, ...] = Field((), description="Addresses, host:port.")
    dns: DnsName | None = Field(None, max_length=253, description="A name; each address it has is an instance.")
    port: int | None = Field(None, ge=1, le=65535, description="The port, with dns.")
    refresh: Duration = Field(30.0, description="How often the name is asked again, with dns.")
    kubernetes: KubernetesInstances | None = Field(None, description="Pods of a cluster, by their labels.")

    @model_validator(mode="before")
    @classmethod
    def _list_is_static(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"static": value}
        if not isinstance(value, dict | Instances):
            raise ValueError(_WAYS)  # noqa: TRY004 - pydantic's protocol
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Instances:
        ways = (bool(self.static), self.dns is not None, self.kubernetes is not None)
        if (self.dns is None) != (self.port is None) or sum(ways) != 1:
            raise ValueError(_WAYS)
        if len(set(self.static)) != len(self.static):
            raise ValueError("an instance is listed twice")
        return self


if TYPE_CHECKING:

    class ProbesSettings(Settings):
        """Probes by kind: one optional field for each file in exporter/probes."""

else:
    ProbesSettings = create_model(
        "ProbesSettings",
        __base__=Settings,
        __doc__="Probes by kind.",
        **{kind: (Annotated[Any, OfKind(kind)], None) for kind in probe_types()},
    )


class MemberSettings(Settings):
    """What services and dependencies have in common: instances that are probed."""

    instances: Instances = Field(
        description="Where it runs: a list of host:port, a DNS name and a port, or pods by their labels."
    )
    labels: Labels = Field(default_factory=dict, description="Extra labels on all its series.")
    thresholds: Thresholds = Field(
        default_factory=Thresholds, description="From where on something is wrong; what is not said is that of the defaults."
    )
    min_ready: Floor = Field(
        1,
        description="Instances that must be up for the whole to be up: a number, a share such as 50% of those that are "
        "wanted, or desired: as many as the workload wants.",
    )
    probes: ProbesSettings = Field(description="What to probe it with, by kind.")

    @property
    def probe_settings(self) -> Mapping[str, ProbeSettings]:
        """The configured probes by kind."""
        found = {kind: getattr(self.probes, kind) for kind in probe_types()}
        return {kind: settings for kind, settings in found.items() if settings is not None}

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of what it needs."""
        return ()

    @property
    def limits(self) -> dict[str, float]:
        """Its thresholds by name, of those that its probes have a use for."""
        kinds = self.probe_settings.keys()
        return {name: float(getattr(self.thresholds, name)) for name, (_, of) in THRESHOLDS.items() if of & kinds}


class DependencySettings(MemberSettings):
    """Something that services share: a database, a cache, a broker, an identity provider."""


class ServiceSettings(MemberSettings):
    """A service of the fleet."""

    depends_on: tuple[Name, ...] = Field((), description="Names of the dependencies and services that it needs.")

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of what it needs."""
        return self.depends_on


class Config(Settings):
    """The whole configuration."""

    server: Server = Field(default_factory=Server, description="The exporter's own endpoints.")
    links: Links = Field(default_factory=Links, description="Where people read on.")
    limits: Limits = Field(default_factory=Limits, description="What may be in flight at once.")
    defaults: Defaults = Field(default_factory=Defaults, description="What probes inherit.")
    kubernetes: ClusterSettings | None = Field(
        None, description="The cluster that the fleet runs in; without it, nothing is asked of any."
    )
    dependencies: dict[Name, DependencySettings] = Field(
        default_factory=dict, description="Shared dependencies, named once."
    )
    services: dict[Name, ServiceSettings] = Field(default_factory=dict, description="The services of the fleet.")
    sharing: SharingSettings | None = Field(
        None, description="How several exporters share the work; default: this one does it alone."
    )

    @property
    def everything(self) -> Mapping[str, MemberSettings]:
        """Services and dependencies by name."""
        return {**self.dependencies, **self.services}
