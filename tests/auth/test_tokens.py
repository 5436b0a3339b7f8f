"""Access tokens: fetched once however many ask, renewed in time, and nothing believed that a server should not say."""

from __future__ import annotations

import asyncio
import gc
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from yarl import URL

from exporter.auth.oauth2 import OAuth2Settings, TokenRequest, json_object, read_grant
from exporter.auth.tokens import FETCH_SECONDS, LONGEST_LIFE, REPLACEMENT_AGE, Tokens, TokenSource
from exporter.auth.ways import Authenticator, AuthSettings
from exporter.engine.defects import Defects
from exporter.metrics.store import Store
from exporter.net.http import Answer, HttpClient
from exporter.probing.probe import SharedClients
from exporter.verdict import Failure, Reason, Stage
from tests.net.servers import Certificates, answer, serve, serve_raw

SECRET = "s3cr+t %:ä"
DOWN = Failure(Stage.CONNECT, Reason.CONNECT_REFUSED, "Connection refused")


def settings(port: int = 1, **changed: Any) -> OAuth2Settings:
    given = {"token_url": f"http://127.0.0.1:{port}/token", "client_id": "the prober", "client_secret": SECRET}
    return OAuth2Settings(**given | changed)


def issued(token: str, **said: Any) -> bytes:
    return json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 60} | said).encode()


class Provider:
    """An identity provider without a network: it issues t1, t2, … each second after it is asked, or fails."""

    def __init__(self, life: Any = 60, seconds: float = 1.0) -> None:
        self.life = life
        self.seconds = seconds
        self.asked: list[float] = []
        self.failure: BaseException | None = None
        self.same = False
        self.tokens = Tokens(cast("HttpClient", self))

    async def post_form(self, _url: URL, _phases: object, **_: Any) -> Answer:
        now = asyncio.get_running_loop().time
        self.asked.append(round(now(), 3))
        await asyncio.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        number = 1 if self.same else len(self.asked)
        return Answer(200, {}, issued(f"t{number}", expires_in=self.life), reused=False)

    def source(self, **changed: Any) -> TokenSource:
        return self.tokens.source(settings(**changed))

    def authenticator(self) -> Authenticator:
        way = settings().model_dump() | {"client_secret": SECRET}
        return Authenticator(AuthSettings(oauth2=OAuth2Settings(**way)), self.tokens)


async def use(source: TokenSource, every: float, until: float) -> set[str]:
    """Ask for the token again and again; return what came, `-` where none did."""
    loop = asyncio.get_running_loop()
    got = set()
    while loop.time() < until:
        try:
            got.add(await source.token(2))
        except Failure:
            got.add("-")
        await asyncio.sleep(every)
    return got


# In time


@pytest.mark.looptime
async def test_a_token_is_kept_until_a_fifth_of_its_life_is_left() -> None:
    provider = Provider(life=100)
    source = provider.source()
    assert await use(source, every=5, until=75) == {"t1"}
    assert provider.asked == [0]
    await asyncio.sleep(10)
    assert provider.asked == [0, 80]
    assert await source.token(2) == "t2"


@pytest.mark.looptime
async def test_a_renewal_delays_nobody() -> None:
    provider = Provider(life=100, seconds=5)
    source = provider.source()
    await source.token(9)
    await asyncio.sleep(77)  # the renewal is under way
    started = asyncio.get_running_loop().time()
    assert await source.token(9) == "t1"
    assert asyncio.get_running_loop().time() == started


@pytest.mark.looptime
async def test_a_renewal_needs_no_attempt_at_the_right_moment() -> None:
    """An attempt every 50 s never falls into the last fifth of a life of 100 s, and still no attempt waits."""
    provider = Provider(life=100, seconds=1)
    source = provider.source()
    await source.token(9)
    for _ in range(10):
        await asyncio.sleep(50)
        started = asyncio.get_running_loop().time()
        await source.token(9)
        assert asyncio.get_running_loop().time() == started


@pytest.mark.looptime
async def test_a_token_that_nobody_uses_any_more_is_not_renewed_for_ever() -> None:
    provider = Provider(life=100)
    source = provider.source()
    await source.token(2)
    await asyncio.sleep(1000)
    assert provider.asked == [0, 80]
    assert await source.token(2) == "t3"


