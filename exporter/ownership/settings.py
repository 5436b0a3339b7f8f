"""How several exporters share their work: settings of the section `sharing`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from exporter.values import DnsName, Duration, Settings

__all__ = ["LeaseSettings", "Peers", "ShardSettings", "SharingSettings"]

_Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


class Peers(Settings):
    """Where all exporters that share a lease are found: they are asked while the API server cannot be reached."""

    dns: DnsName = Field(max_length=253, description="A name whose addresses are theirs: that of a headless Service.")
    port: int = Field(9818, ge=1, le=65535, description="The port of their endpoints.")


class LeaseSettings(Settings):
    """One of several exporters leads: it alone probes, and exports verdicts. A Lease of Kubernetes says which."""

    name: _Name = Field("hafnium-exporter", description="Name of the Lease.")
    namespace: _Label | None = Field(None, description="Its namespace; default: that of the section kubernetes.")
    duration: Duration = Field(
        10.0, ge=3, le=300, description="How long the others wait, seeing no renewal, before one takes over."
    )
    identity: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\s]+$")] | None = Field(
        None,
        description="Who this exporter is to the others, a mark of the process put behind it; default: the host's name.",
    )
    peers: Peers | None = Field(
        None, description="Where the others are found. With it the leader goes on while nobody can reach the API server."
    )


class ShardSettings(Settings):
    """Each of several exporters has a part of the services, by their names."""

    count: int = Field(ge=1, le=1000, description="How many exporters there are.")
    index: Annotated[int, Field(ge=0, le=999)] | Literal["ordinal"] = Field(
        "ordinal", description="Which of them this one is, from 0 on; ordinal: the number at the end of the host's name."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> ShardSettings:
        if self.index != "ordinal" and self.index >= self.count:
            raise ValueError(f"index is counted from 0: of {self.count} the last is {self.count - 1}")
        return self


class SharingSettings(Settings):
    """How several exporters share their work: by a lease, or as shards."""

    lease: LeaseSettings | None = Field(None, description="One leads, and the others stand by.")
    shards: ShardSettings | None = Field(None, description="Each has a part of the services.")

    @model_validator(mode="after")
    def _one_way(self) -> SharingSettings:
        if (self.lease is None) == (self.shards is None):
            raise ValueError("expected lease or shards, one of them")
        return self
