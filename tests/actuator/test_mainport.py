"""The main port: which answers are well, how it fails, and what it is not told."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from exporter.actuator.mainport import SECONDS, STATUS_CODE, UP, MainPort, MainPortSettings
from exporter.probing.attempt import Attempt
from exporter.probing.probe import SharedClients
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage
from tests.net.servers import Certificates, Route, answer, says, serve, serve_raw


def json_answer(body: object, status: int = 200) -> web.Response:
    return answer(json.dumps(body), status, Content_Type="application/json")


def port_of(shared: SharedClients, at: int, cold_every: int = 0, **settings: Any) -> MainPort:
    return MainPort(Address("127.0.0.1", at), MainPortSettings.model_validate(settings), shared.http, cold_every)


async def checked(main: MainPort, timeout: float = 5.0) -> Attempt:
    """One attempt whose only part is the main port."""
    attempt = Attempt(timeout, lambda error, stage: error if isinstance(error, Failure) else unexpected(error, stage))
    async with attempt.part("main") as part:
        await main.check(part)
    return attempt


def unexpected(error: Exception, stage: Stage) -> Failure:
    return Failure(stage, Reason.INTERNAL, repr(error))


async def asked(shared: SharedClients, routes: Mapping[str, Route], timeout: float = 5.0, **settings: Any) -> Attempt:
    async with serve(routes) as served:
        return await checked(port_of(shared, served.port, **settings), timeout)


def why(attempt: Attempt) -> tuple[Stage, Reason, str] | None:
    failure = attempt.parts["main"]
    return (failure.stage, failure.reason, failure.detail) if failure else None


def ups(attempt: Attempt) -> dict[str, float]:
    return {path: value for (path,), value in attempt.samples[UP].items()}


def codes(attempt: Attempt) -> dict[str, float]:
    return {path: value for (path,), value in attempt.samples.get(STATUS_CODE, {}).items()}


async def hang(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    "response",
    [
        json_answer({"status": "UP"}),
        json_answer({"status": "UP"}, 503),
        json_answer({"status": "fine"}),
        json_answer({"version": 1}),
        json_answer([]),
        answer("<html>welcome</html>", Content_Type="text/html"),
        answer(""),
        answer("", 204),
        answer(b"\xff\x00" * 100),
        answer("[" * 100_000),
    ],
    ids=lambda response: f"{response.status} {response.body[:20]!r}",
)
async def test_these_answers_are_well(shared: SharedClients, response: web.Response) -> None:
    """2xx is, unless Boot's own word says otherwise: a custom mapping makes the code say anything."""
    attempt = await asked(shared, {"/x": response}, paths=["/x"])
    assert why(attempt) is None
    assert (ups(attempt), codes(attempt)) == ({"/x": 1}, {"/x": response.status})
    assert 0 < attempt.samples[SECONDS][("/x",)] < 5


@pytest.mark.parametrize(
    ("response", "reason", "detail"),
    [
        (json_answer({"status": "DOWN"}), Reason.REPORTED_DOWN, "status DOWN"),
        (json_answer({"status": "OUT_OF_SERVICE"}, 503), Reason.REPORTED_DOWN, "status OUT_OF_SERVICE"),
        (json_answer({"status": "fine"}, 500), Reason.REPORTED_DOWN, "status fine"),
        (answer("<h1>503</h1>", 503), Reason.HTTP_STATUS, "HTTP 503"),
        (json_answer({"status": 503, "error": "Service Unavailable"}, 503), Reason.HTTP_STATUS, "HTTP 503"),
        (answer("", 404), Reason.HTTP_STATUS, "HTTP 404"),
        (answer("", 302, Location="http://u:p@x/login?a=b"), Reason.REDIRECT, "HTTP 302 to http://***@x/login"),
        (answer("", 401), Reason.AUTH, "HTTP 401: the endpoint wants other credentials"),
        (answer(b" " * 1_048_577), Reason.TOO_LARGE, "the answer is longer than 1048576 bytes"),
        (answer("x", Content_Encoding="gzip"), Reason.PROTOCOL, "the answer is compressed, which was not asked for"),
    ],
    ids=lambda value: value.value if isinstance(value, Reason) else "",
)
async def test_these_are_not_and_say_which_path(
    shared: SharedClients, response: web.Response, reason: Reason, detail: str
) -> None:
    attempt = await asked(shared, {"/x": response}, paths=["/x"])
    failure = attempt.parts["main"]
    assert failure is not None
    assert (failure.reason, failure.detail) == (reason, f"main port /x: {detail}")
    assert ups(attempt) == {"/x": 0}


