"""`/metrics` and `/probe`."""

from __future__ import annotations

import asyncio
import gzip

import aiohttp
import pytest
from aiohttp import ClientSession
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.web.exposition import OPENMETRICS, TEXT
from exporter.web.limits import ServerLimits
from exporter.web.negotiation import accepts_gzip, prefers_openmetrics
from exporter.web.server import serve
from tests.web.conftest import ANYWHERE
from tests.web.samples import FakeBackend

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/openmetrics-text", True),
        ('application/openmetrics-text; version="1.0.0"; charset=utf-8', True),
        ("Application/OpenMetrics-Text", True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0.3, text/plain;q=0.9", False),
        ("application/openmetrics-text;q=0.3, */*;q=0.5", False),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.5", True),
        ("application/openmetrics-text;q=0.5, text/*;q=0.6, text/plain;q=0.1", True),
        ("application/openmetrics-text;q=nan", False),
        ("application/openmetrics-text;q=2, text/plain", False),
        ("application/*", False),
        (";;,,=;q", False),
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
    ],
)
def test_openmetrics_is_for_who_names_it_and_weighs_it_as_much_as_text(accept: str, openmetrics: bool) -> None:
    assert prefers_openmetrics(accept) is openmetrics


@pytest.mark.parametrize(
    ("accept", "yes"),
    [
        ("gzip", True), ("gzip, deflate, br", True), ("*", True), ("GZIP;q=0.5", True), ("", False), ("identity", False),
        ("gzip;q=0", False), ("gzip;q=0.000, *", False), ("*;q=0", False), ("br", False),
    ],
)  # fmt: skip
def test_compression_is_for_who_accepts_it(accept: str, yes: bool) -> None:
    assert accepts_gzip(accept) is yes


async def test_text_is_the_usual_format_and_parses(client: ClientSession) -> None:
    async with client.get("/metrics") as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, TEXT)
        assert answer.headers["Vary"] == "Accept"
        assert [family.name for family in parse_text(await answer.text())] == ["probe_success"]


async def test_prometheus_gets_openmetrics_and_it_parses(client: ClientSession) -> None:
    async with client.get("/metrics", headers={"Accept": PROMETHEUS_3}) as answer:
        assert answer.headers["Content-Type"] == OPENMETRICS
        assert [family.name for family in parse_openmetrics(await answer.text())] == ["probe_success"]  # type: ignore[no-untyped-call]


async def test_several_accept_headers_are_one_list(client: ClientSession) -> None:
    headers = [("Accept", "text/plain;q=0.2"), ("Accept", "application/openmetrics-text")]
    async with client.get("/metrics", headers=headers) as answer:
        assert answer.headers["Content-Type"] == OPENMETRICS


async def test_a_large_exposition_is_compressed_for_who_accepts_that(client: ClientSession, backend: FakeBackend) -> None:
    backend.exposition *= 100
    async with client.get("/metrics", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Vary"] == "Accept, Accept-Encoding"
        body = await answer.read()
        assert int(answer.headers["Content-Length"]) == len(body) < len(backend.exposition) / 10
        assert gzip.decompress(body) == backend.exposition
    async with client.get("/metrics", headers={"Accept-Encoding": "gzip;q=0"}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert answer.headers["Vary"] == "Accept, Accept-Encoding"
        assert await answer.read() == backend.exposition


async def test_a_small_exposition_is_not_worth_compressing(client: ClientSession) -> None:
    async with client.get("/metrics", headers={"Accept-Encoding": "gzip"}) as answer:
        assert "Content-Encoding" not in answer.headers


async def test_head_has_the_headers_of_get_and_no_body(client: ClientSession, backend: FakeBackend) -> None:
    backend.exposition *= 100
    headers = {"Accept-Encoding": "gzip", "Accept": PROMETHEUS_3}
    async with client.get("/metrics", headers=headers) as got:
        await got.read()
    async with client.head("/metrics", headers=headers) as head:
        assert await head.read() == b""
        for name in ("Content-Type", "Content-Length", "Content-Encoding", "Vary"):
            assert head.headers[name] == got.headers[name]


async def test_a_scrapes_cost_is_noted_before_compression_and_only_for_scrapes(
    client: ClientSession, backend: FakeBackend
) -> None:
    await (await client.get("/metrics", headers={"Accept-Encoding": "gzip"})).read()
    await (await client.head("/metrics")).read()
    [(seconds, size)] = backend.scrapes
    assert 0 <= seconds < 1
    assert size == len(backend.exposition)


async def test_one_configured_probe_is_run_now(client: ClientSession, backend: FakeBackend) -> None:
    async with client.get("/probe?service=identity&probe=actuator") as answer:
        assert (answer.status, answer.headers["Content-Type"], await answer.read()) == (200, TEXT, b"probe_success 1\n")
    async with client.get("/probe", params={"service": "identity", "probe": "actuator", "target": "h:1"}) as answer:
        assert answer.status == 200
    assert backend.runs == [("identity", "actuator", None), ("identity", "actuator", "h:1")]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "service and probe missing"),
        ("service=identity", "probe missing"),
        ("service=&probe=actuator", "service missing"),
        ("service=identity&probe=actuator&module=http_2xx", "unknown parameter 'module'"),
        ("service=identity&service=case&probe=actuator", "service is given more than once"),
        ("service=identity&probe=actuator&" + "x" * 200 + "=1", "unknown parameter 'xxx"),
    ],
)
async def test_a_question_that_is_not_understood_runs_nothing(
    client: ClientSession, backend: FakeBackend, query: str, says: str
) -> None:
    async with client.get(f"/probe?{query}") as answer:
        text = await answer.text()
        assert answer.status == 400
        assert says in text
        assert "only configured probes are run" in text
        assert len(text) < 300
    assert backend.runs == []