@pytest.mark.looptime
async def test_an_outage_shorter_than_the_margin_hurts_nobody() -> None:
    provider = Provider(life=100, seconds=0.1)
    source = provider.source()
    await source.token(2)
    await asyncio.sleep(70)
    provider.failure = DOWN
    assert await use(source, every=1, until=95) == {"t1"}
    provider.failure = None
    assert "-" not in await use(source, every=1, until=300)


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("said", "renewed_at"),
    [
        (15, 7.5), (20, 10), (30, 20), (60, 48), (300, 240), ("120", 96), (90.5, 72.4), (1e300, 0.8 * LONGEST_LIFE),
        (10**300, 0.8 * LONGEST_LIFE),
        (None, 48), (0, 48), (-5, 48), (10**400, 48), ("1e999", 48), ("nan", 48), ("soon", 48), (True, 48), ([1], 48),
    ],
    ids=lambda value: str(value)[:9],
)  # fmt: skip
async def test_a_token_is_renewed_by_its_life_and_one_without_a_sensible_life_within_a_minute(
    said: Any, renewed_at: float
) -> None:
    provider = Provider(life=said)
    source = provider.source()
    await source.token(2)
    await asyncio.sleep(renewed_at - 1.01)
    assert provider.asked == [0]
    await asyncio.sleep(0.02)
    assert provider.asked == [0, pytest.approx(renewed_at)]


@pytest.mark.looptime
@pytest.mark.parametrize("life", [0.001, 1, 5])
async def test_a_very_short_life_does_not_make_a_storm(life: float) -> None:
    provider = Provider(life=life, seconds=0.5)
    await use(provider.source(), every=0.25, until=60)
    assert len(provider.asked) <= 121  # one fetch at a time, each of half a second


# One at a time


@pytest.mark.looptime
async def test_fifty_callers_cause_one_fetch() -> None:
    provider = Provider()
    sources = [provider.source() for _ in range(50)]
    assert set(await asyncio.gather(*(source.token(2) for source in sources))) == {"t1"}
    assert provider.asked == [0]


@pytest.mark.looptime
async def test_a_caller_that_is_cancelled_takes_nothing_from_the_others() -> None:
    provider = Provider()
    source = provider.source()
    callers = [asyncio.create_task(source.token(2)) for _ in range(3)]
    await asyncio.sleep(0.5)
    callers[0].cancel()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["t1", "t1"]
    assert provider.asked == [0]


@pytest.mark.looptime
async def test_a_fetch_whose_callers_are_all_gone_still_serves_the_next() -> None:
    provider = Provider()
    source = provider.source()
    caller = asyncio.create_task(source.token(2))
    await asyncio.sleep(0.5)
    caller.cancel()
    await asyncio.wait({caller})
    await asyncio.sleep(1)
    assert await source.token(0.001) == "t1"
    assert provider.asked == [0]


@pytest.mark.looptime
async def test_a_caller_waits_no_longer_than_it_wants_to() -> None:
    provider = Provider(seconds=5)
    source = provider.source()
    with pytest.raises(Failure) as caught:
        await source.token(2)
    assert str(caught.value) == "auth: credentials: no token from 127.0.0.1 within 2 s"
    assert asyncio.get_running_loop().time() == pytest.approx(2)
    assert await source.token(4) == "t1"


@pytest.mark.looptime
async def test_equal_settings_share_a_token_and_others_do_not() -> None:
    provider = Provider()
    a, b, other = provider.source(), provider.source(), provider.source(scopes=["metrics"])
    assert a is b
    assert await a.token(2) == "t1"
    assert await other.token(2) == "t2"


@pytest.mark.looptime
async def test_a_source_without_users_is_forgotten() -> None:
    provider = Provider()
    source = provider.source()
    await source.token(2)
    await asyncio.sleep(1)  # the fetch has ended
    del source
    gc.collect()
    assert len(provider.tokens._sources) == 0
    await asyncio.sleep(100)
    assert provider.asked == [0]


# Failing


@pytest.mark.looptime
async def test_a_failed_fetch_is_not_repeated_at_once_and_more_and_more_rarely() -> None:
    provider = Provider(seconds=0)
    provider.failure = DOWN
    assert await use(provider.source(), every=0.1, until=60) == {"-"}
    gaps = [round(after - before) for before, after in zip(provider.asked, provider.asked[1:], strict=False)]
    assert gaps == [1, 2, 4, 8, 10, 10, 10, 10]


