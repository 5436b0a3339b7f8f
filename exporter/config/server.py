"""Settings of the exporter's own endpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from exporter.parsing import is_host
from exporter.values import Address, AddressField, Duration, Settings

__all__ = ["Roles", "Server", "overlap"]


def _host_name(name: str) -> str:
    if not is_host(name.removeprefix("*.")):
        raise ValueError("expected a DNS name, or *. and one; an international one as it is looked up, xn--…")
    return name


HostName = Annotated[str, AfterValidator(_host_name)]
Who = tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...]


Origin = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", max_length=255)]


class Roles(Settings):
    """Who may do what: users of basic auth, and names (SANs) of client certificates.

    What names nobody, all may who are let in.
    """

    scrape: Who | None = Field(None, description="Who may read /metrics.")
    pages: Who | None = Field(None, description="Who may see the pages and the JSON API.")
    act: Who | None = Field(None, description="Who may have probes run on demand, and the configuration reloaded.")

    @property
    def given(self) -> bool:
        """Whether any of them names somebody."""
        return any(who is not None for who in (self.scrape, self.pages, self.act))


_ALL = {"": (4, 6), "0.0.0.0": (4,), "::": (6,)}  # noqa: S104 - it is compared with


def overlap(one: Address, other: Address) -> bool:
    """Tell whether two addresses cannot both be listened on. Names are not looked up."""
    if one.port != other.port or one.port == 0:
        return False
    both = (one.host, other.host)
    families = [_ALL.get(host, (6,) if ":" in host else (4, 6) if not host[-1:].isdigit() else (4,)) for host in both]
    shared = not set(families[0]).isdisjoint(families[1])
    return one.host == other.host or (shared and any(host in _ALL for host in both))


class Server(Settings):
    """Where the exporter itself listens, and who may ask it what."""

    listen: AddressField = Field(Address("0.0.0.0", 9818), description="Address of the endpoints.")  # noqa: S104 - a scrape comes from elsewhere
    health_listen: AddressField | None = Field(
        None,
        description="A second address, for /-/healthy, /-/ready and /-/lease alone, which anybody may ask over plain HTTP.",
    )

    @field_validator("health_listen")
    @classmethod
    def _is_another(cls, value: Address | None, info: ValidationInfo) -> Address | None:
        listen = info.data.get("listen")
        if value is not None and listen is not None and overlap(value, listen):
            raise ValueError("is where server.listen listens, too: give it another port")
        return value

    hosts: tuple[HostName, ...] = Field(
        (), description="Names by which clients may ask, besides addresses and localhost; *.example.com for all below it."
    )
    roles: Roles = Field(default_factory=Roles, description="Who may do what, of those who are let in.")
    embed_in: tuple[Origin, ...] = Field(
        (),
        description="Sites whose pages may show badges and embedded services, such as https://wiki.example.com; what "
        "they show is then open to every site that a person with access opens.",
    )
    state_file: Path | None = Field(
        None,
        description="Where the history of the status page is kept over a restart, in a folder that the exporter may "
        "write to; without it a restart begins anew.",
    )
    drain_timeout: Duration = Field(10.0, description="How long runs in flight may take to end after SIGTERM.")
