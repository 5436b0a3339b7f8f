"""The `oidc` probe: whether an identity provider publishes its configuration and its keys, and issues tokens."""

from __future__ import annotations

import asyncio
import json
import shlex
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from yarl import URL

from exporter.auth.oauth2 import ClientSettings, Grant, TokenRequest, http_url, json_object, read_grant, refusal
from exporter.metrics.family import gauge
from exporter.net.errors import timeout_reason
from exporter.net.http import Answer
from exporter.net.phases import Phases, phase_clock
from exporter.net.tls import ClientTls, TlsSettings
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, SharedClients, Target
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage, Verdict

__all__ = ["PROBE", "OidcProbe", "OidcSettings"]

STEP_SECONDS = gauge(
    "probe_oidc_step_seconds", "Time that a step took, connecting included: discovery, jwks or token.", "step"
)
STEP_UP = gauge(
    "probe_oidc_step_up",
    "1 if a step did what it should, 0 if not; absent where it was not tried, or cannot be told.",
    "step",
)
SIGNING_KEYS = gauge("probe_oidc_signing_keys", "Published keys with which signatures of tokens can be verified.")
TOKEN_LIFETIME = gauge("probe_oidc_token_lifetime_seconds", "Time that an issued token is said to last: expires_in.")
TOKEN_KEY_PUBLISHED = gauge(
    "probe_oidc_token_key_published",
    "1 if the key that signed the issued token is among the published ones, 0 if not: then every service refuses tokens.",
)

MAX_KEYS = 1_000
"""Keys of a JWKS that are looked at."""

MAX_URL = 2_000

PATIENCE = 0.97
"""Share of what is left of the attempt that a step may take: the step itself then says that it was the slow one."""

_WELL_KNOWN = "/.well-known/openid-configuration"
_ACCEPT: Mapping[str, str] = {"Accept": "application/json"}
_MATERIAL = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "AKP": ("alg", "pub")}
"""What a public key of each type consists of: RFC 7518, RFC 8037, and ML-DSA's."""

_PUBLIC_KEY_ALGORITHMS = ("RS", "PS", "ES", "Ed")
"""How the names of algorithms begin whose signatures are verified with a published key; HS… is with a shared one."""


class OidcSettings(ProbeSettings):
    """Where the identity provider is and what is expected of it."""

    scheme: Literal["http", "https"] = Field("https", description="http or https.")
    tls: TlsSettings = Field(default_factory=TlsSettings, description="For https: roots, client certificate, name.")
    issuer_path: str = Field(
        max_length=200,
        pattern=r"^(/[A-Za-z0-9._~%-]+)*/?$",
        description="Path of the issuer: /realms/hafnium for a realm of Keycloak, / where the host is the issuer.",
    )
    issuer: Annotated[str, AfterValidator(http_url)] | None = Field(
        None, max_length=MAX_URL, description="Issuer that services expect; another one in the discovery document is down."
    )
    client: ClientSettings | None = Field(None, description="Client to issue a token to; default: none is asked for.")
    allow_cleartext: bool = Field(
        default=False, description="Do not warn of a client secret that crosses a network over plain HTTP."
    )
    max_bytes: int = Field(262_144, ge=1024, le=16_777_216, description="Longest answer that is read.")

    def by_hand(self, address: Address) -> str:
        """The discovery document."""
        return shlex.join(["curl", "-sS", f"{self.scheme}://{address}{self.issuer_path.rstrip('/')}{_WELL_KNOWN}"])

    @property
    def in_the_clear(self) -> str | None:
        """The secret of the client."""
        sent = self.client is not None and self.scheme == "http" and not self.allow_cleartext
        return "the client secret" if sent else None


class _Stages:
    """Phases of the later steps: they name the stage under way; the attempt's phases are those of discovery."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    @property
    def stage(self) -> Stage:
        """The attempt's own."""
        return self._attempt.stage

    @stage.setter
    def stage(self, stage: Stage) -> None:
        self._attempt.stage = stage

    def add_phase(self, stage: Stage, seconds: float) -> None:
        """Forget it."""