@pytest.mark.looptime
async def test_a_provider_that_comes_back_is_used_after_ten_seconds_at_most() -> None:
    provider = Provider(seconds=0)
    provider.failure = DOWN
    source = provider.source()
    await use(source, every=0.1, until=40)
    provider.failure = None
    await asyncio.sleep(10.1)
    assert (await source.token(2)).startswith("t")


@pytest.mark.looptime
async def test_a_failure_is_told_to_everybody_who_asks_meanwhile() -> None:
    provider = Provider(seconds=0.5)
    provider.failure = DOWN
    source = provider.source()
    results = await asyncio.gather(*(source.token(2) for _ in range(3)), return_exceptions=True)
    expected = "auth: credentials: no token from 127.0.0.1: connect: connect_refused: Connection refused"
    assert [str(found) for found in results] == [expected] * 3
    with pytest.raises(Failure, match="connect_refused"):
        await source.token(2)
    assert provider.asked == [0]


@pytest.mark.looptime
async def test_a_fetch_that_hangs_is_given_up() -> None:
    provider = Provider(seconds=1000)
    source = provider.source()
    with pytest.raises(Failure) as caught:
        await source.token(60)
    assert str(caught.value) == "auth: credentials: no token from 127.0.0.1: auth: timeout: no answer within the deadline"
    assert asyncio.get_running_loop().time() == pytest.approx(FETCH_SECONDS)


