"""The redis probe against a real Valkey, and against peers that are none."""

from __future__ import annotations

import asyncio
import resource
import shlex
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
import trustme
from pydantic import ValidationError

from exporter.demo.processes import free_port
from exporter.demo.servers.valkey import ValkeyServer
from exporter.probes.redis import RedisSettings
from exporter.probing.probe import Probe, SharedClients
from exporter.probing.runner import Outcome
from exporter.redis import families as r
from exporter.verdict import Stage, Verdict
from tests.fixtures.clocks import Clock
from tests.fixtures.valkeys import form, order
from tests.probes.doing import (
    answering,
    attempt,
    bulk,
    flood,
    hang_up,
    make,
    on_uvloop,
    reason,
    saying,
    serving,
    silence,
    value,
)
from tests.waiting import eventually


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


async def test_what_is_counted_is_what_info_says(own_valkey: ValkeyServer, shared: SharedClients) -> None:
    async with client(own_valkey) as person, client(own_valkey) as waiting, client(own_valkey, db=5) as elsewhere:
        await person.mset({"a": "1", "b": "x"})
        await person.expire("b", 600)
        await elsewhere.set("c", "1")
        for command in ("INCR b", "LPUSH a 1", "EVALSHA 0000 0", "EVAL 'return {err=\"MINE now\"}' 0"):
            with pytest.raises(redis.ResponseError):
                await order(person, *shlex.split(command))
        task = asyncio.create_task(order(waiting, "BLPOP", "nothing", 0))
        await eventually(lambda: says(person, "blocked_clients", 1), 5, "a client that waits")
        outcome = await attempt(probe_of(own_valkey, shared))
        info = await person.info()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert outcome.samples[r.KEYS] == {("0",): 2, ("5",): 1}
    assert outcome.samples[r.EXPIRING] == {("0",): 1, ("5",): 0}
    errors = {name.removeprefix("errorstat_"): stat["count"] for name, stat in info.items() if "errorstat_" in name}
    other = errors.pop("MINE", 0)
    assert outcome.samples[r.ERRORS] == {**{(name,): count for name, count in errors.items()}, ("other",): other}
    assert sum(outcome.samples[r.ERRORS].values()) == info["total_error_replies"] >= 4
    assert value(outcome, r.BLOCKED) == 1
    assert value(outcome, r.UNSAVED) == info["rdb_changes_since_last_save"] > 0
    assert value(outcome, r.LAST_SAVE) == info["rdb_last_save_time"]
    assert value(outcome, r.EXPIRED) == info["expired_keys"] == 0
    assert value(outcome, r.LOADING) == 0
    assert outcome.samples[r.PERSISTENCE] == {("rdb_save",): 1}
    assert outcome.samples[r.POLICY] == {("allkeys-lru",): 1}
    assert value(outcome, r.FRAGMENTATION) == pytest.approx(info["mem_fragmentation_ratio"], rel=0.5)
    assert value(outcome, r.MEMORY_RSS) == pytest.approx(info["used_memory_rss"], rel=0.5)
    assert 0 < value(outcome, r.COMMANDS) <= info["total_commands_processed"]
    assert 0 < value(outcome, r.NETWORK, "input") <= info["total_net_input_bytes"]
    assert value(outcome, r.CONNECTIONS) == info["total_connections_received"]


async def test_writes_that_are_refused_for_want_of_memory_are_counted(
    own_valkey: ValkeyServer, shared: SharedClients
) -> None:
    async with client(own_valkey) as person:
        await asyncio.to_thread(own_valkey.fill)
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            await person.set("a", "1")
        outcome = await attempt(probe_of(own_valkey, shared))
        assert value(outcome, r.ERRORS, "OOM") == 1
        assert outcome.samples[r.POLICY] == {("noeviction",): 1}
        assert value(outcome, r.MEMORY_USED) > value(outcome, r.MEMORY_MAX) == 1
        await asyncio.to_thread(own_valkey.empty)
        await person.set("a", "1")
        assert value(await attempt(probe_of(own_valkey, shared)), r.ERRORS, "OOM") == 1


async def test_the_append_only_file_is_told_of_where_there_is_one(own_valkey: ValkeyServer, shared: SharedClients) -> None:
    async with client(own_valkey) as person:
        await person.config_set("appendonly", "yes")
        outcome = await attempt(probe_of(own_valkey, shared))
    assert outcome.samples[r.PERSISTENCE] == {("rdb_save",): 1, ("aof_write",): 1, ("aof_rewrite",): 1}


