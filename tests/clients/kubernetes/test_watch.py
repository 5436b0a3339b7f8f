"""List and watch against a server that speaks the protocol, breaks off, expires, refuses, and floods."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from exporter.clients.kubernetes import api as api_module
from exporter.clients.kubernetes import watch
from exporter.clients.kubernetes.api import Api
from exporter.clients.kubernetes.cluster import Cluster, Kind
from exporter.net.resolver import Resolver
from exporter.verdict import Reason, Verdict
from tests.clients.kubernetes.fake import PODS, FakeApi, Fixed, Handler, api_server, pod, status


@pytest.fixture
async def server() -> AsyncIterator[FakeApi]:
    async with api_server() as fake:
        yield fake


@pytest.fixture
async def cluster(server: FakeApi) -> AsyncIterator[Cluster]:
    resolver = Resolver()
    api = Api(Fixed(server.url), resolver)
    made = Cluster(api, "hafnium")
    yield made
    await made.close()
    await api.close()
    await resolver.close()


async def until(condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.01)


def names(cluster: Cluster) -> list[str]:
    return sorted(each.name for each in cluster.objects(Kind.PODS).values())


def known(cluster: Cluster) -> bool:
    return cluster.failure(Kind.PODS) is None


def failed(cluster: Cluster) -> bool:
    failure = cluster.failure(Kind.PODS)
    return failure is not None and failure.reason is not Reason.NOT_YET_PROBED


async def test_before_the_first_list_nothing_is_known_and_that_is_said(cluster: Cluster) -> None:
    failure = cluster.failure(Kind.PODS)
    assert failure is not None
    assert failure.reason is Reason.NOT_YET_PROBED
    assert failure.verdict is Verdict.UNKNOWN
    assert cluster.age(Kind.PODS) == float("inf")
    assert not cluster.objects(Kind.PODS)


async def test_a_list_in_pages_is_whole_and_then_watched(server: FakeApi, cluster: Cluster) -> None:
    for number in range(2 * watch.PAGE + 1):
        server.put(pod(f"identity-{number}"))
    with cluster.use(Kind.PODS):
        await until(lambda: known(cluster), "listed")
        assert len(cluster.objects(Kind.PODS)) == 2 * watch.PAGE + 1
        assert server.pages[PODS] == 3
        server.put(pod("late", uid="late"))
        await until(lambda: "late" in cluster.objects(Kind.PODS), "an event")
        server.put(pod("late", uid="late", ready=False))
        await until(lambda: not cluster.objects(Kind.PODS)["late"].ready, "a change")
        server.delete("late")
        await until(lambda: "late" not in cluster.objects(Kind.PODS), "an end")
        assert server.lists[PODS] == 1
        assert server.watched_from == [server.version - 3]


async def test_one_watch_serves_all_users_and_ends_with_the_last(
    server: FakeApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.clients.kubernetes.cluster.LINGER", 0.05)
    server.put(pod("identity-1"))
    first, second = cluster.use(Kind.PODS), cluster.use(Kind.PODS)
    await until(lambda: known(cluster), "listed")
    await until(lambda: server.watches[PODS], "watched")
    assert server.watches[PODS] == 1
    first.close()
    first.close()  # changes nothing
    await asyncio.sleep(0.2)
    assert known(cluster)
    second.close()
    await until(lambda: not known(cluster), "ended")
    assert not cluster.objects(Kind.PODS)
    with cluster.use(Kind.PODS):
        await until(lambda: known(cluster), "listed again")
        assert names(cluster) == ["identity-1"]
    assert not server.watches.keys() - {PODS}


async def test_a_use_that_follows_at_once_keeps_the_watch(server: FakeApi, cluster: Cluster) -> None:
    first = cluster.use(Kind.PODS)
    await until(lambda: server.watches[PODS], "watched")
    first.close()
    with cluster.use(Kind.PODS):
        await asyncio.sleep(0.1)
        assert (server.lists[PODS], server.watches[PODS]) == (1, 1)


@pytest.mark.parametrize("half", [False, True], ids=["between events", "in the middle of one"])
async def test_a_broken_watch_goes_on_where_it_was_without_a_list(half: bool, server: FakeApi, cluster: Cluster) -> None:
    server.put(pod("identity-1"))
    said: list[Any] = []
    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        server.put(pod("identity-2"))
        await until(lambda: len(names(cluster)) == 2, "an event")
        version = server.version
        cluster.subscribe(Kind.PODS, lambda: said.append(cluster.failure(Kind.PODS)))
        server.disconnect(half=half)
        server.put(pod("identity-3"))
        await until(lambda: len(names(cluster)) == 3, "what happened meanwhile")
        assert server.lists[PODS] == 1
        assert server.watched_from[-1] == version
        await until(lambda: said, "told")
        assert set(said) == {None}  # one broken connection is nothing


async def test_a_bookmark_moves_the_version(server: FakeApi, cluster: Cluster) -> None:
    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        await until(lambda: cluster.age(Kind.PODS) > 0.3, "silence")
        server.bookmark()
        await until(lambda: cluster.age(Kind.PODS) < 0.2, "a sign of life")
        version = server.version
        server.disconnect()
        await until(lambda: server.watches[PODS] == 2, "watched again")
        assert server.watched_from[-1] == version


async def test_an_expired_version_as_an_event_has_all_listed_again(server: FakeApi, cluster: Cluster) -> None:
    for name in ("stays", "goes"):
        server.put(pod(name, uid=name))
    changes: list[tuple[str, bool, bool]] = []
    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        cluster.follow(Kind.PODS, lambda uid, before, now: changes.append((uid, before is None, now is None)))
        server.delete("goes")
        server.put(pod("comes", uid="comes"))
        await until(lambda: len(changes) == 2, "events")
        changes.clear()
        server.restore([pod("stays", uid="stays"), pod("new", uid="new")])
        server.compact()
        server.disconnect()
        await until(lambda: server.lists[PODS] == 2, "listed again")
        await until(lambda: names(cluster) == ["new", "stays"], "the list")
        assert sorted(changes) == [("comes", False, True), ("new", True, False)]  # only what differs is told
        assert known(cluster)


async def test_an_expired_version_as_a_status_has_all_listed_again(server: FakeApi, cluster: Cluster) -> None:
    async def gone(_: web.Request) -> web.Response:
        server.override_watch = None
        return status(410, "Expired", "too old resource version")

    server.put(pod("identity-1"))
    server.override_watch = gone
    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS] == 2, "watched again")
        assert server.lists[PODS] == 2
        assert names(cluster) == ["identity-1"]


async def test_a_continue_token_that_expires_has_the_list_begun_anew_in_larger_pages(
    server: FakeApi, cluster: Cluster
) -> None:
    for number in range(watch.PAGE * 2):
        server.put(pod(f"identity-{number}"))
    original = server._list

    async def expiring(request: web.Request) -> web.Response:
        if "continue" in request.query:
            server.compact()
            server._list = original  # type: ignore[method-assign]
        return await original(request)

    server._list = expiring  # type: ignore[method-assign]
    with cluster.use(Kind.PODS):
        await until(lambda: known(cluster), "listed")
        assert len(names(cluster)) == watch.PAGE * 2
        assert server.lists[PODS] == 2
        assert server.pages[PODS] == 3  # two, and then one large one


async def test_an_api_server_that_is_away_takes_nothing_away(server: FakeApi, cluster: Cluster) -> None:
    async def away(_: web.Request) -> web.Response:
        return status(503, "ServiceUnavailable", "etcd is not there")

    server.put(pod("identity-1"))
    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        server.override = away
        server.disconnect()
        await until(lambda: failed(cluster), "the failure")
        failure = cluster.failure(Kind.PODS)
        assert failure is not None
        assert (failure.reason, failure.detail) == (Reason.HTTP_STATUS, "pods in hafnium: 503: etcd is not there")
        assert names(cluster) == ["identity-1"]
        server.override = None
        await until(lambda: known(cluster), "back")
        assert names(cluster) == ["identity-1"]


async def test_rights_that_are_withdrawn_are_named_as_those_know_them_who_grant_them(
    server: FakeApi, cluster: Cluster
) -> None:
    async def forbidden(_: web.Request) -> web.Response:
        return status(403, "Forbidden", 'pods is forbidden: User "x" cannot watch resource "pods"')

    server.put(pod("identity-1"))
    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        server.override = forbidden
        server.disconnect()
        await until(lambda: failed(cluster), "the failure")
        failure = cluster.failure(Kind.PODS)
        assert failure is not None
        assert str(failure) == "auth: auth: forbidden: pods in hafnium: needs list, watch"
        assert failure.verdict is Verdict.UNKNOWN
        server.override = None
        await until(lambda: known(cluster), "granted again")


async def _refused(_: web.Request) -> web.StreamResponse:
    return status(403, "Forbidden", 'pods is forbidden: User "x" cannot watch resource "pods"')


async def _ended(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    return response


@pytest.mark.parametrize("answer", [_refused, _ended])
async def test_what_can_be_listed_and_not_watched_is_unknown_and_stays_so(
    answer: Handler, server: FakeApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each list after watches in vain made it known for a moment: alerts and causes came and went with it."""
    monkeypatch.setattr(watch, "LONGEST_WAIT", 0.3)
    server.override_watch = answer
    server.put(pod("identity-1"))
    told: list[bool] = []
    with cluster.use(Kind.PODS):
        await until(lambda: failed(cluster), "the failure")
        cluster.subscribe(Kind.PODS, lambda: told.append(known(cluster)))
        lists = server.lists[PODS]
        server.put(pod("identity-2"))
        await until(lambda: server.lists[PODS] >= lists + 3, "listed again")
        assert not any(told)
        assert failed(cluster)
        assert names(cluster) == ["identity-1", "identity-2"]
        server.override_watch = None
        await until(lambda: known(cluster), "watched at last")


