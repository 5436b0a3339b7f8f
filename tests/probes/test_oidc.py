"""The oidc probe against a real Keycloak, and against identity providers that are none."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from exporter.demo.processes import free_port
from exporter.probes import oidc as o
from exporter.probes.oidc import OidcSettings
from exporter.probing.probe import Probe, SharedClients
from exporter.probing.runner import Outcome
from exporter.verdict import Stage, Verdict
from tests.fixtures.keycloak import AWKWARD_SECRET, BRIEF_SECONDS, PROBER_SECRET, KeycloakServer
from tests.net.relay import Relay
from tests.net.servers import Certificates, Route, Served, answer, serve
from tests.probes.doing import attempt, flood, hang_up, make, on_uvloop, reason, saying, serving, silence, value

PROBER = {"client_id": "prober", "client_secret": PROBER_SECRET}
STEPS = ["discovery", "jwks", "token"]
KEY = {"kid": "k1", "kty": "RSA", "use": "sig", "alg": "RS256", "n": "AQAB", "e": "AQAB"}


def probe_of(server: KeycloakServer, shared: SharedClients, port: int | None = None, **settings: Any) -> Probe[Any]:
    given = {"scheme": "http", "issuer_path": server.issuer_path} | settings
    return make("oidc", shared, server.host, port or server.port, **given)


def ups(outcome: Outcome) -> dict[str, float]:
    return {labels[0]: up for labels, up in outcome.samples.get(o.STEP_UP, {}).items()}


def timed(outcome: Outcome) -> dict[str, float]:
    return {labels[0]: seconds for labels, seconds in outcome.samples.get(o.STEP_SECONDS, {}).items()}


# A real Keycloak


async def test_a_realm_that_publishes_keys_and_issues_tokens_is_up_with_every_step_timed(
    keycloak: KeycloakServer, shared: SharedClients
) -> None:
    outcome = await attempt(probe_of(keycloak, shared, client=PROBER), timeout=20)
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
    assert ups(outcome) == dict.fromkeys(STEPS, 1)
    assert list(timed(outcome)) == STEPS
    assert all(seconds > 0 for seconds in timed(outcome).values())
    assert sum(timed(outcome).values()) <= outcome.duration
    assert value(outcome, o.SIGNING_KEYS) >= 1
    assert value(outcome, o.TOKEN_LIFETIME) in {299, 300}  # Keycloak counts from the second in which it began
    assert value(outcome, o.TOKEN_KEY_PUBLISHED) == 1


async def test_the_phases_are_those_of_discovery(keycloak: KeycloakServer, shared: SharedClients) -> None:
    outcome = await attempt(probe_of(keycloak, shared, client=PROBER), timeout=20)
    assert set(outcome.phases) == {Stage.CONNECT, Stage.SEND, Stage.WAIT, Stage.RECEIVE}
    assert sum(outcome.phases.values()) <= timed(outcome)["discovery"]


async def test_without_a_client_no_token_is_asked_for(keycloak: KeycloakServer, shared: SharedClients) -> None:
    async with Relay(keycloak.port) as relay:
        outcome = await attempt(probe_of(keycloak, shared, relay.port), timeout=20)
    assert outcome.verdict is Verdict.UP
    assert ups(outcome) == {"discovery": 1, "jwks": 1}
    realm = keycloak.issuer_path
    assert relay.requests == [
        ("GET", f"{realm}/.well-known/openid-configuration"),
        ("GET", f"{realm}/protocol/openid-connect/certs"),
    ]


async def test_keycloak_over_tls_with_its_own_authority(keycloak: KeycloakServer, shared: SharedClients) -> None:
    tls = {"ca_file": keycloak.ca_file, "server_name": "keycloak.test"}
    issuer = f"https://{keycloak.host}:{keycloak.https_port}{keycloak.issuer_path}"
    probe = probe_of(keycloak, shared, keycloak.https_port, scheme="https", tls=tls, client=PROBER, issuer=issuer)
    outcome = await attempt(probe, timeout=20)
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
    assert Stage.TLS in outcome.phases
    untrusting = probe_of(keycloak, shared, keycloak.https_port, scheme="https", client=PROBER)
    assert reason(await attempt(untrusting)) == ("tls", "tls_untrusted")


@pytest.mark.parametrize("client_auth", ["basic", "post"])
async def test_a_secret_with_reserved_characters_is_understood(
    keycloak: KeycloakServer, shared: SharedClients, tmp_path: Path, client_auth: str
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{AWKWARD_SECRET}\n", "utf-8")
    client = {"client_id": "awkward", "client_secret_file": file, "client_auth": client_auth, "scopes": ["email"]}
    assert (await attempt(probe_of(keycloak, shared, client=client), timeout=20)).failure is None


async def test_the_life_of_a_token_is_the_clients(keycloak: KeycloakServer, shared: SharedClients) -> None:
    client = {"client_id": "brief", "client_secret": "brief-secret"}
    outcome = await attempt(probe_of(keycloak, shared, client=client), timeout=20)
    assert value(outcome, o.TOKEN_LIFETIME) == BRIEF_SECONDS


async def test_a_token_signed_with_a_shared_key_needs_no_published_one(
    keycloak: KeycloakServer, shared: SharedClients
) -> None:
    client = {"client_id": "shared-key", "client_secret": "shared-secret"}
    outcome = await attempt(probe_of(keycloak, shared, client=client), timeout=20)
    assert outcome.failure is None
    assert o.TOKEN_KEY_PUBLISHED not in outcome.samples


@pytest.mark.parametrize(
    ("client", "detail"),
    [
        (PROBER | {"client_secret": "wrong"}, "token: HTTP 401: unauthorized_client"),
        (PROBER | {"client_id": "nobody"}, "token: HTTP 401: invalid_client"),
        (PROBER | {"scopes": ["nonsense"]}, "token: HTTP 400: invalid_scope"),
    ],
)
async def test_a_client_that_is_refused_leaves_the_verdict_unknown(
    keycloak: KeycloakServer, shared: SharedClients, client: dict[str, Any], detail: str
) -> None:
    outcome = await attempt(probe_of(keycloak, shared, client=client), timeout=20)
    assert outcome.verdict is Verdict.UNKNOWN
    assert reason(outcome) == ("auth", "auth")
    assert outcome.failure is not None
    assert outcome.failure.detail.startswith(detail)
    assert ups(outcome) == {"discovery": 1, "jwks": 1}
    assert list(timed(outcome)) == STEPS


async def test_a_realm_that_does_not_exist_is_down(keycloak: KeycloakServer, shared: SharedClients) -> None:
    outcome = await attempt(probe_of(keycloak, shared, issuer_path="/realms/nowhere"), timeout=20)
    assert outcome.verdict is Verdict.DOWN
    assert str(outcome.failure) == "check: http_status: discovery: HTTP 404"
    assert ups(outcome) == {"discovery": 0}


async def test_another_issuer_than_expected_is_down(keycloak: KeycloakServer, shared: SharedClients) -> None:
    outcome = await attempt(probe_of(keycloak, shared, issuer="https://id.hafnium.example/realms/hafnium"), timeout=20)
    assert reason(outcome) == ("check", "protocol")
    assert "expected https://id.hafnium.example/realms/hafnium" in str(outcome.failure)


async def test_a_provider_that_stops_is_down_and_up_again_when_it_is_back(
    keycloak: KeycloakServer, shared: SharedClients
) -> None:
    async with Relay(keycloak.port) as relay:
        probe = probe_of(keycloak, shared, relay.port, client=PROBER)
        assert (await attempt(probe, timeout=20)).verdict is Verdict.UP
        await relay.refuse()
        outcome = await attempt(probe)
        assert outcome.verdict is Verdict.DOWN
        assert reason(outcome) == ("connect", "connect_refused")
        assert ups(outcome) == {"discovery": 0}
        await relay.open()
        assert (await attempt(probe, timeout=20)).verdict is Verdict.UP


async def test_a_provider_that_hangs_is_down_and_the_step_is_named(keycloak: KeycloakServer, shared: SharedClients) -> None:
    async with Relay(keycloak.port) as relay:
        relay.hang()
        outcome = await attempt(probe_of(keycloak, shared, relay.port), timeout=4)
    assert outcome.verdict is Verdict.DOWN
    assert str(outcome.failure) == "wait: timeout: discovery: no whole answer in time"
    assert outcome.phases[Stage.WAIT] > 0.2


def test_it_works_on_the_loop_that_the_exporter_runs_on(keycloak: KeycloakServer) -> None:
    async def steps(shared: SharedClients) -> Outcome:
        return await attempt(probe_of(keycloak, shared, client=PROBER), timeout=20)

    assert on_uvloop(steps).failure is None


# Scripted providers


def jwt(**header: Any) -> str:
    head = urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return f"{head}.e30.c2ln"


def document(port: int, **changed: Any) -> dict[str, Any]:
    base = f"http://127.0.0.1:{port}"
    given = {"issuer": base, "jwks_uri": f"{base}/jwks", "token_endpoint": f"{base}/token"} | changed
    return {name: item for name, item in given.items() if item is not None}


def as_json(body: object, status: int = 200) -> web.Response:
    return answer(json.dumps(body), status)


def grant(issued: str = "opaque", **changed: Any) -> web.Response:
    return as_json({"access_token": issued, "token_type": "Bearer", "expires_in": 60} | changed)


async def outcome_of(
    shared: SharedClients,
    *,
    discovery: Route | dict[str, Any] | None = None,
    jwks: Route | None = None,
    token: Route | None = None,
    timeout: float = 5.0,
    **settings: Any,
) -> tuple[Outcome, Served]:
    """Probe a provider that answers what a test says, and otherwise is sound."""
    prefix = settings.get("issuer_path", "/").rstrip("/")
    routes: dict[str, Route] = {
        f"{prefix}/jwks": jwks or as_json({"keys": [KEY]}),
        f"{prefix}/token": token or grant(),
    }
    async with serve(routes) as served:
        found = document(served.port, **discovery) if isinstance(discovery, dict) else document(served.port)
        ready = as_json(found) if discovery is None or isinstance(discovery, dict) else discovery
        routes[f"{prefix}/.well-known/openid-configuration"] = ready
        given = {"scheme": "http", "issuer_path": "/", "client": PROBER} | settings
        return await attempt(make("oidc", shared, "127.0.0.1", served.port, **given), timeout), served


async def test_a_sound_provider_is_up(shared: SharedClients) -> None:
    outcome, served = await outcome_of(shared)
    assert outcome.failure is None
    assert served.paths() == ["/.well-known/openid-configuration", "/jwks", "/token"]


async def test_the_client_secret_goes_to_no_host_that_the_document_names(shared: SharedClients) -> None:
    async with serve({"/token": grant(), "/jwks": as_json({"keys": [KEY]})}) as elsewhere:
        there = f"http://127.0.0.1:{elsewhere.port}"
        named = {"jwks_uri": f"{there}/jwks", "token_endpoint": f"{there}/token"}
        outcome, served = await outcome_of(shared, discovery=named)
    assert outcome.failure is None
    assert elsewhere.requests == []
    assert served.paths()[1:] == ["/jwks", "/token"]
    assert "Authorization" in served.requests[-1].headers


@pytest.mark.parametrize("public", ["https://id.example/auth/realms/r", "https://id.example", "https://id.example/"])
async def test_a_prefix_that_a_proxy_adds_or_takes_away_is_undone(shared: SharedClients, public: str) -> None:
    named = {"issuer": public, "jwks_uri": f"{public.rstrip('/')}/jwks", "token_endpoint": f"{public.rstrip('/')}/token"}
    outcome, _ = await outcome_of(shared, discovery=named, issuer_path="/realms/r", issuer=public)
    assert outcome.failure is None


async def test_an_endpoint_beside_the_issuer_is_asked_where_it_is(shared: SharedClients) -> None:
    named = {"issuer": "https://login.example/tenant/v2.0", "jwks_uri": "https://login.example/jwks?appid=1"}
    outcome, served = await outcome_of(shared, discovery=named)
    assert outcome.failure is None
    assert served.requests[1].path_qs == "/jwks?appid=1"


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"issuer": None}, "the document has no issuer"),
        ({"issuer": ["x"]}, "the document has no issuer"),
        ({"jwks_uri": None}, "the document has no usable jwks_uri"),
        ({"jwks_uri": 7}, "the document has no usable jwks_uri"),
        ({"jwks_uri": "/jwks"}, "the document has no usable jwks_uri"),
        ({"jwks_uri": "file:///etc/passwd"}, "the document has no usable jwks_uri"),
        ({"jwks_uri": "http://[::1/x"}, "the document has no usable jwks_uri"),
        ({"jwks_uri": "http://h/" + "x" * 3000}, "the document has no usable jwks_uri"),
        ({"token_endpoint": None}, "the document has no usable token_endpoint"),
    ],
)
async def test_a_document_without_what_services_need_is_down(
    shared: SharedClients, changed: dict[str, Any], detail: str
) -> None:
    outcome, served = await outcome_of(shared, discovery=changed)
    assert str(outcome.failure) == f"check: malformed: discovery: {detail}"
    assert ups(outcome) == {"discovery": 0}
    assert len(served.requests) == 1


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (answer(b""), "check: malformed: discovery: the answer is empty"),
        (answer(b"<html>"), "check: malformed: discovery: the answer is not JSON"),
        (answer(b'{"issuer": NaN}'), "check: malformed: discovery: the answer is not JSON"),
        (answer(b"[" * 100_000), "check: malformed: discovery: the JSON is nested too deeply"),
        (answer(b'{"a":' * 20_000 + b"1" + b"}" * 20_000), "check: malformed: discovery: the JSON is nested too deeply"),
        (answer(b'"text"'), "check: malformed: discovery: the JSON is not an object"),
        (answer(b"x" * 300_000), "receive: too_large: discovery: the answer is longer than 262144 bytes"),
        (answer(b"{}", Content_Encoding="gzip"), "receive: protocol: discovery: the answer is compressed, which was not "),
        (answer(b"", 503), "check: http_status: discovery: HTTP 503"),
        (answer(b"", 302, Location="http://127.0.0.1:1/"), "check: redirect: discovery: HTTP 302, and redirects are not"),
        (answer(b"", 403), "check: auth: discovery: HTTP 403"),
    ],
)
async def test_an_answer_that_is_no_document_has_its_reason(
    shared: SharedClients, response: web.Response, expected: str
) -> None:
    outcome, served = await outcome_of(shared, discovery=response)
    assert str(outcome.failure).startswith(expected)
    assert len(served.requests) == 1


@pytest.mark.parametrize(
    "keys",
    [
        [],
        None,
        "x",
        {},
        [KEY | {"use": "enc"}],
        [{name: item for name, item in KEY.items() if name != "n"}],
        [KEY | {"n": ""}],
        [KEY | {"kty": "oct"}],
        [KEY | {"kty": ["RSA"]}],
        [KEY | {"kid": 7}],
        ["RSA", 7, None, []],
        [{}] * 2000 + [KEY],
    ],
)
async def test_a_key_set_without_a_usable_signing_key_is_down(shared: SharedClients, keys: object) -> None:
    outcome, served = await outcome_of(shared, jwks=as_json({"keys": keys}))
    assert str(outcome.failure) == "check: malformed: jwks: there is no usable signing key"
    assert ups(outcome) == {"discovery": 1, "jwks": 0}
    assert value(outcome, o.SIGNING_KEYS) == 0
    assert "/token" not in served.paths()


async def test_keys_of_every_type_count(shared: SharedClients) -> None:
    keys = [
        KEY,
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kid": "e", "kty": "EC", "crv": "P-256", "x": "x", "y": "y"},
        {"kid": "o", "kty": "OKP", "crv": "Ed25519", "x": "x"},
        KEY | {"use": "enc"},
        {"kid": "s", "kty": "oct", "k": "x"},
    ]
    outcome, _ = await outcome_of(shared, jwks=as_json({"keys": keys}))
    assert value(outcome, o.SIGNING_KEYS) == 4


async def test_a_key_set_that_is_an_error_is_down(shared: SharedClients) -> None:
    outcome, _ = await outcome_of(shared, jwks=answer(b"", 500))
    assert str(outcome.failure) == "check: http_status: jwks: HTTP 500"


async def test_a_step_that_hangs_is_named(shared: SharedClients) -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    outcome, _ = await outcome_of(shared, jwks=never, timeout=1)
    assert outcome.verdict is Verdict.DOWN
    assert str(outcome.failure) == "wait: timeout: jwks: no whole answer in time"
    assert ups(outcome) == {"discovery": 1, "jwks": 0}
    assert timed(outcome)["jwks"] > 0.2
    outcome, _ = await outcome_of(shared, token=never, timeout=1)
    assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, ("wait", "timeout"))
    assert ups(outcome) == {"discovery": 1, "jwks": 1, "token": 0}


@pytest.mark.parametrize(
    ("response", "expected", "verdict"),
    [
        (answer(b"", 500), "check: http_status: token: HTTP 500", Verdict.DOWN),
        (as_json({"error": "server_error"}, 400), "auth: http_status: token: HTTP 400: server_error", Verdict.DOWN),
        (answer(b"{}"), "check: malformed: token: the answer has no access_token", Verdict.DOWN),
        (grant(token_type="DPoP"), "check: malformed: token: token_type is DPoP, not Bearer", Verdict.DOWN),
        (as_json({"error": "invalid_client"}, 401), "auth: auth: token: HTTP 401: invalid_client", Verdict.UNKNOWN),
        (as_json({"error": "unauthorized_client"}, 400), "auth: auth: token: HTTP 400: unauthorized", Verdict.UNKNOWN),
        (answer(b"", 401), "check: auth: token: HTTP 401", Verdict.UNKNOWN),
    ],
)
async def test_a_token_that_is_not_issued_is_down_unless_it_is_this_client_that_is_refused(
    shared: SharedClients, response: web.Response, expected: str, verdict: Verdict
) -> None:
    outcome, _ = await outcome_of(shared, token=response)
    assert str(outcome.failure).startswith(expected)
    assert outcome.verdict is verdict
    assert ups(outcome).get("token") == (0 if verdict is Verdict.DOWN else None)


async def test_a_secret_that_cannot_be_read_leaves_the_verdict_unknown(shared: SharedClients, tmp_path: Path) -> None:
    client = {"client_id": "prober", "client_secret_file": tmp_path / "missing"}
    outcome, served = await outcome_of(shared, client=client)
    assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("auth", "credentials"))
    assert "token: client_secret_file" in str(outcome.failure)
    assert ups(outcome) == {"discovery": 1, "jwks": 1}
    assert len(served.requests) == 2


async def test_a_lifetime_that_is_none_is_not_exported(shared: SharedClients) -> None:
    outcome, _ = await outcome_of(shared, token=grant(expires_in=-1))
    assert outcome.failure is None
    assert o.TOKEN_LIFETIME not in outcome.samples


async def test_a_token_signed_with_a_key_that_nobody_can_fetch_is_down(shared: SharedClients) -> None:
    outcome, served = await outcome_of(shared, token=grant(jwt(alg="RS256", kid="new\nkey")))
    assert outcome.verdict is Verdict.DOWN
    assert str(outcome.failure) == "check: protocol: token: the key that signed the token is not published: new?key"
    assert value(outcome, o.TOKEN_KEY_PUBLISHED) == 0
    assert ups(outcome) == {"discovery": 1, "jwks": 1, "token": 0}
    assert served.paths().count("/jwks") == 2


async def test_a_key_that_came_into_use_meanwhile_is_looked_for_again(shared: SharedClients) -> None:
    keys = [KEY]

    async def publish(_: web.Request) -> web.Response:
        return as_json({"keys": keys})

    async def rotate(_: web.Request) -> web.Response:
        keys.append(KEY | {"kid": "k2"})
        return grant(jwt(alg="RS256", kid="k2"))

    outcome, _ = await outcome_of(shared, jwks=publish, token=rotate)
    assert outcome.failure is None
    assert value(outcome, o.TOKEN_KEY_PUBLISHED) == 1
    assert value(outcome, o.SIGNING_KEYS) == 2


@pytest.mark.parametrize(
    "token",
    [
        "opaque",
        "three.part.token",
        "a.b",
        "....",
        jwt(alg="HS256", kid="other"),
        jwt(alg="none", kid="other"),
        jwt(alg=["RS256"], kid="other"),
        jwt(alg="RS256"),
        jwt(alg="RS256", kid=["k9"]),
        f"{jwt(alg='RS256', kid='other')}.d.e",
        urlsafe_b64encode(b"[" * 9000).decode() + ".b.c",
        urlsafe_b64encode(b"[]").decode() + ".b.c",
    ],
)
async def test_a_token_that_does_not_say_which_published_key_signed_it_is_taken_as_it_is(
    shared: SharedClients, token: str
) -> None:
    outcome, _ = await outcome_of(shared, token=grant(token))
    assert outcome.failure is None
    assert o.TOKEN_KEY_PUBLISHED not in outcome.samples


async def test_a_defect_of_ours_is_not_the_providers(shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(shared.http), "post_form", fail)
    outcome, _ = await outcome_of(shared)
    assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("check", "internal"))
    assert ups(outcome) == {"discovery": 1, "jwks": 1}


async def test_nobody_listening_is_down(shared: SharedClients) -> None:
    outcome = await attempt(make("oidc", shared, "127.0.0.1", free_port(), issuer_path="/", scheme="http"))
    assert reason(outcome) == ("connect", "connect_refused")


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (hang_up, ("wait", "connection_closed")),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), ("wait", "protocol")),
        (flood, ("wait", "protocol")),
        (silence, ("wait", "timeout")),
    ],
)
async def test_what_is_no_http_server_is_down(shared: SharedClients, handler: Any, expected: tuple[str, str]) -> None:
    async with serving(handler) as port:
        outcome = await attempt(make("oidc", shared, "127.0.0.1", port, issuer_path="/", scheme="http"), timeout=0.5)
    assert reason(outcome) == expected


async def test_an_expired_certificate_is_named(shared: SharedClients, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with serve({}, certificates.server(expired=True)) as served:
        probe = make("oidc", shared, "127.0.0.1", served.port, issuer_path="/", tls={"ca_file": certificates.ca_file})
        assert reason(await attempt(probe)) == ("tls", "tls_expired")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "Field required"),
        ({"issuer_path": "realms/hafnium"}, "String should match pattern"),
        ({"issuer_path": "/realms?x"}, "String should match pattern"),
        ({"issuer_path": "/", "issuer": "keycloak"}, "expected a URL such as"),
        ({"issuer_path": "/", "client": {"client_id": "c"}}, "client_id needs client_secret or client_secret_file"),
        ({"issuer_path": "/", "scheme": "ftp"}, "Input should be 'http' or 'https'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OidcSettings(**settings)


def test_the_secret_shows_in_no_repr_and_no_dump() -> None:
    settings = OidcSettings(issuer_path="/", client=PROBER)
    for shown in (repr(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert PROBER_SECRET not in shown