class OidcProbe(Probe[OidcSettings]):
    """Does what services do before they trust a token: discovery document, signing keys, and a token where configured."""

    kind = "oidc"
    settings_type = OidcSettings
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.SEND, Stage.WAIT, Stage.RECEIVE)
    metrics = (STEP_SECONDS, STEP_UP, SIGNING_KEYS, TOKEN_LIFETIME, TOKEN_KEY_PUBLISHED)

    def __init__(self, target: Target, settings: OidcSettings, shared: SharedClients) -> None:
        super().__init__(target, settings, shared)
        self._path = settings.issuer_path.rstrip("/")
        self._root = URL.build(scheme=settings.scheme, host=target.address.host, port=target.address.port)
        self._discovery_url = self._at(self._path + _WELL_KNOWN)
        self._tls = ClientTls(settings.tls) if settings.scheme == "https" else None

    async def check(self, attempt: Attempt) -> None:
        """Take the steps one after the other; the first that fails decides."""
        async with _step(attempt, "discovery"):
            document = await self._discover(attempt)
            keys_url, token_url = (self._endpoint(document, name) for name in ("jwks_uri", "token_endpoint"))
        async with _step(attempt, "jwks"):
            keys = await self._signing_keys(attempt, keys_url)
        if self.settings.client is not None:
            async with _step(attempt, "token"):
                await self._token(attempt, self.settings.client, token_url, keys, keys_url)

    async def _discover(self, attempt: Attempt) -> dict[str, Any]:
        document = await self._get_json(self._discovery_url, attempt)
        issuer = document.get("issuer")
        if not isinstance(issuer, str) or not issuer:
            raise Failure(Stage.CHECK, Reason.MALFORMED, "the document has no issuer")
        expected = self.settings.issuer
        if expected is not None and issuer != expected:
            raise Failure(Stage.CHECK, Reason.PROTOCOL, f"the issuer is {_shown(issuer)}, expected {expected}")
        return document

    async def _signing_keys(self, attempt: Attempt, url: URL) -> Sequence[str]:
        keys = _usable((await self._get_json(url, _Stages(attempt))).get("keys"))
        attempt.record(SIGNING_KEYS, len(keys))
        if not keys:
            raise Failure(Stage.CHECK, Reason.MALFORMED, "there is no usable signing key")
        return keys

    async def _token(self, attempt: Attempt, client: ClientSettings, url: URL, keys: Sequence[str], keys_url: URL) -> None:
        grant = await self._issue(attempt, client, url)
        if grant.expires_in is not None:
            attempt.record(TOKEN_LIFETIME, grant.expires_in)
        key = _signing_key(grant.access_token)
        if key is None:
            return
        if key not in keys:  # a new key may have come into use since
            keys = await self._signing_keys(attempt, keys_url)
        attempt.record(TOKEN_KEY_PUBLISHED, key in keys)
        if key not in keys:
            raise Failure(Stage.CHECK, Reason.PROTOCOL, f"the key that signed the token is not published: {_shown(key)}")

    async def _issue(self, attempt: Attempt, client: ClientSettings, url: URL) -> Grant:
        request = await TokenRequest.of(client)
        answer = await self.shared.http.post_form(
            url,
            _Stages(attempt),
            form=request.form,
            max_bytes=self.settings.max_bytes,
            headers=request.headers,
            tls=await self._tls.context() if self._tls is not None else None,
            server_name=self._tls.server_name if self._tls is not None else None,
        )
        return read_grant(answer, request)

    async def _get_json(self, url: URL, phases: Phases) -> dict[str, Any]:
        answer: Answer = await self.shared.http.get(
            url,
            phases,
            max_bytes=self.settings.max_bytes,
            headers=_ACCEPT,
            tls=await self._tls.context() if self._tls is not None else None,
            server_name=self._tls.server_name if self._tls is not None else None,
        )
        refused = refusal(answer)
        if refused is not None:
            raise refused
        return json_object(answer.body)

    def _endpoint(self, document: Mapping[str, Any], name: str) -> URL:
        """Find an endpoint on the probed instance.

        Only the path is taken from the document, which names the public address; the client's secret goes to no host that a
        document names. A path below the public issuer's is taken to be below the probed one's: a proxy may add a prefix.
        """
        url, issuer = _absolute(document.get(name)), _absolute(document.get("issuer"))
        if url is None:
            raise Failure(Stage.CHECK, Reason.MALFORMED, f"the document has no usable {name}")
        path, public = url.raw_path, issuer.raw_path.rstrip("/") if issuer is not None else ""
        if path.startswith(f"{public}/"):
            path = self._path + path[len(public) :]
        return self._at(path, url.raw_query_string)

    def _at(self, path: str, query: str = "") -> URL:
        root = self._root
        return URL.build(scheme=root.scheme, authority=root.raw_authority, path=path, query_string=query, encoded=True)


@asynccontextmanager
async def _step(attempt: Attempt, name: str) -> AsyncIterator[None]:
    """Time a step and say whether it succeeded; what fails in it is named after it."""
    clock = phase_clock()
    started = clock()
    limit = asyncio.timeout(PATIENCE * attempt.remaining)
    try:
        async with limit:
            yield
    except Exception as error:
        if isinstance(error, Failure):
            failure = error
        elif isinstance(error, TimeoutError) and limit.expired():
            failure = Failure(attempt.stage, timeout_reason(attempt.stage), "no whole answer in time")
        else:
            raise
        if failure.verdict is Verdict.DOWN:  # of what only this client is refused, nothing is known
            attempt.record(STEP_UP, 0, name)
        raise Failure(failure.stage, failure.reason, f"{name}: {failure.detail}") from error
    finally:
        attempt.record(STEP_SECONDS, clock() - started, name)
    attempt.record(STEP_UP, 1, name)


def _absolute(value: object) -> URL | None:
    if not isinstance(value, str) or len(value) > MAX_URL:
        return None
    try:
        url = URL(value)
    except ValueError:
        return None
    return url if url.scheme in {"http", "https"} and url.host else None


def _usable(keys: object) -> list[str]:
    """Return the ids of the public keys that are meant for signatures, and whole; the id is empty where a key has none."""
    found = []
    for key in keys[:MAX_KEYS] if isinstance(keys, list) else ():
        if not isinstance(key, dict) or key.get("use", "sig") != "sig":
            continue
        kid, material = key.get("kid", ""), _MATERIAL.get(str(key.get("kty"))[:8])
        if isinstance(kid, str) and material and all(_filled(key.get(name)) for name in material):
            found.append(kid)
    return found


def _filled(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _signing_key(token: str) -> str | None:
    """Return the id of the key that a token says it is signed with; None for a token that is opaque, or signed otherwise.

    Nothing is verified: the question is only whether somebody who wants to verify it could.
    """
    head, dot, rest = token.partition(".")
    if not dot or rest.count(".") != 1:
        return None
    try:
        header = json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or not str(header.get("alg")).startswith(_PUBLIC_KEY_ALGORITHMS):
        return None
    kid = header.get("kid")
    return kid if isinstance(kid, str) else None


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:100])


PROBE = OidcProbe