async def test_a_server_that_loads_its_data_is_starting_and_says_how_far_it_is(
    shared: SharedClients, tmp_path: Path
) -> None:
    server = ValkeyServer(
        tmp_path / "loading", options=("--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024")
    )
    with server:
        async with client(server) as person:
            async with person.pipeline(transaction=False) as batch:
                for n in range(50_000):
                    batch.set(f"key-{n}", "x" * 20)
                await batch.execute()
            await person.save()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        outcome = await attempt(probe_of(server, shared))
        assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, ("query", "starting"))
        assert outcome.parts == {"info": None}
        assert value(outcome, r.LOADING) == 1
        assert value(outcome, r.LOADING_LEFT) >= 0
        assert value(outcome, r.MEMORY_MAX) == 64 * 1024 * 1024


@pytest.mark.parametrize(
    ("info", "errors"),
    [
        (b"errorstat_OOM:count=3\r\n", {}),  # without the sum: before Redis 6.2
        (b"total_error_replies:5\r\nerrorstat_OOM:count=3\r\n", {("OOM",): 3, ("other",): 2}),
        (b"total_error_replies:5\r\nerrorstat_OOM:count=9\r\n", {("OOM",): 9}),  # never a sum that was made up
        (b"total_error_replies:5\r\nerrorstat_OOM:\r\nerrorstat_X:count=1\r\n", {("other",): 5}),
        (b"total_error_replies:0\r\n", {("other",): 0}),
    ],
)
async def test_errors_are_of_a_closed_list(info: bytes, errors: Any, shared: SharedClients) -> None:
    async with serving(answering(b"+PONG\r\n", bulk(info))) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port))
    assert outcome.parts == {"info": None}
    assert outcome.samples.get(r.ERRORS, {}) == errors


async def test_what_a_server_makes_up_makes_no_series(shared: SharedClients) -> None:
    lines = [f"db{n}:keys=1,expires=0\r\nerrorstat_E{n}:count=1" for n in range(5000)]
    info = "\r\n".join(["maxmemory_policy:" + "x" * 5000, *lines]).encode()
    async with serving(answering(b"+PONG\r\n", bulk(info))) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port))
    assert outcome.samples[r.POLICY] == {("other",): 1}
    assert len(outcome.samples[r.KEYS]) == 64
    assert value(outcome, r.DATABASES) == 5000
    assert r.ERRORS not in outcome.samples


async def look_up(person: redis.Redis, **times: int) -> None:
    async with person.pipeline(transaction=False) as batch:
        for key, count in times.items():
            for _ in range(count):
                batch.get(key)
        await batch.execute()


async def test_the_hit_ratio_is_of_enough_lookups_between_attempts(own_valkey: ValkeyServer, shared: SharedClients) -> None:
    probe = probe_of(own_valkey, shared)
    async with client(own_valkey) as person:
        await person.set("a", "1")
        await look_up(person, nothing=200)
        assert r.HIT_RATIO not in (await attempt(probe)).samples  # nothing to compare with
        await look_up(person, nothing=1)
        assert r.HIT_RATIO not in (await attempt(probe)).samples  # one lookup says nothing
        await look_up(person, a=75, nothing=24)
        outcome = await attempt(probe)
        assert value(outcome, r.HIT_RATIO) == 0.75  # of all hundred: the one before too
        assert (value(outcome, r.HITS), value(outcome, r.MISSES)) == (75, 225)
        assert value(await attempt(probe), r.HIT_RATIO) == 0.75  # none since: it is still of the newest hundred
        await look_up(person, a=100)
        assert value(await attempt(probe), r.HIT_RATIO) == 1  # a change shows at once
        await person.config_resetstat()
        await look_up(person, a=500)
        assert r.HIT_RATIO not in (await attempt(probe)).samples  # counters went back
        await look_up(person, a=100)
        assert value(await attempt(probe), r.HIT_RATIO) == 1


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
        assert outcome.parts["cluster"] is not None  # that it is a node of a cluster is what nobody can tell
        assert outcome.parts["cluster"].reason.value == "auth"
        async with client(server) as person:
            await order(person, "ACL SETUSER", "pinger", "+cluster|info")
        allowed = await attempt(probe_of(server, shared, user="pinger", password="pass"))
        assert (allowed.verdict, set(allowed.parts)) == (Verdict.UP, {"info"})