async def test_an_address_that_is_not_configured_is_never_asked(client: ClientSession) -> None:
    async with client.get("/probe", params={"service": "http://10.0.0.1/", "probe": "actuator"}) as answer:
        assert (answer.status, await answer.text()) == (404, "no such target; configured: identity/actuator\n")


async def test_the_server_itself_bounds_runs_and_their_time(backend: FakeBackend) -> None:
    backend.hold = asyncio.Event()
    limits = ServerLimits(probes=1, probe=0.3)
    async with serve(backend, ANYWHERE, limits) as address, ClientSession(f"http://{address}") as client:

        async def ask() -> tuple[int, str]:
            async with client.get("/probe?service=identity&probe=actuator") as answer:
                return answer.status, await answer.text()

        first, second = await asyncio.gather(ask(), ask())
        assert {first[0], second[0]} == {503}
        assert "did not end within 0.3 s" in first[1] + second[1]
        assert "too many probes" in first[1] + second[1]
        backend.hold.set()
        assert (await ask())[0] == 200


async def test_a_run_on_demand_is_not_for_head(client: ClientSession, backend: FakeBackend) -> None:
    async with client.head("/probe?service=identity&probe=actuator") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET")
    assert backend.runs == []


async def test_one_that_may_not_export_verdicts_tells_of_itself_alone(client: ClientSession, backend: FakeBackend) -> None:
    backend.leads = [False]
    async with client.get("/metrics") as answer:
        assert await answer.read() == b"probe_exporter_leader 0\n"


async def test_verdicts_that_went_out_of_date_while_they_were_joined_are_not_sent(
    client: ClientSession, backend: FakeBackend
) -> None:
    backend.leads = [True, False]
    async with client.get("/metrics") as answer:
        assert await answer.read() == b"probe_exporter_leader 0\n"


@pytest.mark.parametrize("size", [1, 1_000_000])
async def test_verdicts_that_went_out_of_date_before_they_were_sent_are_not(
    client: ClientSession, backend: FakeBackend, size: int
) -> None:
    backend.exposition = b"# HELP a b\n" + b"probe_success 1\n" * size
    backend.leads = [True, True, *[False] * 10]
    async with client.get("/metrics") as answer:  # the connection is cut, and the client asks again
        assert await answer.read() == b"probe_exporter_leader 0\n"
    assert len(backend.joins) == 2


async def test_the_rest_of_a_large_exposition_is_not_sent_when_it_goes_out_of_date(
    client: ClientSession, backend: FakeBackend
) -> None:
    backend.exposition = b"# HELP a b\n" + b"probe_success 1\n" * 100_000
    backend.leads = [True, True, True, True, False]
    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get("/metrics") as answer:
            await answer.read()
