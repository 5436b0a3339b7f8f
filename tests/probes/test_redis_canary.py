"""The redis probe's canary, and what a server itself found slow."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from pydantic import ValidationError

from exporter.clients.redis.canary import tag_within
from exporter.demo.servers.base import Server
from exporter.demo.servers.valkey import ValkeyServer
from exporter.probes.redis import RedisSettings
from exporter.probing.probe import Probe, SharedClients
from exporter.probing.runner import Outcome
from exporter.redis import families as r
from exporter.verdict import Verdict
from tests.fixtures.valkeys import client, form, order, replica_of
from tests.probes.doing import answering, attempt, bulk, make, reason, serving, value
from tests.waiting import eventually

CANARY = {"canary": {"prefix": "canary:", "ttl": "30s"}}


def probe_of(server: Server, shared: SharedClients, **settings: Any) -> Probe[Any]:
    return make("redis", shared, server.host, server.port, **(settings or CANARY))


async def test_a_canary_is_written_read_and_leaves_by_itself(own_valkey: ValkeyServer, shared: SharedClients) -> None:
    probe = probe_of(own_valkey, shared)
    outcome = await attempt(probe)
    assert (outcome.verdict, value(outcome, r.CANARY)) == (Verdict.UP, 1)
    assert 0 < value(outcome, r.CANARY_TOOK, "write") < sum(outcome.phases.values())
    assert 0 < value(outcome, r.CANARY_TOOK, "read") < sum(outcome.phases.values())
    await attempt(probe)
    await attempt(probe_of(own_valkey, shared))  # another exporter's is another key
    async with client(own_valkey) as person:
        keys = await person.keys("*")
        assert len(keys) == 2
        for key in map(str, keys):
            assert key.startswith("canary:")
            assert 0 < await person.pttl(key) <= 30_000


async def test_nothing_is_written_unless_it_is_asked_for(own_valkey: ValkeyServer, shared: SharedClients) -> None:
    outcome = await attempt(make("redis", shared, own_valkey.host, own_valkey.port))
    assert not {r.CANARY, r.CANARY_TOOK, r.SLOW_LOG, r.LATENCY} & outcome.samples.keys()
    async with client(own_valkey) as person:
        assert await person.dbsize() == 0


async def test_a_server_that_refuses_writes_is_down_by_its_canary(own_valkey: ValkeyServer, shared: SharedClients) -> None:
    probe = probe_of(own_valkey, shared)
    await asyncio.to_thread(own_valkey.fill)
    outcome = await attempt(probe)
    assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, ("query", "query_failed"))
    assert str(outcome.failure).endswith("OOM command not allowed when used memory > 'maxmemory'.")
    assert outcome.samples[r.CANARY] == {(): 0}
    assert outcome.samples[r.POLICY] == {("noeviction",): 1}
    assert (await attempt(make("redis", shared, own_valkey.host, own_valkey.port))).verdict is Verdict.UP
    await asyncio.to_thread(own_valkey.empty)
    assert value(await attempt(probe), r.CANARY) == 1


async def test_a_replica_is_not_written_to(own_valkey: ValkeyServer, shared: SharedClients, tmp_path: Path) -> None:
    with replica_of(own_valkey, tmp_path / "replica") as replica:
        probe = probe_of(replica, shared)

        async def linked() -> Outcome | None:
            outcome = await attempt(probe)
            return outcome if outcome.samples.get(r.LINK_UP) == {(): 1} else None

        outcome = await eventually(linked, 10, "a replica with its master")
        assert outcome is not None
        assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
        assert r.CANARY not in outcome.samples


async def test_rights_that_are_missing_are_the_probers_matter(own_valkey: ValkeyServer, shared: SharedClients) -> None:
    async with client(own_valkey) as person:
        await order(person, "ACL SETUSER", "monitor", "reset", "on", ">pass", "+ping", "+info")
        probe = probe_of(own_valkey, shared, **CANARY, user="monitor", password="pass")
        refused = await attempt(probe)
        assert (refused.verdict, reason(refused)) == (Verdict.UNKNOWN, ("query", "auth"))
        assert r.CANARY not in refused.samples
        await order(person, "ACL SETUSER", "monitor", "+set", "+get", "~canary:*")
        assert value(await attempt(probe), r.CANARY) == 1


async def test_every_node_of_a_cluster_has_a_canary_of_its_own_slots(
    own_nodes: tuple[ValkeyServer, ...], shared: SharedClients
) -> None:
    await form(own_nodes)
    probes = [probe_of(node, shared) for node in own_nodes]
    for probe in probes:
        outcome = await attempt(probe)
        assert (outcome.failure, value(outcome, r.CANARY)) == (None, 1)
    for node in own_nodes:
        async with client(node) as person:
            assert len(await person.keys("canary:*")) == 1


async def test_a_slot_that_moves_or_is_stuck_on_its_way_does_not_end_the_canary_of_a_node(
    own_nodes: tuple[ValkeyServer, ...], shared: SharedClients
) -> None:
    """The node has others: as long as a slot is on its way, it answers ASK for keys that are not there."""
    await form(own_nodes)
    giver, taker = own_nodes[:2]
    probe = probe_of(giver, shared)
    assert value(await attempt(probe), r.CANARY) == 1
    async with client(giver) as one, client(taker) as other:
        (key,) = await one.keys("canary:*")
        slot = await order(one, "CLUSTER", "KEYSLOT", key)
        here, there = [await order(each, "CLUSTER", "MYID") for each in (one, other)]
        await order(other, "CLUSTER", "SETSLOT", slot, "IMPORTING", here)
        await order(one, "CLUSTER", "SETSLOT", slot, "MIGRATING", there)
        await one.delete(key)
        outcome = await attempt(probe)
        assert (outcome.failure, value(outcome, r.CANARY)) == (None, 1)
        for each in (other, one):
            await order(each, "CLUSTER", "SETSLOT", slot, "NODE", there)
        for node in (giver, taker):
            outcome = await attempt(probe_of(node, shared))
            assert (outcome.failure, value(outcome, r.CANARY)) == (None, 1)


async def test_what_is_read_must_be_what_was_written(shared: SharedClients) -> None:
    async with serving(answering(b"+PONG\r\n", bulk(b"role:master\r\n"), b"+OK\r\n", bulk(b"else"))) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port, **CANARY))
    assert reason(outcome) == ("check", "query_failed")
    assert outcome.samples[r.CANARY] == {(): 0}


OF_CLUSTER = bulk(b"cluster_enabled:1\r\n")
SERVES = bulk(b"cluster_state:ok\r\ncluster_nodes_fail:0\r\n")
TRY_AGAIN = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n"
MOVED = b"-MOVED 1 10.0.0.1:6379\r\n"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((b"-READONLY You can't write against a read only replica.\r\n",), None),
        ((TRY_AGAIN, bulk(b"a h:1@2 myself,slave b 0 0 1 connected")), None),
        ((TRY_AGAIN, bulk(b"a h:1@2 myself,master - 0 0 1 connected 0-99"), TRY_AGAIN), None),
        ((MOVED, bulk(b"a h:1@2 myself,slave b 0 0 1 connected")), None),
        ((MOVED, bulk(b"a h:1@2 myself,master - 0 0 1 connected [7->-b]")), None),
        ((MOVED, b":1\r\n"), ("check", "malformed")),
        ((MOVED, bulk(b"a h:1@2 myself,master - 0 0 1 connected 0-99"), MOVED), ("query", "query_failed")),
        ((MOVED, bulk(b"a h:1@2 myself,master - 0 0 1 connected 7 [7->-b]"), b"-ASK 7 10.0.0.1:6379\r\n"), None),
        *(
            ((MOVED, bulk(b"a h:1@2 myself,master - 0 0 1 connected " + slots)), ("check", "malformed"))
            for slots in (b"16384", b"9-7", b"0-16384", b" ".join([b"99999"] * 50_000), b" ".join([b"0-16383"] * 50_000))
        ),  # looked for, a slot that cannot be would hold up the event loop
        ((b"+QUEUED\r\n",), ("check", "protocol")),
        ((b"",), ("query", "timeout")),
    ],
)
async def test_what_a_node_may_answer_to_a_canary(answers: Any, expected: Any, shared: SharedClients) -> None:
    async with serving(answering(b"+PONG\r\n", OF_CLUSTER, SERVES, *answers)) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port, **CANARY), timeout=1.0)
    assert reason(outcome) == expected
    assert (r.CANARY in outcome.samples) == (expected is not None and expected[1] != "timeout")


async def test_a_canary_is_not_sent_after_an_answer_that_never_came(shared: SharedClients) -> None:
    """It would take that answer for its own."""
    async with serving(answering(b"+PONG\r\n", b"")) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port, **CANARY), timeout=0.5)
    assert outcome.verdict is Verdict.UP
    assert outcome.parts["info"] is not None
    assert r.CANARY not in outcome.samples


@pytest.mark.parametrize("slots", [range(16384), range(1), range(16383, 16384), range(5461, 10923)])
def test_a_tag_is_found_for_any_slot(slots: range) -> None:
    tag = tag_within([range(0), slots])
    assert tag is not None
    assert tag_within([range(0)]) is None
    other = tag_within([slots], but=slots.start)
    assert (other is None) is (len(slots) == 1)


def test_a_tag_costs_as_much_of_many_ranges_as_of_one() -> None:
    def seconds(slots: list[range]) -> float:
        began = process_time()
        assert tag_within(slots) is not None
        return process_time() - began

    one = range(9000, 9001)
    assert seconds([one] * 8000) < 20 * max(seconds([one]), 0.005)


NEWEST = b"*1\r\n*4\r\n:7\r\n:1\r\n:1\r\n*1\r\n" + bulk(b"GET")
"""An entry of a slow log, of before Redis 4: later ones tell the client too."""


async def test_what_a_server_found_slow_is_told(shared: SharedClients, tmp_path: Path) -> None:
    options = ("--enable-debug-command", "local", "--slowlog-log-slower-than", "50000", "--latency-monitor-threshold", "50")
    with ValkeyServer(tmp_path / "slow", options=options) as server:
        probe = probe_of(server, shared, slow_commands=True)
        quiet = await attempt(probe)
        assert quiet.parts == {"info": None, "slow": None}
        assert value(quiet, r.SLOW_LOG) == 0
        assert r.LATENCY not in quiet.samples
        async with client(server) as person:
            await order(person, "DEBUG SLEEP", "0.1")
            told = {event[0]: event for event in await order(person, "LATENCY LATEST")}
            outcome = await attempt(probe)
        assert value(outcome, r.SLOW_LOG) == 1
        assert outcome.samples[r.LATENCY] == {(name,): event[2] / 1000 for name, event in told.items()}
        assert outcome.samples[r.LATENCY_AT] == {(name,): event[1] for name, event in told.items()}
        assert value(outcome, r.LATENCY_LONGEST, "command") >= 0.1
        assert (value(quiet, r.SLOW_ADDED), value(outcome, r.SLOW_ADDED)) == (0, 1)


async def test_slow_commands_are_counted_whatever_is_done_to_the_log(shared: SharedClients, tmp_path: Path) -> None:
    """Each lives longer than the log that it was in: emptied, full, or gone with its server."""
    options = ("--enable-debug-command", "local", "--slowlog-log-slower-than", "20000", "--slowlog-max-len", "2")
    with ValkeyServer(tmp_path / "slow", options=options) as server:
        probe = probe_of(server, shared, slow_commands=True)

        async def counted(*orders: str) -> tuple[float, float]:
            async with client(server) as person:
                for each in orders:
                    await order(person, *each.rsplit(" ", 1))
            outcome = await attempt(probe)
            return value(outcome, r.SLOW_LOG), value(outcome, r.SLOW_ADDED)

        slow = "DEBUG SLEEP 0.03"
        assert await counted(slow, "SLOWLOG RESET") == (0, 0)  # from before the first attempt, and its number is not told
        assert await counted(slow) == (1, 1)
        assert await counted(slow, "SLOWLOG RESET") == (0, 1)  # seen by nobody, and its number is told by the next
        assert await counted(slow) == (1, 3)
        assert await counted(slow, slow, slow) == (2, 6)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        assert await counted() == (0, 6)
        assert await counted(slow) == (1, 7)


@pytest.mark.parametrize(
    ("answers", "part"),
    [
        ((b":3\r\n", NEWEST, b"*0\r\n"), None),
        ((b":0\r\n", b"*0\r\n", b"*0\r\n"), None),
        ((b":1\r\n", b"*0\r\n", b"*0\r\n"), None),  # emptied in between
        ((b"-NOPERM no\r\n",), "auth"),
        ((b":3\r\n", b"-NOPERM no\r\n"), "auth"),
        ((b"+OK\r\n", NEWEST), "malformed"),
        ((b":3\r\n", b"+OK\r\n"), "malformed"),
        ((b":3\r\n", b"*1\r\n*1\r\n:-1\r\n"), "malformed"),
        ((b":3\r\n", b"*2\r\n*1\r\n:1\r\n*1\r\n:1\r\n"), "malformed"),
        ((b":3\r\n", NEWEST, b"+OK\r\n"), "malformed"),
        ((b":3\r\n", NEWEST, b"*1\r\n*1\r\n:1\r\n"), "malformed"),
        ((b":3\r\n", NEWEST, b"*1\r\n*4\r\n" + bulk(b"a b") + b":1\r\n:1\r\n:1\r\n"), "malformed"),
        ((b":3\r\n", NEWEST, b"*1\r\n*5\r\n" + bulk(b"fork") + b":1\r\n:1\r\n:1\r\n:9\r\n"), None),
    ],
)
async def test_a_slow_log_that_cannot_be_read_fails_its_part_alone(
    answers: Any, part: str | None, shared: SharedClients
) -> None:
    async with serving(answering(b"+PONG\r\n", bulk(b"role:master\r\n"), *answers)) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port, slow_commands=True))
    assert outcome.verdict is Verdict.UP
    why = outcome.parts["slow"]
    assert (why.reason.value if why else None) == part


@pytest.mark.parametrize("prefix", ["", "with space", "{tag}", "x" * 201])
def test_a_prefix_that_would_not_do_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError):
        RedisSettings.model_validate({"canary": {"prefix": prefix}})


NODES = b"".join(b"%040d 10.0.0.1:6379@16379 master,fail - 0 0 %d connected\n" % (n, n) for n in range(100_000))


@pytest.mark.parametrize(
    ("answers", "part", "expected"),
    [
        ((OF_CLUSTER, bulk(b"cluster_state:ok\r\n"), bulk(NODES)), "cluster", "too_large"),
        ((bulk(b"role:master\r\n"), b"*1\r\n" * 100_000), "slow", "protocol"),
        ((bulk(b"role:master\r\n"), b":1\r\n", b"*100000\r\n"), "slow", "protocol"),
        ((bulk(b"role:master\r\n"), b":1\r\n", NEWEST, b"*5000\r\n" + b"*5000\r\n" * 5000), "slow", "protocol"),
        ((bulk(b"role:master\r\nused_memory:nan\r\n"), b":0\r\n", b"*0\r\n", b"*0\r\n"), "info", "malformed"),
        ((bulk(b"used_memory:" + b"9" * 400 + b"\r\n"), b":0\r\n", b"*0\r\n", b"*0\r\n"), "info", "malformed"),
    ],
    ids=["nodes", "deep", "long", "wide", "nan", "huge"],
)
async def test_answers_without_measure_fail_their_part_alone(
    answers: Any, part: str, expected: str, shared: SharedClients
) -> None:
    async with serving(answering(b"+PONG\r\n", *answers)) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port, slow_commands=True))
    assert outcome.verdict is Verdict.UP
    failed = {name: why.reason.value for name, why in outcome.parts.items() if why is not None}
    assert failed[part] == expected
    assert sum(map(len, outcome.samples.values())) < 20
