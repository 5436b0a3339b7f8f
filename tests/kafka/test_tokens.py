"""SASL OAUTHBEARER, by the validator of Apache Kafka that takes unsigned tokens."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from exporter.kafka import families as kafka
from exporter.probing.probe import SharedClients
from exporter.probing.runner import run_probe
from exporter.verdict import Reason, Stage, Verdict
from tests.clients.kafka.asking import descriptors, failure, probe_of, values
from tests.fixtures.kafkas import OPERATOR, SESSION_SECONDS, KafkaCluster
from tests.kafka.doing import commit, create, write
from tests.net.servers import Route, answer, serve


def _encoded(claims: Mapping[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def token_of(user: str, life: float = 3600) -> str:
    """Make an unsigned token (RFC 7515, appendix A.5)."""
    now = time.time()
    return f"{_encoded({'alg': 'none'})}.{_encoded({'sub': user, 'iat': now - 60, 'exp': now + life})}."


def bearing(token: Path) -> dict[str, Any]:
    """Settings with the file of a token."""
    return {"protocol": "SASL_PLAINTEXT", "mechanism": "OAUTHBEARER", "bearer": {"token_file": str(token)}}


async def test_a_token_lets_in_and_a_refused_one_is_told(
    kafkas: KafkaCluster,
    shared: SharedClients,
    admin: AIOKafkaAdminClient,
    producer: AIOKafkaProducer,
    name: str,
    tmp_path: Path,
) -> None:
    """Its file is read at each login: a session that the broker ends is followed by one of the token of that moment."""
    await create(admin, name, {0: [1]})
    await write(producer, name, {0: 9})
    await commit(kafkas, name, name, {0: 2})
    file = tmp_path / "token"
    file.write_text(token_of(OPERATOR) + "\n")
    probe = probe_of(shared, kafkas.first.sasl_port, security=bearing(file))
    first = await run_probe(probe, 20.0)
    open_at_first = descriptors()
    await asyncio.sleep(1.5 * SESSION_SECONDS)
    second = await run_probe(probe, 20.0)
    open_at_second = descriptors()
    expired = token_of(OPERATOR, -3600)
    file.write_text(expired)
    await asyncio.sleep(1.5 * SESSION_SECONDS)
    refused = await run_probe(probe, 20.0)
    file.write_text(token_of(OPERATOR))
    third = await run_probe(probe, 20.0)
    await probe.close()

    for outcome in (first, second, third):
        assert outcome.verdict is Verdict.UP
        assert dict(outcome.parts) == {"groups": None, "offsets": None}
        assert values(outcome, kafka.LAG)[name, name, "0"] == 7
    assert open_at_second <= open_at_first
    assert refused.verdict is Verdict.UNKNOWN
    assert failure(refused) == (Stage.AUTH, Reason.AUTH)
    assert "invalid_token" in str(refused.failure)
    assert expired not in repr(refused)


async def test_a_token_that_cannot_be_had_is_told(kafkas: KafkaCluster, shared: SharedClients, tmp_path: Path) -> None:
    """No file, and one that is no token: the cluster is not at fault, and nothing of it is shown."""
    file = tmp_path / "token"
    for content in (None, "not a token"):
        if content is not None:
            file.write_text(content)
        probe = probe_of(shared, kafkas.first.sasl_port, security=bearing(file))
        outcome = await run_probe(probe, 20.0)
        await probe.close()
        assert outcome.verdict is Verdict.UNKNOWN
        assert failure(outcome) == (Stage.AUTH, Reason.CREDENTIALS)
        assert "not a token" not in repr(outcome)


async def test_a_token_of_an_identity_provider_lets_in_and_a_refused_one_is_replaced(
    kafkas: KafkaCluster, shared: SharedClients
) -> None:
    """By client credentials; after a broker has refused a token, another is asked for."""
    routes: dict[str, Route] = {"/token": answer(_issued(token_of(OPERATOR, -3600)))}
    async with serve(routes) as served:
        oauth2 = {"token_url": f"http://127.0.0.1:{served.port}/token", "client_id": "c", "client_secret": "s3cr3t"}
        security = {"protocol": "SASL_PLAINTEXT", "mechanism": "OAUTHBEARER", "oauth2": oauth2}
        probe = probe_of(shared, kafkas.first.sasl_port, security=security)
        refused = await run_probe(probe, 20.0)
        routes["/token"] = answer(_issued(token_of(OPERATOR)))
        well = await run_probe(probe, 20.0)
        await probe.close()
    assert failure(refused) == (Stage.AUTH, Reason.AUTH)
    assert well.verdict is Verdict.UP
    assert dict(well.parts) == {"groups": None, "offsets": None}
    assert served.paths() == ["/token", "/token"]


def _issued(token: str) -> str:
    return json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 3600})
