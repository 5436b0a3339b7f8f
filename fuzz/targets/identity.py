"""What identity providers answer: discovery documents, keys, tokens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from yarl import URL

from exporter.auth.oauth2 import TokenRequest, json_object, read_grant
from exporter.net.http import Answer
from exporter.probes.oidc import MAX_KEYS, OidcProbe, _absolute, _signing_key, _usable
from fuzz.model import Finding, Target

__all__ = ["TARGETS"]

_REQUEST = TokenRequest(
    {"grant_type": "client_credentials"}, {"Authorization": "Basic Y2xpZW50OnNlY3JldC1vZi1pdA=="}, "secret-of-it"
)
_STATUSES = (200, 400, 401, 302, 500)


def _grant(data: bytes) -> object:
    """The first byte says with which status it is answered."""
    if not data:
        return None
    grant = read_grant(Answer(_STATUSES[data[0] % len(_STATUSES)], {}, data[1:], reused=False), _REQUEST)
    return grant.access_token, grant.expires_in, _signing_key(grant.access_token)


def _documents(data: bytes) -> object:
    """Read it as a discovery document, and as a JWKS."""
    document = json_object(data)
    keys = _usable(document.get("keys"))
    if len(keys) > MAX_KEYS:
        raise Finding("more keys than the limit")
    probe = SimpleNamespace(_root=URL("https://keycloak:8443"), _path="/realms/fleet")
    probe._at = lambda path, query="": OidcProbe._at(cast(OidcProbe, probe), path, query)
    endpoints = [OidcProbe._endpoint(cast(OidcProbe, probe), document, name) for name in ("jwks_uri", "token_endpoint")]
    for url in endpoints:
        if url.host != "keycloak" or url.port != 8443 or url.scheme != "https":
            raise Finding(f"asked elsewhere: {url}")
    return [str(url) for url in endpoints]


def _keys(data: bytes) -> object:
    return _usable(json_object(data).get("keys"))


def _token(data: bytes) -> object:
    return _signing_key(data.decode("utf-8", "replace")), _absolute(data.decode("utf-8", "replace")) is None


TARGETS = (
    Target("token", _grant, ("exporter.auth.oauth2",)),
    Target("discovery", _documents, ("exporter.probes.oidc",)),
    Target("jwks", _keys, ("exporter.probes.oidc",)),
    Target("jwt", _token, ("exporter.probes.oidc",), ()),
)