async def test_a_port_that_nobody_listens_on_is_refused(shared: SharedClients) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        attempt = await checked(port_of(shared, bound.getsockname()[1]))
    assert why(attempt) == (Stage.CONNECT, Reason.CONNECT_REFUSED, "main port /livez: Connection refused")
    assert (ups(attempt), codes(attempt)) == ({"/livez": 0, "/readyz": 0}, {})
    assert SECONDS not in attempt.samples


async def test_a_port_that_closes_at_once_says_so(shared: SharedClients) -> None:
    async with serve_raw(says(b"")) as served:
        attempt = await checked(port_of(shared, served.port, paths=["/x"]))
    assert why(attempt) == (
        Stage.WAIT, Reason.CONNECTION_CLOSED, "main port /x: the server closed the connection without an answer"
    )  # fmt: skip


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("said", "stage"), [(b"", Stage.WAIT), (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Stage.RECEIVE)]
)
async def test_a_path_that_hangs_is_named_with_the_stage_it_hangs_in(
    shared: SharedClients, said: bytes, stage: Stage
) -> None:
    """It ends on its own, ahead of the deadline of the whole attempt."""
    loop = asyncio.get_running_loop()
    async with serve_raw(says(said, then_hang=True)) as served:
        started = loop.time()
        attempt = await checked(port_of(shared, served.port, paths=["/x"]), 1.0)
        took = loop.time() - started
    assert why(attempt) == (stage, Reason.TIMEOUT, "main port /x: no answer within the deadline")
    assert ups(attempt) == {"/x": 0}
    assert 0.9 < took < 0.95


@pytest.mark.looptime
async def test_a_handshake_that_hangs_is_named_too(shared: SharedClients) -> None:
    async def never(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serve_raw(never) as served:
        attempt = await checked(port_of(shared, served.port, scheme="https", paths=["/x"], tls={"verify": False}), 0.5)
    assert why(attempt) == (Stage.TLS, Reason.TIMEOUT, "main port /x: no answer within the deadline")


async def test_paths_are_asked_one_after_the_other_over_one_connection(shared: SharedClients) -> None:
    async with serve({"/livez": json_answer({"status": "UP"}), "/readyz": json_answer({"status": "UP"})}) as served:
        attempt = await checked(port_of(shared, served.port))
        connections = {id(request.protocol) for request in served.requests}
    assert (why(attempt), ups(attempt)) == (None, {"/livez": 1, "/readyz": 1})
    assert served.paths() == ["/livez", "/readyz"]
    assert len(connections) == 1


async def test_a_path_that_hangs_is_passed_by_those_after_it(shared: SharedClients) -> None:
    """Over a connection that is not kept; the one that hung may still answer."""
    passed = asyncio.Event()

    async def last(_request: web.Request) -> web.StreamResponse:
        passed.set()
        return json_answer({"status": "UP"})

    async def first(_request: web.Request) -> web.StreamResponse:
        await passed.wait()
        return json_answer({"status": "UP"})

    attempt = await asked(shared, {"/livez": first, "/readyz": last}, 1.0)
    assert (why(attempt), ups(attempt)) == (None, {"/livez": 1, "/readyz": 1})


async def test_one_path_that_fails_spares_the_others(shared: SharedClients) -> None:
    attempt = await asked(shared, {"/a": answer("", 500), "/b": answer("ok")}, paths=["/b", "/a"])
    assert why(attempt) == (Stage.CHECK, Reason.HTTP_STATUS, "main port /a: HTTP 500")
    assert (ups(attempt), codes(attempt)) == ({"/a": 0, "/b": 1}, {"/a": 500, "/b": 200})


@pytest.mark.looptime
async def test_of_several_that_fail_the_first_of_the_configuration_is_named(shared: SharedClients) -> None:
    """Also where the other fails sooner."""
    attempt = await asked(shared, {"/a": hang, "/b": answer("", 500)}, 0.5, paths=["/a", "/b"])
    assert why(attempt) == (Stage.WAIT, Reason.TIMEOUT, "main port /a: no answer within the deadline")
    attempt = await asked(shared, {"/a": hang, "/b": answer("", 500)}, 0.5, paths=["/b", "/a"])
    assert why(attempt) == (Stage.CHECK, Reason.HTTP_STATUS, "main port /b: HTTP 500")
    assert (ups(attempt), codes(attempt)) == ({"/a": 0, "/b": 0}, {"/b": 500})


async def test_cut_short_by_the_attempt_it_leaves_nothing_running(shared: SharedClients) -> None:
    async with serve({"/a": hang, "/b": answer("ok")}) as served:
        main = port_of(shared, served.port, paths=["/a", "/b"])
        attempt = Attempt(1, unexpected)
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6), attempt.part("main") as part:
                await main.check(part)
        own = [task for task in asyncio.all_tasks() - before if "in_turn" in repr(task) or "MainPort" in repr(task)]
    assert own == []
    assert why(attempt) == (Stage.WAIT, Reason.TIMEOUT, "the attempt ended before it")
    assert ups(attempt) == {"/a": 0, "/b": 1}