async def test_a_watch_that_is_refused_leaves_nothing_open(server: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LONGEST_WAIT", 0.02)
    monkeypatch.setattr(watch, "FIRST_WAIT", 0.02)
    server.override_watch = _refused
    async with _cluster(server) as cluster:
        with cluster.use(Kind.PODS):
            await until(lambda: server.watches[PODS] >= 30, "refused")
            assert len(server.connections) <= 2  # the watch's, and perhaps one of a list
    await until(lambda: not server.connections, "closed")
    gc.collect()  # what was not closed warns of it, which is an error here


@pytest.mark.parametrize(("refusal", "retry_after"), [(429, 1), (503, 1), (504, 1)])
async def test_an_api_server_that_asks_for_patience_gets_it(
    refusal: int, retry_after: int, server: FakeApi, cluster: Cluster
) -> None:
    asked: list[float] = []

    async def busy(_: web.Request) -> web.Response:
        asked.append(time.monotonic())
        if len(asked) == 2:
            server.override = None
        return status(refusal, "Timeout", "Too large resource version: 9, current: 1", Retry_After=str(retry_after))

    server.override = busy
    with cluster.use(Kind.PODS):
        await until(lambda: known(cluster), "listed")
    assert asked[1] - asked[0] >= retry_after


@pytest.mark.parametrize("seconds", [0, watch.SHORT_LIFE + 0.1], ids=["at once", "after some time"])
async def test_a_version_of_the_future_for_ever_has_all_listed_again(
    seconds: float, server: FakeApi, cluster: Cluster
) -> None:
    """etcd was restored from a backup: it never comes to the version that was seen."""

    async def too_large(_: web.Request) -> web.Response:
        await asyncio.sleep(seconds)
        return status(504, "Timeout", "Too large resource version: 900, current: 1")

    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        server.override_watch = too_large
        server.disconnect()
        await until(lambda: server.lists[PODS] == 2, "listed again")
        server.override_watch = None
        await until(lambda: known(cluster), "back")


async def test_a_version_of_the_future_that_is_taken_without_a_word_has_all_listed_again(
    server: FakeApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an API server does whose etcd was restored from a backup: it sends nothing before it has come to that version."""
    monkeypatch.setattr(watch, "QUIET", 0.1)
    monkeypatch.setattr(watch, "SILENT", 1.5)

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(60)
        return response

    server.put(pod("identity-1"))
    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        server.restore([pod("identity-2")])
        server.override_watch = silent
        server.disconnect()
        await until(lambda: server.lists[PODS] == 2, "listed again")
        await until(lambda: names(cluster) == ["identity-2"], "as it is now")


async def test_a_way_that_leads_to_another_cluster_leaves_nothing_of_the_one_before(server: FakeApi) -> None:
    """As after a change of the current context, or of the context's cluster."""
    server.put(pod("identity-1"))
    async with api_server() as other:
        for number in range(20):  # its versions are those of later: what is asked of it from an old one on is not refused
            other.put(pod(f"other-{number}", uid=f"o-{number}"))
        way, resolver = Fixed(server.url), Resolver()
        api = Api(way, resolver)
        cluster = Cluster(api, "hafnium")
        try:
            with cluster.use(Kind.PODS):
                await until(lambda: server.watches[PODS] and names(cluster) == ["identity-1"], "watched")
                way.server = other.url
                way.refused(await way.way())
                server.disconnect()
                await until(lambda: "other-1" in names(cluster), "the other's")
                await until(lambda: known(cluster), "known")
                assert names(cluster) == sorted(f"other-{number}" for number in range(20))
        finally:
            await cluster.close()
            await api.close()
            await resolver.close()


async def test_an_object_as_large_as_etcd_keeps_it_is_taken_in_however_it_is_escaped(
    server: FakeApi, cluster: Cluster
) -> None:
    """An API server writes < > & as six bytes each."""
    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        large = json.dumps({"type": "ADDED", "object": pod("large")})
        escaped = large.replace('"nodeName":', '"x": "' + "\\u003c" * 1_500_000 + '", "nodeName":').encode()
        server.send(escaped)
        await until(lambda: names(cluster) == ["large"], "taken in")
        assert known(cluster)
        assert server.watches[PODS] == 1


async def test_an_empty_list_where_there_were_objects_is_asked_for_twice(
    server: FakeApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CONFIRM", 0.5)
    server.put(pod("identity-1", uid="one"))
    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        server.wipe()
        server.compact()
        server.disconnect()
        await until(lambda: server.lists[PODS] == 2, "an empty list")
        assert names(cluster) == ["identity-1"]
        server.restore([pod("identity-1", uid="one")])
        await until(lambda: server.watches[PODS] == 3, "watched again")
        assert server.lists[PODS] == 3
        assert names(cluster) == ["identity-1"]
        server.wipe()
        server.compact()
        server.disconnect()
        await until(lambda: not names(cluster), "believed, once it is said twice")
        assert server.lists[PODS] == 5


async def test_rotated_credentials_are_read_when_the_old_ones_are_refused(server: FakeApi) -> None:
    connection = Fixed(server.url, ["old", "good"])
    resolver = Resolver()
    api = Api(connection, resolver)
    cluster = Cluster(api, "hafnium")
    with cluster.use(Kind.PODS):
        await until(lambda: known(cluster), "listed with the new token")
        assert connection.refusals == 1
        server.token = "rotated"
        connection.tokens.append("rotated")
        server.disconnect()
        server.put(pod("identity-1"))
        await until(lambda: names(cluster) == ["identity-1"], "watched with the next token")
        assert server.lists[PODS] == 1
        server.token = "other"
        server.disconnect()
        await until(lambda: failed(cluster), "refused")
        failure = cluster.failure(Kind.PODS)
        assert failure is not None
        assert failure.reason is Reason.AUTH
        assert "does not accept the credentials" in failure.detail
        assert "rotated" not in str(failure)
    await cluster.close()
    await api.close()
    await resolver.close()


async def test_a_token_that_the_server_quotes_is_not_repeated(server: FakeApi) -> None:
    async def quoting(request: web.Request) -> web.Response:
        return status(500, "InternalError", f"you said {request.headers['Authorization']}")

    server.override = quoting
    async with _cluster(server) as cluster:
        with cluster.use(Kind.PODS):
            await until(lambda: failed(cluster), "the failure")
            assert "good" not in str(cluster.failure(Kind.PODS))
            assert "***" in str(cluster.failure(Kind.PODS))


# What is malformed or hostile.


async def test_an_object_that_cannot_be_read_is_skipped_and_counted(server: FakeApi, cluster: Cluster) -> None:
    server.restore([pod("good", uid="good"), {"metadata": {"uid": "bad"}}])
    with cluster.use(Kind.PODS):
        await until(lambda: known(cluster), "listed")
        assert names(cluster) == ["good"]
        assert cluster.skipped(Kind.PODS) == 1
        await until(lambda: server.watches[PODS], "watched")
        server.send(b'{"type": "MODIFIED", "object": {"metadata": {"uid": "good"}, "spec": 5}}')
        server.send(b'{"type": "STRANGE", "object": {"metadata": {}}}')
        await until(lambda: cluster.skipped(Kind.PODS) == 3, "events")
        assert names(cluster) == ["good"]
        assert known(cluster)


@pytest.mark.parametrize(
    "line",
    [b"garbage", b"[]", b'{"type": "ADDED"}', b'{"type": "ADDED", "object": 5}', b"[" * 100_000, b"\xff\xfe"],
    ids=["no json", "no object", "no content", "a number", "deep", "no text"],
)
async def test_garbage_in_a_watch_ends_it_and_is_got_over(line: bytes, server: FakeApi, cluster: Cluster) -> None:
    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        server.send(line)
        await until(lambda: failed(cluster), "the failure")
        failure = cluster.failure(Kind.PODS)
        assert failure is not None
        assert failure.reason is Reason.MALFORMED
        server._history.clear()
        await until(lambda: known(cluster), "back")


async def test_garbage_that_stays_is_left_behind_by_a_list(server: FakeApi, cluster: Cluster) -> None:
    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        server.send(b"garbage")
        server.put(pod("identity-1"))
        await until(lambda: names(cluster) == ["identity-1"], "listed again")
        await until(lambda: known(cluster), "back")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"garbage", Reason.MALFORMED),
        (b"[]", Reason.MALFORMED),
        (b'{"items": 5}', Reason.MALFORMED),
        (b'{"items": []}', Reason.MALFORMED),
        (b'{"items": [], "metadata": {"continue": "x"}}', Reason.PROTOCOL),
        (b'{"items": [1], "metadata": {"continue": "x"}}', Reason.PROTOCOL),
        (b"[" * 100_000, Reason.MALFORMED),
    ],
)
async def test_a_list_that_is_none_is_named(body: bytes, reason: Reason, server: FakeApi, cluster: Cluster) -> None:
    async def hostile(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    server.override = hostile
    with cluster.use(Kind.PODS):
        await until(lambda: failed(cluster), "the failure")
        failure = cluster.failure(Kind.PODS)
        assert failure is not None
        assert failure.reason is reason


async def test_a_list_without_end_is_given_up(server: FakeApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MOST_OBJECTS", 50)

    async def endless(_: web.Request) -> web.Response:
        items = [{"not": "a pod"}] * 10
        return web.json_response({"items": items, "metadata": {"continue": str(server.pages[PODS])}})

    server.override = endless
    with cluster.use(Kind.PODS):
        await until(lambda: failed(cluster), "the failure")
        failure = cluster.failure(Kind.PODS)
        assert failure is not None
        assert failure.reason is Reason.TOO_LARGE
        assert server.pages[PODS] <= 7


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(
    server: FakeApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "LARGEST_ANSWER", 20_000)
    for number in range(watch.PAGE):
        server.put(pod(f"identity-{number}"))
    with cluster.use(Kind.PODS):
        await until(lambda: known(cluster), "listed")
        assert len(names(cluster)) == watch.PAGE


def endless(piece: bytes, pause: float) -> Handler:
    """Answer with the same bytes again and again, for ever."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(piece)
            await asyncio.sleep(pause)

    return answer


@pytest.mark.parametrize(
    ("of", "bound", "value", "answer", "reason"),
    [
        pytest.param(
            "override_watch", "LARGEST_LINE", 100_000, endless(b"x" * 10_000, 0.0), Reason.TOO_LARGE, id="long line"
        ),
        pytest.param("override_watch", "LINE_PATIENCE", 0.5, endless(b"x", 0.05), Reason.TIMEOUT, id="dripping line"),
        pytest.param("override", "LIST_SECONDS", 0.5, endless(b" ", 0.05), Reason.TIMEOUT, id="dripping list"),
    ],
)
async def test_what_never_ends_is_given_up(
    of: str,
    bound: str,
    value: float,
    answer: Handler,
    reason: Reason,
    server: FakeApi,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api_module if hasattr(api_module, bound) else watch, bound, value)
    setattr(server, of, answer)
    with cluster.use(Kind.PODS):
        await until(lambda: failed(cluster), "the failure")
        failure = cluster.failure(Kind.PODS)
        assert failure is not None
        assert failure.reason is reason


async def test_a_flood_of_events_leaves_the_loop_to_others(server: FakeApi, cluster: Cluster) -> None:
    line = json.dumps({"type": "MODIFIED", "object": pod("identity-1", uid="one")}).encode() + b"\n"

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(line * 20)
            await asyncio.sleep(0)

    server.override_watch = flood
    with cluster.use(Kind.PODS):
        await until(lambda: "one" in cluster.objects(Kind.PODS), "events")
        turns, ends = 0, time.monotonic() + 1.0
        while time.monotonic() < ends:
            await asyncio.sleep(0.001)
            turns += 1
        assert turns > 20


async def test_watches_that_end_at_once_are_not_begun_anew_without_a_pause(server: FakeApi, cluster: Cluster) -> None:
    async def closing(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        return response

    server.override_watch = closing
    with cluster.use(Kind.PODS):
        await until(lambda: failed(cluster), "the failure")
        await until(lambda: server.lists[PODS] >= 2, "listed again, after some in vain")
        assert server.watches[PODS] <= 8
        server.override_watch = None
        await until(lambda: known(cluster), "back")


async def test_a_server_that_hangs_is_noticed_by_asking(
    server: FakeApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "QUIET", 0.3)
    monkeypatch.setattr(api_module, "CONNECT_PATIENCE", 0.3)
    monkeypatch.setattr(api_module, "PING_GAP", 0.1)

    async def hanging(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        raise AssertionError

    server.put(pod("identity-1"))
    with cluster.use(Kind.PODS):
        await until(lambda: server.pings, "asked, when nothing changed")
        assert known(cluster)
        server.override = hanging
        await until(lambda: failed(cluster), "noticed")
        failure = cluster.failure(Kind.PODS)
        assert failure is not None
        assert failure.reason is Reason.TIMEOUT
        assert names(cluster) == ["identity-1"]


async def test_a_compressed_answer_is_refused_and_not_unpacked(server: FakeApi, cluster: Cluster) -> None:
    async def compressed(_: web.Request) -> web.Response:
        return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})

    server.override = compressed
    with cluster.use(Kind.PODS):
        await until(lambda: failed(cluster), "the failure")
        failure = cluster.failure(Kind.PODS)
        assert failure is not None
        assert failure.reason is Reason.PROTOCOL


async def test_changes_come_together_before_they_are_told(server: FakeApi, cluster: Cluster) -> None:
    told: list[int] = []
    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        end = cluster.subscribe(Kind.PODS, lambda: told.append(len(cluster.objects(Kind.PODS))))
        for number in range(50):
            server.put(pod(f"identity-{number}"))
        await until(lambda: told and told[-1] == 50, "told")
        assert len(told) < 25
        end()
        end()
        server.put(pod("one more"))
        await until(lambda: len(names(cluster)) == 51, "an event")
        await asyncio.sleep(0.05)
        assert told[-1] == 50


async def test_a_callback_that_raises_costs_no_watch(server: FakeApi, cluster: Cluster) -> None:
    def raising(*_: object) -> None:
        raise ValueError("a defect")

    with cluster.use(Kind.PODS):
        await until(lambda: server.watches[PODS], "watched")
        cluster.subscribe(Kind.PODS, raising)
        cluster.follow(Kind.PODS, raising)
        for number in range(3):
            server.put(pod(f"identity-{number}"))
            await asyncio.sleep(0.05)
        await until(lambda: len(names(cluster)) == 3, "events")
        assert server.watches[PODS] == 1


async def test_nothing_is_left_when_all_is_closed(server: FakeApi) -> None:
    before = asyncio.all_tasks()
    async with _cluster(server) as cluster:
        cluster.use(Kind.PODS)
        await until(lambda: server.watches[PODS], "watched")
        server.put(pod("identity-1"))
    await asyncio.sleep(0.1)
    left = [task for task in asyncio.all_tasks() - before if "watch" in task.get_name() or "ping" in task.get_name()]
    assert not left


class _cluster:  # noqa: N801 - it is used like a function
    def __init__(self, server: FakeApi) -> None:
        self._resolver = Resolver()
        self._api = Api(Fixed(server.url), self._resolver)
        self._cluster = Cluster(self._api, "hafnium")

    async def __aenter__(self) -> Cluster:
        return self._cluster

    async def __aexit__(self, *_: object) -> None:
        await self._cluster.close()
        await self._api.close()
        await self._resolver.close()


# What is decoded.

FIELDS = '"managedFields":[{"manager":"kubelet","fieldsV1":{"f:status":{"k:{\\"type\\":\\"Ready\\"}":{".":{}}}}}]'


@pytest.mark.parametrize(
    ("metadata", "rest", "cut"),
    [
        (f'"uid":"u","name":"n",{FIELDS}', '"spec":{"a":[{"b":1}]},"status":{}', True),
        (f'{FIELDS},"name":"n","uid":"u"', '"spec":{}', False),
        (f'"labels":{{}},{FIELDS},"owners":[{{}}]', '"spec":{},"uid":"no"', False),  # cut, there would be no uid left
        (f'"uid":"u",{FIELDS}', '"status":{"list":[{"x":[{}]},"spec"]}', False),
        (f'"uid":"u",{FIELDS}', '"status":{"x":{"y":[{}]},"spec":{}}', False),  # cut, it would not be JSON any more
        ('"uid":"u","annotations":{"last":",\\"managedFields\\":[{}]},\\"spec\\":{"}', '"spec":{}', False),
        ('"uid":"u"', '"spec":{}', False),
    ],
)
def test_what_fields_are_managed_by_is_cut_out_only_where_nothing_else_is(metadata: str, rest: str, cut: bool) -> None:
    line = f'{{"type":"MODIFIED","object":{{"metadata":{{{metadata}}},{rest}}}}}'.encode()
    found, whole = watch._decoded(line), json.loads(line)
    if cut:
        del whole["object"]["metadata"]["managedFields"]
    assert found == whole


async def test_a_watch_follows_the_way_to_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one may live on, and go on telling of what nobody asks for any more."""
    monkeypatch.setattr(watch, "QUIET", 0.2)
    async with api_server() as old, api_server() as new:
        old.put(pod("old"))
        new.put(pod("new"))
        way, resolver = Fixed(old.url), Resolver()
        api = Api(way, resolver)
        cluster = Cluster(api, "hafnium")

        def names() -> list[str]:
            return [each.name for each in cluster.objects(Kind.PODS).values()]

        with cluster.use(Kind.PODS):
            await until(lambda: names() == ["old"], "the old one")
            way.server, way._way = new.url, Fixed(new.url)._way
            await until(lambda: names() == ["new"], "the new one")
        await cluster.close()
        await api.close()
        await resolver.close()


@pytest.mark.parametrize("token", [{"a": 1}, True, 7])
async def test_a_list_that_cannot_be_gone_on_with_is_malformed(server: FakeApi, cluster: Cluster, token: object) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        metadata = {"resourceVersion": "1", "continue": token}
        return web.json_response({"metadata": metadata, "items": [pod("identity-1")]})

    server.override = answer
    with cluster.use(Kind.PODS):
        await until(lambda: failed(cluster), "the failure")
        failure = cluster.failure(Kind.PODS)
        assert failure is not None
        assert failure.reason is Reason.MALFORMED


async def test_a_list_tells_what_is_gone_before_what_is_new(cluster: Cluster) -> None:
    """A node that is registered anew has its name and another uid: who goes by names would lose the new one."""
    told: list[bool] = []
    end = cluster.follow(Kind.NODES, lambda _uid, _before, now: told.append(now is not None))
    watched = cluster._watched[Kind.NODES]
    watched.replaced({f"old-{number}": number for number in range(20)})
    told.clear()
    watched.replaced({f"new-{number}": number for number in range(20)})
    end()
    assert told == [False] * 20 + [True] * 20