async def test_a_cluster_that_does_not_serve_is_seen_without_info(
    own_nodes: tuple[ValkeyServer, ...], shared: SharedClients
) -> None:
    async with client(own_nodes[0]) as person:
        await order(person, "ACL SETUSER", "monitor", "on", ">pass", "+ping", "+cluster|info")
    probe = probe_of(own_nodes[0], shared, user="monitor", password="pass")
    outcome = await attempt(probe)
    assert reason(outcome) == ("check", "reported_down")
    assert value(outcome, r.CLUSTER_OK) == 0
    assert outcome.parts["info"] is not None
    await form(own_nodes)
    await eventually(lambda: is_up(probe), 15, "a cluster that serves")


@pytest.mark.parametrize(
    ("cluster", "parts"),
    [
        (b"-ERR unknown command 'CLUSTER'\r\n", {"info": "query_failed"}),
        (b"-NOPERM no\r\n", {"info": "query_failed", "cluster": "auth"}),
        (b"", {"info": "query_failed"}),
    ],
    ids=["a proxy", "forbidden", "hangs"],
)
async def test_who_answers_no_info_is_up_whatever_it_says_of_a_cluster(
    cluster: bytes, parts: Any, shared: SharedClients
) -> None:
    answers = (b"+PONG\r\n", b"-ERR unsupported command\r\n", cluster, cluster)
    async with serving(answering(*answers)) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port), timeout=1.0)
    assert outcome.verdict is Verdict.UP
    assert {name: why.reason.value for name, why in outcome.parts.items() if why is not None} == parts


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


async def test_credentials_that_are_rotated_fail_and_recover_without_a_restart(
    own_valkey: ValkeyServer, shared: SharedClients, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("first")
    async with client(own_valkey) as person:
        await order(person, "ACL SETUSER", "monitor", "reset", "on", ">first", "+ping", "+info")
        probe = probe_of(own_valkey, shared, user="monitor", password_file=secret)
        assert (await attempt(probe)).verdict is Verdict.UP
        await order(person, "ACL SETUSER", "monitor", "resetpass", ">second")
        refused = await attempt(probe)
        assert (refused.verdict, reason(refused)) == (Verdict.UNKNOWN, ("auth", "auth"))
        assert "first" not in str(refused.failure)
        secret.write_text("second")
        assert (await attempt(probe)).verdict is Verdict.UP


async def test_a_server_that_hangs_costs_no_connection_in_a_thousand_attempts(
    own_valkey: ValkeyServer, shared: SharedClients
) -> None:
    probes = [probe_of(own_valkey, shared) for _ in range(50)]
    await attempt(probes[0])
    descriptors = count_descriptors()
    own_valkey.pause()
    for _ in range(20):
        for outcome in await asyncio.gather(*(attempt(probe, timeout=0.2) for probe in probes)):
            assert outcome.verdict is Verdict.DOWN
            assert reason(outcome) in {("query", "timeout"), ("connect", "connect_timeout")}  # its backlog fills
    assert count_descriptors() == descriptors
    own_valkey.resume()
    async with client(own_valkey) as person:

        async def alone() -> bool:
            return len(await person.client_list()) == 1

        await eventually(alone, 10, "no client but the person")
    assert (await attempt(probes[0])).verdict is Verdict.UP


def count_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


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


class _Clocked(ValkeyServer):
    """A server with a clock of its own."""

    clock: Clock

    def environment(self) -> Mapping[str, str]:
        return self.clock.variables


async def test_a_clock_that_is_set_back_makes_no_figure_below_zero(shared: SharedClients, tmp_path: Path) -> None:
    server = _Clocked(tmp_path / "valkey")
    server.clock = Clock(tmp_path)
    with server:
        probe = probe_of(server, shared)
        assert (await attempt(probe)).verdict is Verdict.UP
        server.clock.set("-1h")

        async def set_back() -> bool:
            return b"uptime_in_seconds:-" in await asyncio.to_thread(server.tell, "INFO", "server")

        await eventually(set_back, 5, "its clock is behind")
        outcome = await attempt(probe)
    assert (outcome.verdict, outcome.parts) == (Verdict.UP, {"info": None})
    assert value(outcome, r.UPTIME) == 0
    assert not [family.name for family, found in outcome.samples.items() if any(each < 0 for each in found.values())]


async def test_counters_of_another_run_are_not_compared(shared: SharedClients) -> None:
    answers = iter([("a", 1, 1), ("b", 900, 100), ("b", 1200, 200)])  # after the restart they are higher at once

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


async def test_a_server_that_cannot_save_is_down_and_still_tells_its_figures(
    own_valkey: ValkeyServer, shared: SharedClients
) -> None:
    probe = probe_of(own_valkey, shared)
    async with client(own_valkey) as person:
        await fail_saving(own_valkey, person)
        outcome = await attempt(probe)
        assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, ("query", "query_failed"))
        assert "MISCONF" in str(outcome.failure)
        assert outcome.parts == {"info": None}
        assert value(outcome, r.MEMORY_MAX) == 64 * 1024 * 1024
        (own_valkey.directory / "dump.rdb").rmdir()
        await person.bgsave()
        await eventually(lambda: says(person, "rdb_last_bgsave_status", "ok"), 5, "a save that works")
        assert (await attempt(probe)).verdict is Verdict.UP