async def test_connections_are_kept_and_a_new_one_is_made_now_and_then(shared: SharedClients) -> None:
    """As for the health: a kept connection does not show that the port has stopped taking new ones."""
    async with serve({"/x": answer("ok")}) as served:
        main = port_of(shared, served.port, 2, paths=["/x"])
        for _ in range(7):
            await checked(main)
        numbers = list({id(request.protocol): None for request in served.requests})
        asked_over = [numbers.index(id(request.protocol)) for request in served.requests]
    assert asked_over == [0, 0, 0, 1, 0, 0, 2]


async def test_a_port_that_takes_no_new_connections_stays_down_until_it_does(shared: SharedClients) -> None:
    taking = True

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while taking or served.connections == 1:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with serve_raw(talk) as served:
        main = port_of(shared, served.port, 1, paths=["/x"])
        found = [why(await checked(main)) for _ in range(2)]
        taking = False
        found += [why(await checked(main)) for _ in range(2)]
        taking = True
        found += [why(await checked(main)) for _ in range(2)]
    reasons = [failure[1] if failure else None for failure in found]
    assert reasons == [None, None, Reason.CONNECTION_CLOSED, Reason.CONNECTION_CLOSED, None, None]


async def test_the_port_is_the_instances_unless_another_is_configured(shared: SharedClients) -> None:
    async with serve({"/livez": answer("ok"), "/readyz": answer("ok")}) as served:
        assert why(await checked(port_of(shared, served.port))) is None
        assert why(await checked(port_of(shared, 1, port=served.port))) is None
    assert sorted(served.paths()) == ["/livez", "/livez", "/readyz", "/readyz"]


async def test_paths_are_sent_as_they_are_written(shared: SharedClients) -> None:
    async with serve({"/a b/ü": answer("ok")}) as served:
        assert why(await checked(port_of(shared, served.port, paths=["/a%20b/%C3%BC"]))) is None


async def test_https_is_verified_with_roots_and_name_of_its_own(shared: SharedClients, certificates: Certificates) -> None:
    tls = {"ca_file": str(certificates.ca_file), "server_name": "shop.example.test"}
    async with serve({"/x": answer("ok")}, certificates.server("shop.example.test")) as served:
        well = await checked(port_of(shared, served.port, scheme="https", paths=["/x"], tls=tls))
        ill = await checked(port_of(shared, served.port, scheme="https", paths=["/x"], tls={**tls, "server_name": None}))
    assert why(well) is None
    failure = ill.parts["main"]
    assert failure is not None
    assert (failure.stage, failure.reason) == (Stage.TLS, Reason.TLS_NAME_MISMATCH)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize(
    "settings",
    [
        {"port": 0},
        {"scheme": "ftp"},
        {"paths": []},
        {"paths": ["livez"]},
        {"paths": ["//evil.example.test/x?a"]},
        {"paths": ["/a b"]},
        {"paths": ["/a#b"]},
        {"paths": ["/a\r\nX: 1"]},
        {"paths": [f"/{number}" for number in range(11)]},
        {"paths": ["/" + "a" * 200]},
        {"auth": {"basic": {"username": "a", "password": "b"}}},
        {"headers": {"X": "1"}},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    """Credentials cannot even be configured: they are the actuator's."""
    with pytest.raises(ValidationError) as caught:
        MainPortSettings.model_validate(settings)
    assert {error["loc"][0] for error in caught.value.errors()} == set(settings)


async def test_two_slashes_at_the_front_do_not_make_another_host(shared: SharedClients) -> None:
    async with serve({"//evil.example.test/x": answer("ok")}) as served:
        assert why(await checked(port_of(shared, served.port, paths=["//evil.example.test/x"]))) is None
    assert served.requests[0].host == f"127.0.0.1:{served.port}"
