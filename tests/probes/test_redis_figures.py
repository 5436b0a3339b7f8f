"""Every figure of the redis probe beside what the server tells a person before and after the attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

from exporter.demo.servers.base import Server
from exporter.demo.servers.valkey import ValkeyServer
from exporter.metrics.family import Family
from exporter.probing.probe import SharedClients
from exporter.redis import families as r
from tests.fixtures.valkeys import SentinelServer, client, form, order, replica_of
from tests.probes.doing import attempt, make
from tests.waiting import eventually

Samples = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Told:
    """What a server tells a person: each as redis-py reads it, and empty where it is of another kind."""

    info: Mapping[str, Any]
    cluster: Mapping[str, str]
    nodes: Mapping[str, Any]
    masters: Mapping[str, Any]
    replicas: Mapping[str, Any]
    usable: str
    slow: int | None
    events: list[Any]


Figure = Callable[[Told], Samples]


def field(name: str, *labels: str) -> Figure:
    return lambda told: {labels: float(told.info[name])} if float(told.info.get(name, -1)) >= 0 else {}


def scaled(name: str, scale: float) -> Figure:
    return lambda told: {(): told.info[name] * scale} if name in told.info else {}


def version(told: Told) -> Samples:
    server = "valkey" if "valkey_version" in told.info else "redis"
    return {(server, told.info[f"{server}_version"]): 1}


def fields(names: Mapping[str, str]) -> Figure:
    return lambda told: {(label,): float(told.info[name]) for name, label in names.items() if name in told.info}


def databases(name: str) -> Figure:
    return lambda told: {(db[2:],): each[name] for db, each in told.info.items() if db[:2] == "db" and db[2:].isdigit()}


def errors(told: Told) -> Samples:
    stats: dict[tuple[str, ...], float] = {
        (name.removeprefix("errorstat_"),): each["count"] for name, each in told.info.items() if "errorstat_" in name
    }
    total = told.info.get("total_error_replies")
    return {} if total is None else {**stats, ("other",): total - sum(stats.values())}


def persistence(told: Told) -> Samples:
    states = {"rdb_save": "rdb_last_bgsave_status"}
    if told.info.get("aof_enabled"):
        states |= {"aof_write": "aof_last_write_status", "aof_rewrite": "aof_last_bgrewrite_status"}
    return {(name,): told.info[field] == "ok" for name, field in states.items() if field in told.info}


def following(value: Callable[[Any, Told], float]) -> Figure:
    def samples(told: Told) -> Samples:
        replicas = (each for name, each in told.info.items() if name.startswith("slave") and name[5:].isdigit())
        return {(f"{each['ip']}:{each['port']}",): value(each, told) for each in replicas}

    return samples


def offset(told: Told) -> Samples:
    name = "slave_repl_offset" if told.info.get("role") == "slave" else "master_repl_offset"
    return field(name)(told)


def of_cluster(name: str, *labels: str) -> Figure:
    return lambda told: {labels: float(told.cluster[name])} if told.cluster else {}


def slots(told: Told) -> Samples:
    states = ("ok", "pfail", "fail")
    assigned = 16384 - int(told.cluster.get("cluster_slots_assigned", 0))
    found: dict[tuple[str, ...], float] = {
        (state,): float(told.cluster[f"cluster_slots_{state}"]) for state in states if told.cluster
    }
    return {**found, ("unassigned",): assigned} if found else {}


def failed(told: Told) -> Samples:
    flags = [each["flags"].split(",") for each in told.nodes.values()]
    return (
        {("fail",): sum("fail" in each for each in flags), ("pfail",): sum("fail?" in each for each in flags)}
        if flags
        else {}
    )


def of_master(value: Callable[[Any, Told], float], *labels: str) -> Figure:
    return lambda told: {(name, *labels): value(each, told) for name, each in told.masters.items()}


def several(*figures: Figure) -> Figure:
    return lambda told: {labels: value for figure in figures for labels, value in figure(told).items()}


def event(index: int, scale: float) -> Figure:
    return lambda told: {(each[0],): each[index] * scale for each in told.events}


FIGURES: Mapping[Family, Figure] = {
    r.MEMORY_USED: field("used_memory"),
    r.MEMORY_MAX: field("maxmemory"),
    r.POLICY: lambda told: {(told.info["maxmemory_policy"],): 1} if "maxmemory_policy" in told.info else {},
    r.MEMORY_RSS: field("used_memory_rss"),
    r.MEMORY_PEAK: field("used_memory_peak"),
    r.MEMORY_CLIENTS: fields({"mem_clients_normal": "normal", "mem_clients_slaves": "replica"}),
    r.FRAGMENTATION: field("mem_fragmentation_ratio"),
    r.CLIENTS: field("connected_clients"),
    r.BLOCKED: field("blocked_clients"),
    r.MAX_CLIENTS: field("maxclients"),
    r.EVICTED: field("evicted_keys"),
    r.REJECTED: field("rejected_connections"),
    r.CONNECTIONS: field("total_connections_received"),
    r.COMMANDS: field("total_commands_processed"),
    r.ERRORS: errors,
    r.NETWORK: fields({"total_net_input_bytes": "input", "total_net_output_bytes": "output"}),
    r.DATABASES: lambda told: {(): len(databases("keys")(told))} if told.slow is not None else {},
    r.KEYS: databases("keys"),
    r.EXPIRING: databases("expires"),
    r.EXPIRED: field("expired_keys"),
    r.HITS: field("keyspace_hits"),
    r.MISSES: field("keyspace_misses"),
    r.ROLE: lambda told: (
        {({"slave": "replica"}.get(told.info["role"], "master"),): 1} if told.info.get("role") in ("master", "slave") else {}
    ),
    r.LINK_UP: lambda told: {(): told.info["master_link_status"] == "up"} if "master_link_status" in told.info else {},
    r.LINK_DOWN: field("master_link_down_since_seconds"),
    r.SYNCING: field("master_sync_in_progress"),
    r.MASTER_IO: field("master_last_io_seconds_ago"),
    r.OFFSET: offset,
    r.REPLICAS: field("connected_slaves"),
    r.REPLICA_ONLINE: following(lambda each, _: each["state"] == "online"),
    r.REPLICA_LAG: following(lambda each, _: each["lag"]),
    r.REPLICA_BEHIND: following(lambda each, told: told.info["master_repl_offset"] - each["offset"]),
    r.SYNCS: fields({"sync_full": "full", "sync_partial_ok": "partial", "sync_partial_err": "refused"}),
    r.UPTIME: field("uptime_in_seconds"),
    r.VERSION: version,
    r.CPU: fields({"used_cpu_user": "user", "used_cpu_sys": "system"}),
    r.LOADING: field("loading"),
    r.SAVE_TOOK: field("rdb_last_bgsave_time_sec"),
    r.FORK: scaled("latest_fork_usec", 1e-6),
    r.LAST_SAVE: field("rdb_last_save_time"),
    r.UNSAVED: field("rdb_changes_since_last_save"),
    r.PERSISTENCE: persistence,
    r.SLOW_LOG: lambda told: {(): told.slow} if told.slow is not None else {},
    r.SLOW_ADDED: lambda told: {(): 0} if told.slow is not None else {},
    r.LATENCY: event(2, 0.001),
    r.LATENCY_LONGEST: event(3, 0.001),
    r.LATENCY_AT: event(1, 1),
    r.CLUSTER_OK: lambda told: {(): told.cluster["cluster_state"] == "ok"} if told.cluster else {},
    r.CLUSTER_SLOTS: slots,
    r.CLUSTER_NODES: of_cluster("cluster_known_nodes"),
    r.CLUSTER_FAILED: failed,
    r.CLUSTER_SIZE: of_cluster("cluster_size"),
    r.SENTINEL_ADDRESS: lambda told: {(name, f"{m['ip']}:{m['port']}"): 1 for name, m in told.masters.items()},
    r.SENTINEL_UP: of_master(lambda each, _: not each["is_sdown"] and not each["is_odown"]),
    r.SENTINEL_FAILOVER: of_master(lambda each, _: "failover_in_progress" in each["flags"]),
    r.SENTINEL_REPLICAS: several(
        of_master(lambda each, _: each["num-slaves"], "known"),
        of_master(lambda _, told: sum(s["master-link-status"] == "ok" for s in told.replicas.values()), "ok"),
    ),
    r.SENTINEL_MASTERS: of_master(
        lambda each, told: sum(one["role-reported"] == "master" for one in (each, *told.replicas.values()))
    ),
    r.SENTINEL_SENTINELS: several(
        of_master(lambda each, _: each["num-other-sentinels"] + 1, "known"),
        of_master(lambda _, told: float(told.usable.split()[1]), "usable"),
    ),
    r.SENTINEL_QUORUM: of_master(lambda each, _: each["quorum"]),
    r.SENTINEL_QUORUM_OK: of_master(lambda _, told: told.usable.startswith("OK")),
}

ELSEWHERE = frozenset({r.HIT_RATIO, r.LOADING_LEFT, r.CANARY, r.CANARY_TOOK})
"""No server tells these, or it tells them for a moment only: they have tests of their own."""

SLACK: Mapping[Family, float] = {
    r.MEMORY_USED: 0.2, r.MEMORY_RSS: 0.2, r.FRAGMENTATION: 0.5,
}  # fmt: skip
"""How far a figure may lie outside of what was told before and after, as a share: an attempt itself moves them."""

CLIENT_BYTES = 65_536
"""The same of memory for clients: who asks is one, and is counted or not, as the server comes to look."""


async def quorum(person: redis.Redis) -> str:
    """Return what a Sentinel says of its quorum: an error where it is not reached, as with the only one of two."""
    with pytest.raises(redis.ResponseError) as caught:
        await order(person, "SENTINEL CKQUORUM", "main")
    return str(caught.value)


async def ask(server: Server) -> Told:
    async with client(server) as person:
        info = await person.info()
        clustered, watches = (
            info.get("cluster_enabled") == 1,
            "sentinel" in (info.get("redis_mode"), info.get("server_mode")),
        )
        return Told(
            info=info,
            cluster=await order(person, "CLUSTER INFO") if clustered else {},
            nodes=await order(person, "CLUSTER NODES") if clustered else {},
            masters=(masters := await order(person, "SENTINEL MASTERS") if watches else {}),
            replicas={
                f"{each['ip']}:{each['port']}": each
                for name in masters
                for each in await order(person, "SENTINEL SLAVES", name)
            },
            usable=await quorum(person) if watches else "",
            slow=None if watches else await order(person, "SLOWLOG LEN"),
            events=[] if watches else await order(person, "LATENCY LATEST"),
        )


async def compare(server: Server, shared: SharedClients) -> set[Family]:
    """Compare every figure of a server; return the families that it had."""
    before = await ask(server)
    outcome = await attempt(make("redis", shared, server.host, server.port, slow_commands=True))
    after = await ask(server)
    assert all(why is None for why in outcome.parts.values())
    for family, figure in FIGURES.items():
        samples = outcome.samples.get(family, {})
        low, high = figure(before), figure(after)
        assert samples.keys() == high.keys(), family.name
        for labels, seen in samples.items():
            least, most = sorted((low.get(labels, 0.0), high[labels]))
            slack, more = SLACK.get(family, 0.0), CLIENT_BYTES if family is r.MEMORY_CLIENTS else 1e-9
            assert least * (1 - slack) - more <= seen <= most * (1 + slack) + more, (family.name, labels)
    assert outcome.samples.keys() - FIGURES.keys() <= ELSEWHERE | set(outcome.samples.keys() - set(r.FAMILIES))
    return set(outcome.samples) & FIGURES.keys()


def test_every_family_has_a_row() -> None:
    assert set(r.FAMILIES) == FIGURES.keys() | ELSEWHERE
    assert FIGURES.keys().isdisjoint(ELSEWHERE)


async def busy(server: ValkeyServer) -> None:
    """Give a server something of everything to tell of."""
    async with client(server) as person, client(server, db=5) as elsewhere:
        await order(person, "CONFIG SET", "latency-monitor-threshold", 1)
        await order(person, "CONFIG SET", "slowlog-log-slower-than", 1000)
        await person.mset({"a": "1", "b": "x"})
        await elsewhere.set("c", "1", ex=600)
        await person.get("a")
        await person.get("none")
        await asyncio.gather(order(person, "INCR", "b"), return_exceptions=True)
        await order(person, "EVAL", "local n = 0 for i = 1, 3000000 do n = n + i end return n", 0)


async def test_every_figure_is_what_the_server_tells(
    own_valkey: ValkeyServer, own_nodes: tuple[ValkeyServer, ...], shared: SharedClients, tmp_path: Path
) -> None:
    await busy(own_valkey)
    await form(own_nodes)
    with (
        replica_of(own_valkey, tmp_path / "replica", "--appendonly", "yes") as replica,
        SentinelServer(tmp_path / "sentinel", own_valkey, 2) as sentinel,
    ):

        async def watched() -> bool:
            told = await ask(replica)
            replicas = (await ask(sentinel)).replicas.values()
            return told.info.get("master_link_status") == "up" and [s["master-link-status"] for s in replicas] == ["ok"]

        await eventually(watched, 40, "a replica that its Sentinel has seen linked")
        await eventually(lambda: online(own_valkey), 10, "a replica that is online")
        seen = set[Family]()
        for server in (own_valkey, replica, sentinel, own_nodes[0]):
            seen |= await compare(server, shared)
        await asyncio.to_thread(own_valkey.stop)
        await eventually(lambda: is_cut_off(replica), 10, "a replica without its master")
        seen |= await compare(replica, shared)
    assert seen == FIGURES.keys()


async def online(server: Server) -> bool:
    return [*following(lambda each, _: each["state"] == "online")(await ask(server)).values()] == [True]


async def is_cut_off(server: Server) -> bool:
    return bool((await ask(server)).info["master_link_status"] == "down")


def test_every_family_is_compared() -> None:
    assert FIGURES.keys() | ELSEWHERE == set(r.FAMILIES)
    assert not FIGURES.keys() & ELSEWHERE
