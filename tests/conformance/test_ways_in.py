"""Every way into a real application: what it asks for, and what it says where it does not get it."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from exporter.actuator.connections import CONNECT_SECONDS, EXCHANGE_SECONDS
from exporter.actuator.recording import UPTIME
from exporter.probes.actuator import REUSED
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome
from exporter.verdict import Stage, Verdict
from tests.conformance.reading import series
from tests.conformance.subjects import Subject
from tests.fixtures.boot_applications import SecuredApplications
from tests.fixtures.keycloak import PROBER_SECRET, KeycloakServer
from tests.net.relay import Relay
from tests.probes.doing import attempt, make, reason


def _token(keycloak: KeycloakServer) -> str:
    """Fetch a token without the exporter's help."""
    form = {"grant_type": "client_credentials", "client_id": "prober", "client_secret": PROBER_SECRET}
    with urllib.request.urlopen(keycloak.token_url(), urllib.parse.urlencode(form).encode(), timeout=10) as answer:
        token: str = json.load(answer)["access_token"]
    return token


async def _read(shared: SharedClients, port: int, **settings: Any) -> Outcome:
    return await attempt(make("actuator", shared, "127.0.0.1", port, **settings))


def _is_whole(outcome: Outcome) -> bool:
    """Whether health and meters were both read."""
    return outcome.verdict is Verdict.UP and outcome.parts["metrics"] is None and UPTIME in outcome.samples


@pytest.mark.feature("Way in: none, refused (unknown, no page)", version="3.5")
async def test_without_credentials_nobody_is_paged(shared: SharedClients, secured: SecuredApplications) -> None:
    outcome = await _read(shared, secured.port)
    assert outcome.verdict is Verdict.UNKNOWN
    assert reason(outcome) == ("check", "auth")


@pytest.mark.feature("Way in: Basic", version="3.5")
async def test_basic(shared: SharedClients, secured: SecuredApplications, tmp_path: Path) -> None:
    assert _is_whole(
        await _read(shared, secured.port, auth={"basic": {"username": secured.user, "password": secured.password}})
    )
    file = tmp_path / "password"
    file.write_text(secured.password + "\n", encoding="utf-8")
    probe = make(
        "actuator", shared, "127.0.0.1", secured.port, auth={"basic": {"username": secured.user, "password_file": file}}
    )
    assert _is_whole(await attempt(probe))
    file.write_text("another", encoding="utf-8")
    refused = await attempt(probe)
    assert (refused.verdict, reason(refused)) == (Verdict.UNKNOWN, ("check", "auth"))


@pytest.mark.feature("Way in: bearer token, static and from a file that is rotated", version="3.5")
async def test_bearer(shared: SharedClients, secured: SecuredApplications, keycloak: KeycloakServer, tmp_path: Path) -> None:
    token = _token(keycloak)
    assert _is_whole(await _read(shared, secured.port, auth={"bearer": {"token": token}}))
    file = tmp_path / "token"
    file.write_text("expired")
    probe = make("actuator", shared, "127.0.0.1", secured.port, auth={"bearer": {"token_file": file}})
    assert reason(await attempt(probe)) == ("check", "auth")
    file.write_text(token)
    assert _is_whole(await attempt(probe))


@pytest.mark.feature("Way in: OAuth2 client credentials, from Keycloak", version="3.5")
async def test_oauth2(shared: SharedClients, secured: SecuredApplications, keycloak: KeycloakServer) -> None:
    async with Relay(keycloak.port) as relay:
        oauth2 = {"token_url": keycloak.token_url(relay.port), "client_id": "prober", "client_secret": PROBER_SECRET}
        probes = [make("actuator", shared, "127.0.0.1", secured.port, auth={"oauth2": oauth2}) for _ in range(3)]
        for probe in probes * 2:
            assert _is_whole(await attempt(probe))
        assert relay.count("POST") == 1, "one token serves all"
    oauth2 |= {"token_url": keycloak.token_url(), "client_secret": "wrong"}
    wrong = await _read(shared, secured.port, auth={"oauth2": oauth2})
    assert (wrong.verdict, reason(wrong)) == (Verdict.UNKNOWN, ("auth", "credentials"))


@pytest.mark.feature("Way in: TLS with a CA of one's own, another server name, a client certificate", version="3.5")
async def test_mutual_tls(shared: SharedClients, secured: SecuredApplications) -> None:
    auth = {"basic": {"username": secured.user, "password": secured.password}}
    files = {"ca_file": str(secured.ca_file), "cert_file": str(secured.client_file)}
    named = {**files, "server_name": "secured.test"}
    whole = await _read(shared, secured.tls_port, scheme="https", tls=named, auth=auth)
    assert _is_whole(whole)
    assert Stage.TLS in whole.phases
    unnamed = await _read(shared, secured.tls_port, scheme="https", tls=files, auth=auth)
    assert reason(unnamed) == ("tls", "tls_name_mismatch")
    strange = await _read(shared, secured.tls_port, scheme="https", tls={"server_name": "secured.test"}, auth=auth)
    assert reason(strange) == ("tls", "tls_untrusted")
    uncertified = {name: value for name, value in named.items() if name != "cert_file"}
    outcome = await _read(shared, secured.tls_port, scheme="https", tls=uncertified, auth=auth)
    assert outcome.verdict is Verdict.UNKNOWN, "a certificate that the prober lacks is no fault of the application"


@pytest.mark.feature("Connections: kept alive, and a new one now and then, told apart")
async def test_warm_and_cold_are_told_apart(subject: Subject, shared: SharedClients) -> None:
    probe = make("actuator", shared, "127.0.0.1", subject.application.port, metrics=False, cold_every=3)
    outcomes = [await attempt(probe) for _ in range(9)]
    assert [int(series(outcome, REUSED)[()]) for outcome in outcomes] == [0, 1, 1, 1, 0, 1, 1, 1, 0]
    assert [Stage.CONNECT in outcome.phases for outcome in outcomes] == [True, *[False] * 3] * 2 + [True]
    assert set(series(outcomes[-1], EXCHANGE_SECONDS)) == {("cold",), ("warm",)}
    assert 0 < series(outcomes[-1], CONNECT_SECONDS)[()] < series(outcomes[-1], EXCHANGE_SECONDS)["cold",]