@pytest.mark.looptime
async def test_a_defect_of_ours_is_logged_and_counted_and_is_not_the_targets(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    asyncio.get_running_loop().set_exception_handler(Defects(store).handle)
    provider = Provider()
    provider.failure = ZeroDivisionError()
    with pytest.raises(Failure) as caught:
        await provider.source().token(2)
    assert caught.value.reason is Reason.CREDENTIALS
    assert "defect: an access token could not be fetched" in caplog.text
    assert 'probe_exporter_defects_total{where="tokens"} 1\n' in store.render().decode()


@pytest.mark.looptime
async def test_closing_ends_a_fetch_and_begins_no_other() -> None:
    provider = Provider()
    source = provider.source()
    caller = asyncio.create_task(source.token(60))
    await asyncio.sleep(0.5)
    await provider.tokens.close()
    with pytest.raises(Failure, match="no token"):
        await caller
    with pytest.raises(Failure, match="no token"):
        await source.token(60)
    assert provider.asked == [0]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.looptime
async def test_closing_stops_the_renewal() -> None:
    provider = Provider()
    await provider.source().token(2)
    await provider.tokens.close()
    await asyncio.sleep(1000)
    assert provider.asked == [0]


# Refused by a target


@pytest.mark.looptime
async def test_a_refused_token_is_replaced_at_the_next_attempt() -> None:
    provider = Provider()
    auth, other = provider.authenticator(), provider.authenticator()
    assert await auth.headers() == {"Authorization": "Bearer t1"}
    auth.rejected()
    assert await auth.headers() == {"Authorization": "Bearer t2"}
    assert await other.headers() == {"Authorization": "Bearer t2"}


@pytest.mark.looptime
async def test_a_target_that_refuses_everything_does_not_keep_the_provider_busy() -> None:
    provider = Provider(life=3600)
    auth = provider.authenticator()
    for _ in range(int(REPLACEMENT_AGE) // 5):
        await auth.headers()
        auth.rejected()
        await asyncio.sleep(5)
    assert len(provider.asked) == 2
    await asyncio.sleep(10)
    assert await auth.headers() == {"Authorization": "Bearer t3"}


@pytest.mark.looptime
async def test_several_targets_that_refuse_a_token_cause_one_fetch() -> None:
    provider = Provider()
    auths = [provider.authenticator() for _ in range(5)]
    for _ in range(3):
        await asyncio.gather(*(auth.headers() for auth in auths))
        for auth in auths:
            auth.rejected()
    assert len(provider.asked) == 2


@pytest.mark.looptime
async def test_a_refused_token_is_used_again_where_there_is_no_other() -> None:
    """Another target may take it, and the one that refused says why it still does."""
    provider = Provider(seconds=0.1)
    auth = provider.authenticator()
    await auth.headers()
    auth.rejected()
    provider.failure = DOWN
    assert await auth.headers() == {"Authorization": "Bearer t1"}


@pytest.mark.looptime
async def test_a_provider_that_issues_the_same_token_again_is_asked_once() -> None:
    provider = Provider(life=3600)
    provider.same = True
    auth = provider.authenticator()
    for _ in range(10):
        assert await auth.headers() == {"Authorization": "Bearer t1"}
        auth.rejected()
    assert len(provider.asked) == 2


# On the wire


async def asked_with(shared: SharedClients, tmp_path: Path, **changed: Any) -> tuple[web.BaseRequest, dict[str, list[str]]]:
    """Fetch a token; return the request as the server saw it, and its form."""
    forms = []

    async def issue(request: web.Request) -> web.Response:
        forms.append(parse_qs((await request.read()).decode(), strict_parsing=True))
        return answer(issued("t"))

    async with serve({"/token": issue}) as served:
        await shared.tokens.source(settings(served.port, **changed)).token(5)
    return served.requests[0], forms[0]


async def test_id_and_secret_are_form_urlencoded_before_they_are_joined(shared: SharedClients, tmp_path: Path) -> None:
    request, form = await asked_with(shared, tmp_path)
    assert request.method == "POST"
    assert request.content_type == "application/x-www-form-urlencoded"
    assert b64decode(request.headers["Authorization"].removeprefix("Basic ")) == b"the+prober:s3cr%2Bt+%25%3A%C3%A4"
    assert form == {"grant_type": ["client_credentials"]}


async def test_id_and_secret_go_into_the_form_where_asked(shared: SharedClients, tmp_path: Path) -> None:
    request, form = await asked_with(shared, tmp_path, client_auth="post", scopes=["a", "b"], audience="https://fleet")
    assert "Authorization" not in request.headers
    assert form == {
        "grant_type": ["client_credentials"],
        "scope": ["a b"],
        "audience": ["https://fleet"],
        "client_id": ["the prober"],
        "client_secret": [SECRET],
    }


async def test_a_rotated_secret_is_read_at_the_next_fetch(shared: SharedClients, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("one\n")
    client = settings(client_secret=None, client_secret_file=path)
    first = await TokenRequest.of(client)
    path.write_text("two\n")
    second = await TokenRequest.of(client)
    assert (first.secret, second.secret) == ("one", "two")
    path.unlink()
    with pytest.raises(Failure, match=r"client_secret_file .*secret: No such file or directory") as caught:
        await shared.tokens.source(client).token(5)
    assert caught.value.reason is Reason.CREDENTIALS


async def said(
    shared: SharedClients, response: web.Response | Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> str:
    """Return what is made of an answer that gives no token."""
    async with serve({"/token": response}) as served:
        with pytest.raises(Failure) as caught:
            await shared.tokens.source(settings(served.port)).token(5)
    assert (caught.value.stage, caught.value.reason) == (Stage.AUTH, Reason.CREDENTIALS)
    prefix, _, detail = caught.value.detail.partition("127.0.0.1: ")
    assert prefix == "no token from "
    return detail


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "check: malformed: the answer is empty"),
        (b"<html>log in</html>", "check: malformed: the answer is not JSON"),
        (b"[]", "check: malformed: the JSON is not an object"),
        (b'{"access_token":"t","expires_in":NaN,"token_type":"bearer"}', "check: malformed: the answer is not JSON"),
        (b'{"expires_in":' + b"9" * 5000 + b"}", "check: malformed: the answer is not JSON"),
        (b'{"a":' * 60_00 + b"1" + b"}" * 60_00, "check: malformed: the JSON is nested too deeply"),
        (b"\xff\xfe{}", "check: malformed: the answer is not JSON"),
        (b"{}", "check: malformed: the answer has no access_token"),
        (b'{"error":"x"}', "check: malformed: the answer has no access_token"),
        (issued(""), "check: malformed: the answer has no access_token"),
        (issued("t", access_token=7), "check: malformed: the answer has no access_token"),
        (issued("t\r\nX-Evil: 1"), "check: malformed: the access_token is not one that a header can carry"),
        (issued("tö"), "check: malformed: the access_token is not one that a header can carry"),
        (issued("t" * 20_000), "check: malformed: the access_token is not one that a header can carry"),
        (issued("t", token_type="MAC"), "check: malformed: token_type is MAC, not Bearer"),
        (issued("t", token_type=None), "check: malformed: token_type is missing, not Bearer"),
        (b"x" * 70_000, "receive: too_large: the answer is longer than 65536 bytes"),
    ],
)
async def test_an_answer_that_is_no_token_is_refused(shared: SharedClients, body: bytes, detail: str) -> None:
    assert await said(shared, answer(body)) == detail


@pytest.mark.parametrize(
    ("status", "body", "detail"),
    [
        (401, {"error": "invalid_client", "error_description": "No."}, "auth: auth: HTTP 401: invalid_client: No."),
        (400, {"error": "invalid_scope"}, "auth: auth: HTTP 400: invalid_scope"),
        (400, {"error": "server_error"}, "auth: http_status: HTTP 400: server_error"),
        (401, None, "check: auth: HTTP 401"),
        (400, None, "check: http_status: HTTP 400"),
        (503, {"error": "temporarily_unavailable"}, "check: http_status: HTTP 503"),
        (500, "oops", "check: http_status: HTTP 500"),
        (302, None, "check: redirect: HTTP 302, and redirects are not followed"),
        (
            401,
            {"error": "invalid_client", "error_description": "x" * 5000},
            "auth: auth: HTTP 401: invalid_client: " + "x" * 100,
        ),
        (401, {"error": "a\nb", "error_description": "c\0d\u2028e"}, "auth: auth: HTTP 401: a b: c d e"),
        (401, {"error": ["x"], "error_description": {}}, "check: auth: HTTP 401"),
    ],
)
async def test_a_refusal_is_told_in_the_servers_words(shared: SharedClients, status: int, body: object, detail: str) -> None:
    assert await said(shared, answer(json.dumps(body) if body is not None else b"", status)) == detail


async def test_a_redirect_is_not_followed(shared: SharedClients) -> None:
    async with serve({"/token": answer(issued("stolen"))}) as elsewhere:
        there = f"http://127.0.0.1:{elsewhere.port}/token"
        assert "redirect" in await said(shared, answer(b"", 307, Location=there))
    assert elsewhere.requests == []


async def test_a_secret_that_a_server_echoes_is_masked(shared: SharedClients) -> None:
    async def echo(request: web.Request) -> web.Response:
        sent = request.headers["Authorization"]
        words = f"bad secret {SECRET} of {sent}, password=hunter2"
        return answer(json.dumps({"error": "invalid_client", "error_description": words}), 401)

    assert await said(shared, echo) == "auth: auth: HTTP 401: invalid_client: bad secret *** of Basic ***, password=***"


async def test_an_answer_without_end_is_given_up(shared: SharedClients) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    async with serve_raw(flood) as served, asyncio.timeout(5):
        with pytest.raises(Failure, match="too_large"):
            await shared.tokens.source(settings(served.port)).token(5)


async def test_a_token_endpoint_with_an_authority_of_its_own_and_a_client_certificate(
    shared: SharedClients, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path)
    tls = {"ca_file": certificates.ca_file, "server_name": "id.test", "cert_file": certificates.client_pem()}
    async with serve({"/token": answer(issued("t"))}, certificates.server("id.test", ask_client=True)) as served:
        url = f"https://127.0.0.1:{served.port}/token"
        assert await shared.tokens.source(settings(token_url=url, tls=tls)).token(5) == "t"
        with pytest.raises(Failure, match=r"no token from .*: tls: tls_untrusted"):
            await shared.tokens.source(settings(token_url=url)).token(5)


async def test_neither_secret_nor_token_shows_in_a_repr(shared: SharedClients) -> None:
    request = await TokenRequest.of(settings(client_auth="post"))
    answered = Answer(200, {}, issued("t0k3n"), reused=False)
    grant = read_grant(answered, request)
    async with serve({"/token": answer(issued("t0k3n"))}) as served:
        source = shared.tokens.source(settings(served.port))
        await source.token(5)
    shown = repr([request, grant, source, source._token, shared, list(shared.tokens._sources.items())])
    assert SECRET not in shown
    assert "t0k3n" not in shown


@pytest.mark.parametrize("mapping", [{}, {"a": 1}])
def test_an_object_is_read(mapping: Mapping[str, int]) -> None:
    assert json_object(json.dumps(mapping).encode()) == mapping
