"""Credentials that cross a network without TLS, as far as the configuration tells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from pydantic import BaseModel
from yarl import URL

from exporter.auth.oauth2 import OAuth2Settings
from exporter.config.models import Config, MemberSettings
from exporter.parsing import is_loopback

__all__ = ["cleartext_credentials"]

_MOST_NAMED = 5
"""Names in one warning; of more, the number."""

_ADVICE = "use https, or say allow_cleartext: true there, where nobody can listen on the way (a mesh that encrypts)"


def cleartext_credentials(config: Config) -> Iterator[str]:
    """Say which credentials are sent over plain HTTP to another machine, one text for all that are alike.

    The way into databases, caches and brokers is refused without TLS at the attempt; this is for what speaks HTTP, where a
    sidecar may encrypt what leaves here in the clear. What is on the loopback, or allowed, is left out.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, member in config.everything.items():
        for kind, settings in member.probe_settings.items():
            if settings.in_the_clear is not None and not _is_on_loopback(member):
                found[f"{kind}: {settings.in_the_clear}"].append(name)
            if any(_is_in_the_clear(each) for each in _token_requests(settings)):
                found[f"{kind}: the client secret for a token (token_url)"].append(name)
    for what, names in found.items():
        named = ", ".join(names[:_MOST_NAMED])
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        yield f"{what} of {named}{more} crosses the network in the clear: {_ADVICE}"


def _is_on_loopback(member: MemberSettings) -> bool:
    """Say whether all instances are on this machine; of names that are asked for later, nothing is known."""
    static = member.instances.static
    return bool(static) and all(is_loopback(address.host) for address in static)


def _is_in_the_clear(request: OAuth2Settings) -> bool:
    url = URL(request.token_url)
    return url.scheme == "http" and not request.allow_cleartext and not is_loopback(url.host or "")


def _token_requests(value: object) -> Iterator[OAuth2Settings]:
    if isinstance(value, OAuth2Settings):
        yield value
    elif isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _token_requests(getattr(value, field))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _token_requests(inner)
