"""The tls probe beside a Kubernetes Secret: whether what is served is what ought to be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from exporter.clients.kubernetes import cluster as clusters
from exporter.probes import tls as t
from exporter.probing.probe import SharedClients
from exporter.verdict import Verdict
from tests.clients.kubernetes.fake import FakeApi, Fixed, api_server, status
from tests.clients.kubernetes.raw import tls_secret
from tests.probes.doing import attempt, make, value
from tests.probes.test_tls import dates, presenting

PATH = "/api/v1/namespaces/hafnium/secrets/api-tls"
SECRET = {"name": "api-tls", "namespace": "hafnium"}


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeApi]:
    async with api_server() as fake:
        monkeypatch.setattr(clusters, "_connection", lambda _: Fixed(fake.url))
        yield fake


def holding(server: FakeApi, *secrets: Any) -> list[str]:
    """Answer with one Secret after the other, the last again and again; return the paths that are asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        found = secrets[min(len(asked), len(secrets)) - 1]
        return web.json_response(found) if isinstance(found, dict) else status(found, "Forbidden", "secrets is forbidden")

    server.override = answer
    return asked


async def test_a_certificate_that_was_renewed_and_not_reloaded_is_told_from_one_that_was(
    server: FakeApi, shared: SharedClients, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    old, new = (authority.issue_cert("api.internal") for _ in range(2))
    asked = holding(server, tls_secret("api-tls", old), tls_secret("api-tls", new))
    settings = {"ca_file": str(tmp_path / "ca.pem"), "server_name": "api.internal", "secret": SECRET}
    async with presenting(old) as port:
        probe = make("tls", shared, "127.0.0.1", port, **settings)
        served = [value(await attempt(probe), t.SECRET_SERVED, "api-tls") for _ in range(5)]
        outcome = await attempt(probe)
    assert served == [1, 1, 1, 1, 0]  # read anew at every fourth attempt
    assert asked == [PATH, PATH]
    assert outcome.verdict is Verdict.UP
    assert outcome.parts == {"secret": None}
    assert value(outcome, t.SECRET_NOT_AFTER, "api-tls") == dates(new)[1]
    async with presenting(new) as port:
        assert value(await attempt(make("tls", shared, "127.0.0.1", port, **settings)), t.SECRET_SERVED, "api-tls") == 1


async def test_one_that_does_not_verify_is_compared_all_the_same(server: FakeApi, shared: SharedClients) -> None:
    served, stored = (trustme.CA().issue_cert("api.internal") for _ in range(2))
    holding(server, tls_secret("api-tls", stored))
    async with presenting(served) as port:
        outcome = await attempt(make("tls", shared, "127.0.0.1", port, server_name="api.internal", secret=SECRET))
    assert outcome.verdict is Verdict.DOWN
    assert value(outcome, t.SECRET_SERVED, "api-tls") == 0


@pytest.mark.parametrize("answer", [403, 404, {"metadata": {"name": "api-tls", "uid": "u"}, "data": {}}, {}])
async def test_a_secret_that_cannot_be_read_fails_its_part_alone(
    server: FakeApi, shared: SharedClients, tmp_path: Path, answer: Any
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    holding(server, answer)
    leaf = authority.issue_cert("api.internal")
    async with presenting(leaf) as port:
        settings = {"ca_file": str(tmp_path / "ca.pem"), "server_name": "api.internal", "secret": SECRET}
        outcome = await attempt(make("tls", shared, "127.0.0.1", port, **settings))
    assert outcome.verdict is Verdict.UP
    assert outcome.parts["secret"] is not None
    assert t.SECRET_SERVED not in outcome.samples
    assert value(outcome, t.EXPIRY) == dates(leaf)[1]


def test_a_name_alone_is_a_secret_of_the_default_namespace() -> None:
    settings = t.TlsProbeSettings.model_validate({"secret": "api-tls"})
    assert settings.secret is not None
    assert (settings.secret.name, settings.secret.namespace) == ("api-tls", "default")
