"""Access tokens from a real Keycloak: fetched once, renewed in time, kept through an outage."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest

from exporter.auth.ways import Authenticator, AuthSettings
from exporter.probing.probe import SharedClients
from exporter.verdict import Failure, Reason
from tests.fixtures.keycloak import BRIEF_SECONDS, PROBER_SECRET, KeycloakServer
from tests.net.relay import Relay

PATIENCE = 20.0


def authenticator(shared: SharedClients, server: KeycloakServer, relay: Relay, client: str, secret: str) -> Authenticator:
    way = {"token_url": server.token_url(relay.port), "client_id": client, "client_secret": secret}
    return Authenticator(AuthSettings(oauth2=way), shared.tokens)


async def token(auth: Authenticator) -> str:
    sent = (await auth.headers(PATIENCE))["Authorization"]
    assert sent.startswith("Bearer ")
    return sent.removeprefix("Bearer ")


def claims(encoded: str) -> dict[str, Any]:
    body = encoded.split(".")[1]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


async def test_fifty_probes_share_one_token(keycloak: KeycloakServer, shared: SharedClients) -> None:
    async with Relay(keycloak.port) as relay:
        auths = [authenticator(shared, keycloak, relay, "prober", PROBER_SECRET) for _ in range(50)]
        tokens = set(await asyncio.gather(*map(token, auths)))
        tokens |= set(await asyncio.gather(*map(token, auths)))
        assert len(tokens) == 1
        assert relay.count("POST") == 1
    assert claims(tokens.pop())["azp"] == "prober"


async def test_a_token_that_was_refused_is_replaced_by_another_one_once(
    keycloak: KeycloakServer, shared: SharedClients
) -> None:
    async with Relay(keycloak.port) as relay:
        auth = authenticator(shared, keycloak, relay, "prober", PROBER_SECRET)
        got = []
        for _ in range(5):
            got.append(await token(auth))
            auth.rejected()
        assert len(set(got)) == 2
        assert relay.count("POST") == 2


async def test_a_token_is_renewed_before_it_expires_and_outlives_an_outage(
    keycloak: KeycloakServer, shared: SharedClients
) -> None:
    """Tokens of 15 s are renewed after half of that; an outage then leaves the one at hand."""
    async with Relay(keycloak.port) as relay:
        auth = authenticator(shared, keycloak, relay, "brief", "brief-secret")
        first = await token(auth)
        async with asyncio.timeout(BRIEF_SECONDS):
            while relay.count("POST") < 2:
                assert await token(auth) == first
                await asyncio.sleep(0.05)
            while (second := await token(auth)) == first:
                await asyncio.sleep(0.05)
        assert claims(second)["exp"] > claims(first)["exp"]
        await relay.refuse()
        assert await token(auth) == second


async def test_a_keycloak_that_hangs_or_is_gone_leaves_the_verdict_unknown(
    keycloak: KeycloakServer, shared: SharedClients
) -> None:
    async with Relay(keycloak.port) as relay:
        auth = authenticator(shared, keycloak, relay, "prober", PROBER_SECRET)
        relay.hang()
        with pytest.raises(Failure, match=r"within 0\.2 s") as caught:
            await auth.headers(0.2)
        assert caught.value.reason is Reason.CREDENTIALS
        relay.resume()
        assert claims(await token(auth))["azp"] == "prober"
        other = authenticator(shared, keycloak, relay, "prober", "wrong")
        with pytest.raises(Failure, match="HTTP 401: unauthorized_client: Invalid client") as caught:
            await other.headers(PATIENCE)
        assert caught.value.reason is Reason.CREDENTIALS
