"""The redis probe on servers that belong together: a master with replicas, and Sentinels that watch them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from exporter.clients.redis.sentinel import MAX_WATCHED
from exporter.demo.servers.base import Server
from exporter.demo.servers.valkey import ValkeyServer
from exporter.metrics.family import Family
from exporter.probing.probe import Probe, SharedClients
from exporter.probing.runner import Outcome
from exporter.redis import families as r
from exporter.verdict import Verdict
from tests.fixtures.valkeys import SentinelServer, WatchedServers, client, order, replica_of
from tests.probes.doing import answering, attempt, bulk, make, serving, value
from tests.waiting import eventually


def probe_of(server: Server, shared: SharedClients, **settings: Any) -> Probe[Any]:
    return make("redis", shared, server.host, server.port, **settings)


async def until_it_says(probe: Probe[Any], family: Family, expected: float, *labels: str, seconds: float = 10) -> Outcome:
    """Ask until a sample has a value, and return what else was said then."""

    async def says() -> Outcome | None:
        outcome = await attempt(probe)
        return outcome if outcome.samples.get(family, {}).get(labels) == expected else None

    outcome = await eventually(says, seconds, f"{family.name}{labels} {expected}")
    assert outcome is not None
    return outcome


async def test_a_master_and_its_replica_tell_the_same_of_each_other(
    own_valkey: ValkeyServer, shared: SharedClients, tmp_path: Path
) -> None:
    with replica_of(own_valkey, tmp_path / "replica") as replica:
        at = f"{replica.host}:{replica.port}"
        follows, leads = probe_of(replica, shared), probe_of(own_valkey, shared)
        await until_it_says(follows, r.LINK_UP, 1)
        master = await until_it_says(leads, r.REPLICA_ONLINE, 1, at)
        assert (master.samples[r.ROLE], value(master, r.REPLICAS)) == ({("master",): 1}, 1)
        assert value(master, r.REPLICA_LAG, at) <= 2
        assert value(master, r.SYNCS, "full") == 1
        async with client(own_valkey) as person:
            await person.set("a", "x" * 5000)
            written = (await person.info("replication"))["master_repl_offset"]
        behind = await until_it_says(leads, r.REPLICA_BEHIND, 0, at)
        assert value(behind, r.OFFSET) >= written > 5000
        told = await attempt(follows)
        assert (value(told, r.OFFSET) >= written, value(told, r.SYNCING)) == (True, 0)
        assert 0 <= value(told, r.MASTER_IO) < 11
        assert r.LINK_DOWN not in told.samples
        await asyncio.to_thread(own_valkey.kill)
        alone = await until_it_says(follows, r.LINK_UP, 0)
        assert alone.verdict is Verdict.UP  # it serves what it has
        assert value(await until_it_says(follows, r.LINK_DOWN, 2), r.LINK_UP) == 0
        assert r.MASTER_IO not in alone.samples


async def test_a_replica_that_hangs_lags_and_is_behind(
    own_valkey: ValkeyServer, shared: SharedClients, tmp_path: Path
) -> None:
    with replica_of(own_valkey, tmp_path / "replica") as replica:
        at = f"{replica.host}:{replica.port}"
        leads = probe_of(own_valkey, shared)
        await until_it_says(leads, r.REPLICA_BEHIND, 0, at)
        replica.pause()
        async with client(own_valkey) as person:
            await person.set("a", "x" * 5000)
        outcome = await until_it_says(leads, r.REPLICA_LAG, 3, at)
        assert value(outcome, r.REPLICA_BEHIND, at) > 5000
        replica.resume()
        await until_it_says(leads, r.REPLICA_BEHIND, 0, at)


async def test_a_replica_that_never_reached_its_master_says_not_since_when(
    shared: SharedClients, tmp_path: Path, own_valkey: ValkeyServer
) -> None:
    own_valkey.pause()
    with replica_of(own_valkey, tmp_path / "replica") as replica:
        outcome = await attempt(probe_of(replica, shared))
        assert (value(outcome, r.LINK_UP), value(outcome, r.SYNCING)) == (0, 0)
        assert r.MASTER_IO not in outcome.samples
    own_valkey.resume()


@pytest.mark.parametrize(
    ("lines", "replicas", "part"),
    [
        (b"slave0:ip=::1,port=1,state=online,offset=9,lag=0\r\n", {("[::1]:1",): 1}, None),
        (b"slave0:ip=h,port=1,state=wait_bgsave,offset=0,lag=5\r\n", {("h:1",): 0}, None),
        (b"slave0:port=1,state=online\r\n", {}, "malformed"),
        (b"slave0:ip=" + b"x" * 300 + b",port=1\r\n", {}, "malformed"),
        (b"slave0:ip=h,port=1,state=online,offset=x\r\n", {}, "malformed"),
        (b"slave99:ip=h,port=1,state=online,offset=1\r\n", {}, None),
    ],
)
async def test_replicas_that_a_server_tells_of(lines: bytes, replicas: Any, part: str | None, shared: SharedClients) -> None:
    info = b"role:master\r\nmaster_repl_offset:10\r\n" + lines
    async with serving(answering(b"+PONG\r\n", bulk(info))) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port))
    why = outcome.parts["info"]
    assert (outcome.samples.get(r.REPLICA_ONLINE, {}), why.reason.value if why else None) == (replicas, part)
    waiting = {labels for labels, online in replicas.items() if not online}
    assert not waiting & outcome.samples.get(r.REPLICA_LAG, {}).keys()


def told_by_sentinel(outcome: Outcome) -> dict[str, float]:
    found = {
        "up": r.SENTINEL_UP, "masters": r.SENTINEL_MASTERS, "quorum": r.SENTINEL_QUORUM, "quorate": r.SENTINEL_QUORUM_OK
    }  # fmt: skip
    return {name: value(outcome, family, "main") for name, family in found.items()}


async def test_a_sentinel_tells_of_its_master_through_a_failover(own_watched: WatchedServers, shared: SharedClients) -> None:
    master, replica = own_watched.master, own_watched.replica
    sentinel = probe_of(own_watched.sentinels[0], shared)
    await until_it_says(sentinel, r.SENTINEL_SENTINELS, 3, "main", "usable", seconds=15)
    whole = await until_it_says(sentinel, r.SENTINEL_REPLICAS, 1, "main", "ok", seconds=20)
    assert (whole.verdict, whole.parts) == (Verdict.UP, {"info": None, "sentinel": None})
    assert told_by_sentinel(whole) == {"up": 1, "masters": 1, "quorum": 2, "quorate": 1}
    assert whole.samples[r.SENTINEL_ADDRESS] == {("main", f"{master.host}:{master.port}"): 1}
    assert r.ROLE not in whole.samples
    assert r.MEMORY_USED not in whole.samples

    await asyncio.to_thread(master.kill)
    over = await until_it_says(sentinel, r.SENTINEL_ADDRESS, 1, "main", f"{replica.host}:{replica.port}", seconds=30)
    assert over.verdict is Verdict.UP
    assert list(over.samples[r.SENTINEL_ADDRESS]) == [("main", f"{replica.host}:{replica.port}")]
    gone = await until_it_says(sentinel, r.SENTINEL_REPLICAS, 0, "main", "ok")
    assert value(gone, r.SENTINEL_REPLICAS, "main", "known") == 1
    assert told_by_sentinel(gone)["up"] == 1

    for other in own_watched.sentinels[1:]:
        await asyncio.to_thread(other.kill)
    alone = await until_it_says(sentinel, r.SENTINEL_QUORUM_OK, 0, "main", seconds=20)
    assert value(alone, r.SENTINEL_SENTINELS, "main", "known") == 3
    await asyncio.to_thread(replica.kill)
    down = await until_it_says(sentinel, r.SENTINEL_UP, 0, "main", seconds=20)
    assert (down.verdict, told_by_sentinel(down)["masters"]) == (Verdict.UP, 0)


async def test_two_masters_in_a_sentinels_view_are_told(own_watched: WatchedServers, shared: SharedClients) -> None:
    sentinel = probe_of(own_watched.sentinels[0], shared)
    await until_it_says(sentinel, r.SENTINEL_REPLICAS, 1, "main", "ok", seconds=20)
    async with client(own_watched.replica) as person:
        await order(person, "REPLICAOF", "NO", "ONE")
    both = await until_it_says(sentinel, r.SENTINEL_MASTERS, 2, "main", seconds=20)
    assert told_by_sentinel(both)["up"] == 1
    await until_it_says(sentinel, r.SENTINEL_MASTERS, 1, "main", seconds=40)  # the Sentinels make it a replica again


async def test_who_may_not_ask_a_sentinel_is_told_so(
    own_valkey: ValkeyServer, shared: SharedClients, tmp_path: Path
) -> None:
    with SentinelServer(tmp_path / "sentinel", own_valkey, 1) as server:
        async with client(server) as person:
            await order(person, "ACL SETUSER", "monitor", "reset", "on", ">pass", "+ping", "+info")
            probe = probe_of(server, shared, user="monitor", password="pass")
            refused = await attempt(probe)
            assert refused.verdict is Verdict.UP
            assert refused.parts["sentinel"] is not None
            assert refused.parts["sentinel"].reason.value == "auth"
            rights = ("+sentinel|masters", "+sentinel|replicas", "+sentinel|ckquorum")
            await order(person, "ACL SETUSER", "monitor", *rights)
            assert (await attempt(probe)).parts == {"info": None, "sentinel": None}


async def test_a_sentinel_that_watches_nothing_is_told(
    own_valkey: ValkeyServer, shared: SharedClients, tmp_path: Path
) -> None:
    """As after a start without its configuration: whatever is told of its master ends, and so does failing it over."""
    with SentinelServer(tmp_path / "sentinel", own_valkey, 1) as server:
        probe = probe_of(server, shared)
        assert value(await attempt(probe), r.SENTINEL_UP, "main") == 1
        await asyncio.to_thread(server.stop)
        (server.directory / "sentinel.conf").write_text(f"port {server.port}\nbind {server.host}\ndir {server.directory}\n")
        await asyncio.to_thread(server.start)
        forgotten = await attempt(probe)
        assert (forgotten.verdict, forgotten.samples.get(r.SENTINEL_UP)) == (Verdict.UP, None)
        assert "watches no master" in str(forgotten.parts["sentinel"])
        async with client(server) as person:
            await order(person, "SENTINEL MONITOR", "main", own_valkey.host, own_valkey.port, 1)
        again = await attempt(probe)
        assert (again.parts["sentinel"], value(again, r.SENTINEL_UP, "main")) == (None, 1)


async def test_masters_may_be_called_anything_and_one_that_cannot_be_told_hides_no_other(
    own_valkey: ValkeyServer, shared: SharedClients, tmp_path: Path
) -> None:
    odd = ["a b", "a:b/c", "münchen", "a\\x1b", "x" * 255]
    with SentinelServer(tmp_path / "sentinel", own_valkey, 1) as server:
        probe = probe_of(server, shared)
        async with client(server) as person:
            for name in odd:
                await order(person, "SENTINEL MONITOR", name, own_valkey.host, own_valkey.port, 1)
            well = await attempt(probe)
            await order(person, "SENTINEL MONITOR", "x" * 256, own_valkey.host, own_valkey.port, 1)
            part = await attempt(probe)
    assert well.parts == {"info": None, "sentinel": None}
    for outcome in (well, part):
        assert outcome.samples[r.SENTINEL_UP] == {(name,): 1 for name in ("main", *odd)}
    assert part.parts["sentinel"] is not None
    assert part.parts["sentinel"].reason.value == "malformed"


SENTINEL = bulk(b"redis_mode:sentinel\r\n")
WELL = b"*8\r\n" + b"".join(map(bulk, b"name main ip ::1 port 6379 flags master".split()))
NAMELESS = b"*2\r\n" + bulk(b"ip") + bulk(b"h")
ODD = b"*3\r\n" + bulk(b"name") + bulk(b"main") + bulk(b"ip")


@pytest.mark.parametrize(
    ("answers", "masters", "part"),
    [
        ((b"*0\r\n",), 0, "query_failed"),
        ((b"*1\r\n" + WELL, b"*0\r\n", b"+OK 1 usable Sentinels.\r\n"), 1, None),
        ((b"*1\r\n" + WELL, b"*0\r\n", b"-NOQUORUM 1 usable Sentinels.\r\n"), 1, None),
        ((b"*1\r\n" + WELL, b"*0\r\n", b"-NOQUORUM\r\n"), 1, None),
        ((b"*1\r\n" + WELL, b"*0\r\n", b"-ERR No such master with that name\r\n"), 0, "query_failed"),
        ((b"*1\r\n" + WELL, b"+OK\r\n"), 0, "malformed"),
        ((b"*2\r\n" + WELL + NAMELESS, b"*0\r\n", b"+OK 1 usable Sentinels.\r\n"), 1, "malformed"),
        ((b"*1\r\n" + ODD,), 0, "malformed"),
        ((b"*1\r\n:1\r\n",), 0, "malformed"),
        ((b"$2\r\nno\r\n",), 0, "malformed"),
        ((b"-NOPERM no\r\n",), 0, "auth"),
        (
            (b"*%d\r\n" % (MAX_WATCHED + 1) + WELL * (MAX_WATCHED + 1), *[b"*0\r\n", b"+OK\r\n"] * MAX_WATCHED),
            1,
            "too_large",
        ),
    ],
)
async def test_what_a_sentinel_may_answer(answers: Any, masters: int, part: str | None, shared: SharedClients) -> None:
    async with serving(answering(b"+PONG\r\n", SENTINEL, *answers)) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port))
    assert outcome.verdict is Verdict.UP
    assert len(outcome.samples.get(r.SENTINEL_UP, {})) == masters
    assert set(outcome.samples.get(r.SENTINEL_ADDRESS, {})) == ({("main", "[::1]:6379")} if masters else set())
    why = outcome.parts["sentinel"]
    assert (why.reason.value if why else None) == part
