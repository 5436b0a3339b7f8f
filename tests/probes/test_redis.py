"""The redis probe against a real Valkey, and against peers that are none."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
import trustme
from pydantic import ValidationError

from exporter.demo.processes import free_port
from exporter.demo.servers.valkey import ValkeyServer
from exporter.probes import redis as r
from exporter.probes.redis import RedisSettings
from exporter.probing.probe import Probe, SharedClients
from exporter.verdict import Stage, Verdict
from tests.probes.doing import attempt, flood, hang_up, make, on_uvloop, reason, saying, serving, silence, value


def probe_of(server: ValkeyServer, shared: SharedClients, **settings: Any) -> Probe[Any]:
    return make("redis", shared, server.host, server.port, **settings)


def client(server: ValkeyServer, **options: Any) -> redis.Redis:
    return redis.Redis(host=server.host, port=server.port, **options)


async def test_a_server_that_answers_is_up_with_every_phase_timed(
    valkey_server: ValkeyServer, shared: SharedClients
) -> None:
    outcome = await attempt(probe_of(valkey_server, shared))
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
    assert set(outcome.phases) == {Stage.CONNECT, Stage.QUERY}
    assert all(seconds > 0 for seconds in outcome.phases.values())
    assert sum(outcome.phases.values()) <= outcome.duration
    assert outcome.parts == {"info": None}


async def test_numbers_are_what_info_says(valkey_server: ValkeyServer, shared: SharedClients) -> None:
    async with client(valkey_server) as person:
        outcome = await attempt(probe_of(valkey_server, shared))
        info = await person.info()
    same = {
        r.MEMORY_MAX: "maxmemory",
        r.MAX_CLIENTS: "maxclients",
        r.EVICTED: "evicted_keys",
        r.REJECTED: "rejected_connections",
        r.REPLICAS: "connected_slaves",
    }
    assert {family.name: value(outcome, family) for family in same} == {f.name: info[name] for f, name in same.items()}
    assert info["maxmemory"] == 64 * 1024 * 1024
    assert value(outcome, r.MEMORY_USED) == pytest.approx(info["used_memory"], rel=0.2)
    assert value(outcome, r.UPTIME) == pytest.approx(info["uptime_in_seconds"], abs=2)
    assert value(outcome, r.CLIENTS) >= 1
    assert outcome.samples[r.ROLE] == {("master",): 1.0}
    assert r.LINK_UP not in outcome.samples


async def test_the_hit_ratio_is_of_the_lookups_between_two_attempts(own_valkey: ValkeyServer, shared: SharedClients) -> None:
    probe = probe_of(own_valkey, shared)
    async with client(own_valkey) as person:
        await person.set("a", "1")
        await person.get("nothing")
        assert r.HIT_RATIO not in (await attempt(probe)).samples  # nothing to compare with
        for key in ("a", "a", "a", "nothing"):
            await person.get(key)
        outcome = await attempt(probe)
        assert value(outcome, r.HIT_RATIO) == 0.75
        assert (value(outcome, r.HITS), value(outcome, r.MISSES)) == (3, 2)
        assert r.HIT_RATIO not in (await attempt(probe)).samples  # no lookups since
        await person.config_resetstat()
        await person.get("a")
        assert r.HIT_RATIO not in (await attempt(probe)).samples  # counters went back
        await person.get("a")
        assert value(await attempt(probe), r.HIT_RATIO) == 1


async def test_a_replica_tells_its_role_and_its_link(
    own_valkey: ValkeyServer, shared: SharedClients, tmp_path: Path
) -> None:
    options = ("--replicaof", f"{own_valkey.host} {own_valkey.port}")
    with ValkeyServer(tmp_path / "replica", options=options) as replica:
        probe = probe_of(replica, shared)
        async with asyncio.timeout(20):
            while not (outcome := await attempt(probe)).samples.get(r.LINK_UP, {}).get((), 0):
                await asyncio.sleep(0.05)
        assert outcome.samples[r.ROLE] == {("replica",): 1.0}
        assert value(await attempt(probe_of(own_valkey, shared)), r.REPLICAS) == 1
        await asyncio.to_thread(own_valkey.kill)
        async with asyncio.timeout(20):
            while value(outcome := await attempt(probe), r.LINK_UP):
                await asyncio.sleep(0.05)
        assert outcome.verdict is Verdict.UP  # it serves what it has


async def test_logins(shared: SharedClients, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("open sesame\n")
    options = ("--requirepass", "open sesame", "--user", "reader", "on", ">pass", "+ping", "+info")
    with ValkeyServer(tmp_path / "locked", options=options) as server:
        by_file = probe_of(server, shared, password_file=file)
        outcome = await attempt(by_file)
        assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
        assert outcome.phases[Stage.AUTH] > 0
        assert (await attempt(probe_of(server, shared, user="reader", password="pass"))).verdict is Verdict.UP
        missing = await attempt(probe_of(server, shared))
        assert (missing.verdict, reason(missing)) == (Verdict.UNKNOWN, ("query", "auth"))
        wrong = await attempt(probe_of(server, shared, password="hunter2"))
        assert (wrong.verdict, reason(wrong)) == (Verdict.UNKNOWN, ("auth", "auth"))
        assert "hunter2" not in str(wrong.failure)
        file.unlink()
        gone = await attempt(by_file)
        assert (gone.verdict, reason(gone)) == (Verdict.UNKNOWN, ("auth", "credentials"))


async def test_a_user_who_may_not_ask_info_fails_that_part_alone(shared: SharedClients, tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "acl", options=("--user", "pinger", "on", ">pass", "+ping")) as server:
        outcome = await attempt(probe_of(server, shared, user="pinger", password="pass"))
        assert outcome.verdict is Verdict.UP
        assert outcome.parts["info"] is not None
        assert outcome.parts["info"].reason.value == "auth"


async def test_without_a_connection_left_it_is_down_and_says_so(shared: SharedClients, tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "full", options=("--maxclients", "1")) as server:
        async with client(server) as person:
            await person.ping()
            outcome = await attempt(probe_of(server, shared))
            assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, ("query", "too_many_connections"))


async def test_a_server_that_stops_hangs_and_comes_back_is_told_as_it_is(
    own_valkey: ValkeyServer, shared: SharedClients
) -> None:
    probe = probe_of(own_valkey, shared)
    own_valkey.pause()
    hung = await attempt(probe, timeout=0.5)
    assert (hung.verdict, reason(hung)) == (Verdict.DOWN, ("query", "timeout"))
    assert hung.duration < 1
    own_valkey.resume()
    assert (await attempt(probe)).verdict is Verdict.UP
    await asyncio.to_thread(own_valkey.kill)
    assert reason(await attempt(probe)) == ("connect", "connect_refused")
    await asyncio.to_thread(own_valkey.start)
    assert (await attempt(probe)).verdict is Verdict.UP


async def test_an_attempt_leaves_no_client(own_valkey: ValkeyServer, shared: SharedClients) -> None:
    async with client(own_valkey) as person:
        for _ in range(5):
            await attempt(probe_of(own_valkey, shared))
        async with asyncio.timeout(5):
            while len(await person.client_list()) > 1:
                await asyncio.sleep(0.01)


async def test_tls_is_spoken_verified_and_timed(valkey_server: ValkeyServer, shared: SharedClients, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("cache.internal").configure_cert(context)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_behind = await asyncio.open_connection(valkey_server.host, valkey_server.port)

        async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pipe(reader, to_behind), pipe(behind, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        tls = {"ca_file": str(tmp_path / "ca.pem"), "server_name": "cache.internal"}
        outcome = await attempt(make("redis", shared, "127.0.0.1", port, tls=tls))
        other = await attempt(make("redis", shared, "127.0.0.1", port, tls={**tls, "server_name": "other.internal"}))
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
    assert outcome.phases[Stage.TLS] > 0
    assert outcome.parts == {"info": None}
    assert reason(other) == ("tls", "tls_name_mismatch")
    await asyncio.sleep(0.05)


async def test_a_refused_login_is_told_though_the_server_keeps_the_connection(shared: SharedClients, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("cache.internal").configure_cert(context)
    done = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"-WRONGPASS invalid username-password pair\r\n")
        await writer.drain()
        writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a reading transport
        await done.wait()
        writer.transport.abort()

    tls = {"ca_file": str(tmp_path / "ca.pem"), "server_name": "cache.internal"}
    async with await asyncio.start_server(handler, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await attempt(make("redis", shared, "127.0.0.1", port, tls=tls, password="x"), timeout=1.0)
        done.set()
    assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("auth", "auth"))
    assert outcome.duration < 0.5


def test_it_does_the_same_on_the_loop_that_the_exporter_runs_on(valkey_server: ValkeyServer) -> None:
    async def steps(shared: SharedClients) -> None:
        outcome = await attempt(make("redis", shared, "localhost", valkey_server.port))
        assert (outcome.failure, outcome.parts) == (None, {"info": None})
        assert set(outcome.phases) == {Stage.RESOLVE, Stage.CONNECT, Stage.QUERY}
        async with serving(lambda reader, writer: flood(reader, writer, b"+")) as port:
            outcome = await attempt(make("redis", shared, "127.0.0.1", port), timeout=1.0)
            assert reason(outcome) == ("receive", "too_large")

    on_uvloop(steps)


async def test_counters_of_another_run_are_not_compared(shared: SharedClients) -> None:
    answers = iter([("a", 1, 1), ("b", 9, 1), ("b", 12, 2)])  # after the restart they are higher at once

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"+PONG\r\n")
        await reader.readuntil(b"INFO\r\n")
        run, hits, misses = next(answers)
        info = f"run_id:{run}\r\nkeyspace_hits:{hits}\r\nkeyspace_misses:{misses}\r\n".encode()
        writer.write(b"$%d\r\n%s\r\n" % (len(info), info))
        await silence(reader, writer)

    async with serving(handler) as port:
        probe = make("redis", shared, "127.0.0.1", port)
        assert r.HIT_RATIO not in (await attempt(probe)).samples
        assert r.HIT_RATIO not in (await attempt(probe)).samples
        assert value(await attempt(probe), r.HIT_RATIO) == 0.75


LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (silence, ("query", "timeout")),
        (hang_up, ("query", "connection_closed")),
        (saying(LOADING), ("query", "starting")),
        (saying(b"+PING\r\n"), ("check", "protocol")),
        (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ("query", "protocol")),
        (saying(b"-ERR out of order\r\n"), ("query", "query_failed")),
        (saying(b"-MISCONF Errors writing to the AOF file\r\n"), ("query", "query_failed")),
        (saying(b"*1\r\n" * 100_000), ("query", "protocol")),
        (saying(b"$one\r\n"), ("query", "protocol")),
        (saying(b"$900000000\r\n"), ("query", "timeout")),
        (lambda reader, writer: flood(reader, writer, b"$900000000\r\n"), ("receive", "too_large")),
        (lambda reader, writer: flood(reader, writer, b"+"), ("receive", "too_large")),
    ],
    ids=[
        "silent",
        "hangs-up",
        "loading",
        "not-pong",
        "http",
        "error",
        "misconf",
        "nested",
        "no-length",
        "huge-promise",
        "flood",
        "endless-line",
    ],
)
async def test_peers_that_misbehave_are_named_in_time(
    handler: Any, expected: tuple[str, str], shared: SharedClients
) -> None:
    async with serving(handler) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port), timeout=0.5)
    assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, expected)
    assert outcome.duration < 1.5


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (b":5\r\n", "malformed"),
        (b"$24\r\nused_memory:not a number\r\n", "malformed"),
        (b"$412\r\nused_memory:" + b"9" * 400 + b"\r\n", "malformed"),
        (b"$15\r\nused_memory:1_0\r\n", "malformed"),
        (b"$2000000000\r\n", "timeout"),
        (b"*2000000000\r\n" + b"*0\r\n" * 200_000, "protocol"),
        (b"-ERR unknown command\r\n", "query_failed"),
    ],
)
async def test_an_info_that_cannot_be_read_fails_its_part_alone(info: bytes, expected: str, shared: SharedClients) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"+PONG\r\n")
        await reader.readuntil(b"INFO\r\n")
        writer.write(info)
        await silence(reader, writer)

    async with serving(handler) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port), timeout=1.0)
    assert outcome.verdict is Verdict.UP
    assert outcome.parts["info"] is not None
    assert outcome.parts["info"].reason.value == expected


async def test_nobody_listening_is_refused(shared: SharedClients) -> None:
    outcome = await attempt(make("redis", shared, "127.0.0.1", free_port()))
    assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, ("connect", "connect_refused"))


async def test_cancelling_an_attempt_is_let_through(shared: SharedClients) -> None:
    async with serving(silence) as port:
        task = asyncio.create_task(attempt(make("redis", shared, "127.0.0.1", port)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"password": "x", "password_file": "y"}, "not both"), ({"user": "u"}, "user needs password")],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RedisSettings(**settings)