async def says(person: redis.Redis, field: str, expected: object) -> bool:
    return bool((await person.info())[field] == expected)


class LimitedServer(ValkeyServer):
    """A server whose files may grow to 64 kB, which is to it as a full disk: what is written beyond fails."""

    def command(self) -> Iterable[str | Path]:
        return ["env", "--ignore-signal=XFSZ", "prlimit", "--fsize=65536:unlimited", *super().command()]

    def give_room(self) -> None:
        assert self.child is not None
        assert self.child.pid is not None
        resource.prlimit(self.child.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def test_an_append_only_file_on_a_full_disk_is_told_and_that_it_has_room_again(
    shared: SharedClients, tmp_path: Path
) -> None:
    """PING is refused, and what is wrong is told beside: which operation, the answers that services get, and no other."""
    with LimitedServer(tmp_path / "limited", options=("--appendonly", "yes", "--appendfsync", "everysec")) as server:
        probe = probe_of(server, shared)
        assert value(await attempt(probe), r.PERSISTENCE, "aof_write") == 1
        async with client(server) as person:
            with pytest.raises(redis.ResponseError, match="MISCONF"):
                for _ in range(100):
                    await person.set("a", "x" * 4096)
        full = await attempt(probe)
        assert (full.verdict, reason(full)) == (Verdict.DOWN, ("query", "query_failed"))
        assert "MISCONF" in str(full.failure)
        assert full.parts == {"info": None}
        assert full.samples[r.PERSISTENCE] == {("rdb_save",): 1, ("aof_write",): 0, ("aof_rewrite",): 1}
        assert value(full, r.ERRORS, "MISCONF") >= 1
        server.give_room()
        await eventually(lambda: is_up(probe), 10, "a server that writes again")
        assert value(await attempt(probe), r.PERSISTENCE, "aof_write") == 1


async def fail_saving(server: ValkeyServer, person: redis.Redis) -> None:
    """Put a folder where the file belongs, which even root's server cannot replace, and wait until a save has failed."""
    (server.directory / "dump.rdb").mkdir()
    await person.set("a", "1")
    await person.config_set("save", "1 1")
    await eventually(lambda: says(person, "rdb_last_bgsave_status", "err"), 5, "a save that fails")


async def test_a_node_says_how_its_cluster_is(own_nodes: tuple[ValkeyServer, ...], shared: SharedClients) -> None:
    probe = probe_of(own_nodes[0], shared)
    alone = await attempt(probe)
    assert (alone.verdict, reason(alone)) == (Verdict.DOWN, ("check", "reported_down"))
    assert value(alone, r.CLUSTER_SLOTS, "unassigned") == 16384
    await form(own_nodes)
    whole = await attempt(probe)
    assert (whole.verdict, whole.parts) == (Verdict.UP, {"info": None, "cluster": None})
    assert value(whole, r.CLUSTER_OK) == 1
    assert whole.samples[r.CLUSTER_SLOTS] == {("unassigned",): 0, ("ok",): 16384, ("pfail",): 0, ("fail",): 0}
    assert whole.samples[r.CLUSTER_FAILED] == {("pfail",): 0, ("fail",): 0}
    assert (value(whole, r.CLUSTER_NODES), value(whole, r.CLUSTER_SIZE)) == (3, 3)
    await asyncio.to_thread(own_nodes[2].kill)

    async def noticed() -> Outcome | None:
        outcome = await attempt(probe)
        return outcome if outcome.samples[r.CLUSTER_FAILED][("fail",)] else None

    broken = await eventually(noticed, 10, "that a master is gone")
    assert broken is not None
    assert (broken.verdict, reason(broken)) == (Verdict.DOWN, ("check", "reported_down"))
    assert "of 16384 slots are served" in str(broken.failure)
    assert value(broken, r.CLUSTER_OK) == 0
    assert value(broken, r.CLUSTER_SLOTS, "fail") == 16384 - value(broken, r.CLUSTER_SLOTS, "ok") > 5000
    assert value(broken, r.ROLE, "master") == 1  # what it says beside stays
    await asyncio.to_thread(own_nodes[2].start)
    await eventually(lambda: is_up(probe), 15, "a cluster that serves again")


async def is_up(probe: Probe[Any]) -> bool:
    return (await attempt(probe)).verdict is Verdict.UP


async def test_who_may_not_ask_for_the_cluster_is_told_so(
    own_nodes: tuple[ValkeyServer, ...], shared: SharedClients
) -> None:
    node = own_nodes[0]
    async with client(node) as person:
        rights = ["reset", "on", ">pass", "+ping", "+info"]
        await order(person, "ACL SETUSER", "monitor", *rights)
        outcome = await attempt(probe_of(node, shared, user="monitor", password="pass"))
        assert outcome.verdict is Verdict.UP  # nothing is concluded from what is not seen
        assert outcome.parts["cluster"] is not None
        assert outcome.parts["cluster"].reason.value == "auth"
        assert r.CLUSTER_OK not in outcome.samples
        await order(person, "ACL SETUSER", "monitor", "+cluster|info")
        allowed = await attempt(probe_of(node, shared, user="monitor", password="pass"))
        assert reason(allowed) == ("check", "reported_down")


CLUSTERED = b"cluster_enabled:1\r\n"
BEFORE_VALKEY_9 = b"cluster_state:%s\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:10923\r\n"
NODES = (
    b"a 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-5460\n"
    b"b 10.0.0.2:6379@16379 master,fail - 1 2 3 disconnected 5461-10922\n"
    b"c 10.0.0.3:6379@16379 slave,fail? b 1 2 3 disconnected\n"
    b"d :0@0 slave,fail,noaddr b 1 2 3 disconnected\n"
)


@pytest.mark.parametrize(
    ("info", "nodes", "verdict", "failed", "part"),
    [
        (BEFORE_VALKEY_9 % b"ok", bulk(NODES), Verdict.UP, {("fail",): 2.0, ("pfail",): 1.0}, None),
        (BEFORE_VALKEY_9 % b"fail", b"-NOPERM no\r\n", Verdict.DOWN, {}, "auth"),
        (BEFORE_VALKEY_9 % b"fail", b"", Verdict.DOWN, {}, "timeout"),
        (BEFORE_VALKEY_9 % b"fail", b":1\r\n", Verdict.DOWN, {}, "malformed"),
        (BEFORE_VALKEY_9 % b"well", b"", Verdict.UP, {}, "malformed"),
    ],
)
async def test_nodes_that_failed_are_counted_where_a_server_does_not(
    info: bytes, nodes: bytes, verdict: Verdict, failed: Any, part: str | None, shared: SharedClients
) -> None:
    async with serving(answering(b"+PONG\r\n", bulk(CLUSTERED), bulk(info), nodes)) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port), timeout=1.0)
    assert outcome.verdict is verdict
    assert outcome.samples.get(r.CLUSTER_FAILED, {}) == failed
    why = outcome.parts["cluster"]
    assert (why.reason.value if why else None) == part


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


@pytest.mark.parametrize("user", [{}, {"user": "monitor"}])
async def test_a_server_that_does_not_know_auth_is_not_quoted_with_the_password(
    tmp_path: Path, shared: SharedClients, user: dict[str, str]
) -> None:
    """It repeats what came after a command that it does not know, as where AUTH was renamed; and it may be well."""
    with ValkeyServer(tmp_path, options=("--rename-command", "AUTH", "LOGMEIN")) as server:
        outcome = await attempt(probe_of(server, shared, password="s3cr3t-of-redis", **user))
    assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("auth", "auth"))
    assert "unknown command 'AUTH'" in str(outcome.failure)
    assert "s3cr3t" not in str(outcome.failure)


@pytest.mark.parametrize(
    "words", [b"ERR unknown command AUTH s3cr3t", b"ERR unknown command `AUTH`, with args beginning with: `s3c"]
)
async def test_whatever_words_refuse_it_the_password_is_not_in_them(words: bytes, shared: SharedClients) -> None:
    async with serving(saying(b"-%b\r\n" % words)) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port, password="s3cr3t"))
    assert outcome.failure is not None
    assert "s3c" not in str(outcome.failure)
