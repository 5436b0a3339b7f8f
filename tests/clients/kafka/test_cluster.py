"""A cluster read in one call, apart from any probe: what a reading holds, its budgets of time, and its connections."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exporter.clients.kafka import sasl
from exporter.clients.kafka.cluster import Cluster, Reading, Selection
from exporter.clients.kafka.connection import Access, BrokerConnection
from exporter.clients.kafka.errors import PartitionErrorReason
from exporter.clients.kafka.layout import Partition
from exporter.clients.kafka.pool import BrokerPool
from exporter.clients.kafka.requests import ListGroupsRequest, MetadataRequest
from exporter.kafka import families as kafka
from exporter.net.phases import NoPhases
from exporter.net.tls import LOOK_SECONDS
from exporter.probing.attempt import MAX_SERIES
from exporter.probing.probe import SharedClients
from exporter.probing.runner import run_probe
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage, Verdict
from tests.clients.kafka.asking import failure, part, probe_of, why
from tests.clients.kafka.brokers import API, FakeCluster, FakeGroup, FakePartition
from tests.net.servers import Certificates

EVERYTHING = Selection(
    groups=lambda _: True, topics=lambda _: True, beginnings=lambda topic: topic.endswith("-dlt"), max_partitions=50_000
)


def fake() -> FakeCluster:
    """Orders on two brokers, a group on the second, a dead letter."""
    return FakeCluster(
        topics={
            "orders": {0: FakePartition(100), 1: FakePartition(200, leader=2)},
            "orders-dlt": {0: FakePartition(9, beginning=2)},
        },
        groups={"billing": FakeGroup({("orders", 0): 90, ("orders", 1): 150}, coordinator=2)},
    )


async def no_password() -> str:
    """Nobody logs in."""
    raise AssertionError("asked for a password")


def replace_file(file: Path, content: bytes) -> None:
    """As a rotation does: the new file takes the name of the old one."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.rename(file)


@asynccontextmanager
async def cluster_at(shared: SharedClients, *ports: int) -> AsyncIterator[Cluster]:
    """A client, closed at the end."""

    cluster = Cluster([Address("127.0.0.1", port) for port in ports], Access(shared.resolver, no_password))
    try:
        yield cluster
    finally:
        cluster.close()
        await asyncio.sleep(0)


async def read(cluster: Cluster, seconds: float = 5.0, selection: Selection = EVERYTHING) -> Reading:
    """Read it within so many seconds."""
    return await cluster.read(selection, asyncio.get_running_loop().time() + seconds, NoPhases())


async def test_a_reading_is_all_that_the_brokers_said(shared: SharedClients) -> None:
    """From both brokers, in one call; beginnings where they were wanted, or a group has commits."""
    brokers = fake()
    async with brokers.running(nodes=2), cluster_at(shared, brokers.port()) as cluster:
        reading = await read(cluster)
    assert set(reading.layout.brokers) == {1, 2}
    assert reading.layout.topics == {"orders": [0, 1], "orders-dlt": [0]}
    assert reading.ends == {"orders": {0: 100, 1: 200}, "orders-dlt": {0: 9}}
    assert reading.beginnings == {"orders": {0: 0, 1: 0}, "orders-dlt": {0: 2}}
    assert reading.stable == reading.ends
    billing = reading.groups["billing"]
    assert (billing.state, billing.members, billing.commits) == ("stable", 1, {"orders": {0: 90, 1: 150}})
    assert (reading.partition_errors, reading.failures) == ({}, {"groups": None, "offsets": None})
    assert reading.size == 3 + 3 + 3 + 2


async def test_commits_are_read_before_ends(shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all brokers: messages that come between the two make lag larger, never negative."""
    order: list[int] = []
    ask = BrokerConnection.ask

    async def noting(self: BrokerConnection, request: Any) -> Any:
        answer = await ask(self, request)
        order.append(request.API_KEY)
        return answer

    monkeypatch.setattr(BrokerConnection, "ask", noting)
    brokers = fake()
    async with brokers.running(nodes=2), cluster_at(shared, brokers.port()) as cluster:
        await read(cluster)
    last_commit = max(at for at, key in enumerate(order) if key == API.COMMITS)
    assert last_commit < order.index(API.OFFSETS)


@pytest.mark.parametrize("key", [API.COMMITS, API.OFFSETS])
async def test_a_reading_ends_by_its_deadline_with_what_others_said(shared: SharedClients, key: int) -> None:
    """A broker that hangs is told as a failure; the caller has time left to record the rest."""
    brokers = fake()
    brokers.hangs.add((2, key))
    async with brokers.running(nodes=2), cluster_at(shared, brokers.port()) as cluster:
        now = asyncio.get_running_loop().time
        deadline = now() + 2.0
        reading = await cluster.read(EVERYTHING, deadline, NoPhases())
        assert now() < deadline
        assert not cluster.is_connected(Address("127.0.0.1", brokers.port(2)))
    assert reading.ends == {"orders": {0: 100}, "orders-dlt": {0: 9}}
    assert reading.partition_errors == {Partition("orders", 1): PartitionErrorReason.TIMEOUT}
    assert reading.groups["billing"].state == "stable"  # said before it hung
    offsets = reading.failures["offsets"]
    assert isinstance(offsets, Failure)
    assert why(offsets) == (Stage.QUERY, Reason.TIMEOUT)


async def test_a_broker_is_not_asked_where_no_time_is_left(shared: SharedClients) -> None:
    """Its connection stays: nothing was asked on it."""
    brokers = fake()
    async with brokers.running():
        access, address = Access(shared.resolver, no_password), Address("127.0.0.1", brokers.port())
        access.referrals.start_from([address])
        pool = BrokerPool(access)
        broker = pool.broker(address, "broker 1")
        await broker.ask(MetadataRequest())
        late = await broker.within(asyncio.get_running_loop().time(), partial(broker.ask, ListGroupsRequest()))
        assert isinstance(late, Failure)
        assert (why(late), late.detail) == ((Stage.QUERY, Reason.TIMEOUT), "broker 1: no time was left to ask")
        assert broker.is_connected()
        assert brokers.asked[1, API.LIST] == 0
        pool.close()


async def test_a_connection_that_opens_after_the_end_is_closed(
    shared: SharedClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing while a broker is being connected to leaves no socket."""
    brokers = fake()
    made: list[BrokerConnection] = []
    connect = BrokerConnection.open
    async with brokers.running(), cluster_at(shared, brokers.port()) as cluster:

        async def late(*args: Any) -> BrokerConnection:
            made.append(await connect(*args))
            cluster.close()
            return made[-1]

        monkeypatch.setattr(BrokerConnection, "open", late)
        with pytest.raises(Failure, match="the probe is closed"):
            await read(cluster)
    assert [connection.alive for connection in made] == [False]


# Other bootstrap addresses.


async def test_other_bootstrap_addresses_leave_the_connections_to_brokers_that_live_on(shared: SharedClients) -> None:
    """One goes, another comes: no connection to the one that stays is lost, and nothing is asked of the one that went."""
    brokers = fake()
    async with brokers.running(nodes=3):
        third = brokers.nodes.pop(3)
        probe = probe_of(shared, brokers.port(1), brokers.port(2))
        assert (await run_probe(probe, 5.0)).verdict is Verdict.UP
        gone = brokers.nodes.pop(1)
        brokers.nodes[3] = third
        for partitions in brokers.topics.values():
            partitions[0].leader = 3
        target = replace(probe.target, addresses=(Address(*brokers.nodes[2]), Address(*third)))
        asked = brokers.asked.copy()
        assert probe.retarget(target)
        assert probe.target is target
        outcome = await run_probe(probe, 5.0)
        assert outcome.verdict is Verdict.UP
        assert dict(outcome.parts) == {"groups": None, "offsets": None}
        assert Stage.CONNECT not in outcome.phases  # metadata came over the connection to the second, which was kept
        assert brokers.connections(2) == 1
        assert not any(node == 1 for node, _ in brokers.asked - asked)
        assert not probe._cluster.is_connected(Address(*gone))
        await probe.close()


async def test_bootstrap_addresses_that_are_all_new_are_asked(shared: SharedClients) -> None:
    """A cluster that moved wholly is found at the next attempt."""
    old, new = fake(), fake()
    async with old.running(nodes=2), new.running(nodes=2):
        probe = probe_of(shared, old.port())
        await run_probe(probe, 5.0)
        new.topics["orders"][0].end = 5000
        probe.retarget(replace(probe.target, addresses=(Address("127.0.0.1", new.port()),)))
        outcome = await run_probe(probe, 5.0)
        await probe.close()
    assert outcome.samples[kafka.END_OFFSET]["orders", "0"] == 5000


# Certificates that are rotated.


async def test_rotated_roots_are_in_use_at_the_next_attempt(shared: SharedClients, tmp_path: Path) -> None:
    """Not only at the next connection: those kept from before are dropped. As long as files are the same they stay."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    trusted, other = map(Certificates, folders)
    roots = tmp_path / "ca.pem"
    roots.write_bytes(trusted.ca_file.read_bytes())
    brokers = fake()
    async with brokers.running(nodes=2, tls=trusted.server()):
        probe = probe_of(shared, brokers.port(), security={"protocol": "SSL", "tls": {"ca_file": str(roots)}})
        first, second = await run_probe(probe, 5.0), await run_probe(probe, 5.0)
        assert (first.verdict, second.verdict) == (Verdict.UP, Verdict.UP)
        assert (brokers.connections(1), brokers.connections(2)) == (1, 1)
        replace_file(roots, other.ca_file.read_bytes())
        await asyncio.sleep(LOOK_SECONDS)
        untrusted = await run_probe(probe, 5.0)
        assert failure(untrusted) == (Stage.TLS, Reason.TLS_UNTRUSTED)
        replace_file(roots, trusted.ca_file.read_bytes())
        await asyncio.sleep(LOOK_SECONDS)
        again = await run_probe(probe, 5.0)
        assert dict(again.parts) == {"groups": None, "offsets": None}
        await probe.close()


async def test_a_rotated_client_certificate_is_shown_to_every_broker(shared: SharedClients, tmp_path: Path) -> None:
    """Each broker sees the new one at the next attempt, once."""
    certificates = Certificates(tmp_path)
    shown: list[str] = []
    server = certificates.server(ask_client=True)
    own = certificates.client_pem()
    tls = {"ca_file": str(certificates.ca_file), "cert_file": str(own)}
    brokers = fake()
    brokers.on_peer = lambda peer: shown.append(str(peer["serialNumber"]))
    async with brokers.running(nodes=2, tls=server):
        probe = probe_of(shared, brokers.port(), security={"protocol": "SSL", "tls": tls})
        await run_probe(probe, 5.0)
        await run_probe(probe, 5.0)
        assert len(shown) == 2
        certificates.client_pem()  # writes another over it
        await asyncio.sleep(LOOK_SECONDS)
        outcome = await run_probe(probe, 5.0)
        await probe.close()
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    before, after = set(shown[:2]), set(shown[2:])
    assert (len(shown), len(before), len(after), before & after) == (4, 1, 1, set())


# The event loop.


@contextmanager
def beside(brokers: FakeCluster, nodes: int) -> Iterator[None]:
    """Brokers in a thread of their own, since what they compute is not to be measured."""
    up, over = threading.Event(), asyncio.Event()
    loop: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loop.append(asyncio.get_running_loop())
        async with brokers.running(nodes=nodes):
            up.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert up.wait(10)
        yield
    finally:
        loop[0].call_soon_threadsafe(over.set)
        thread.join(10)


async def longest_stretch(work: Coroutine[Any, Any, Any]) -> tuple[Any, float]:
    """The result, and the most CPU time that the loop's thread spent at a stretch, between two of its turns."""
    task = asyncio.create_task(work)
    longest, last = 0.0, time.thread_time()
    while not task.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    return await task, longest


async def test_a_large_cluster_does_not_hold_up_the_loop(shared: SharedClients) -> None:
    """18,000 partitions, nearly as many series as are taken: asked, decoded, reckoned and recorded in short stretches."""
    topics = {f"t{t}": {n: FakePartition(10, leader=1 + n % 2) for n in range(900)} for t in range(20)}
    commits = {(topic, n): 4 for topic in list(topics)[:1] for n in range(900)}
    brokers = FakeCluster(topics=topics, groups={f"g{n}": FakeGroup(commits, coordinator=1 + n % 2) for n in range(2)})
    with beside(brokers, 2):
        probe = probe_of(shared, brokers.port(), max_partitions=20_000)
        gc.collect()
        gc.disable()  # a collection of all that the test run has left is none of the probe's
        try:
            outcome, longest = await longest_stretch(run_probe(probe, 60.0))
        finally:
            gc.enable()
        await probe.close()
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    assert sum(map(len, outcome.samples.values())) > 19_000
    assert longest < 0.020


async def test_many_groups_do_not_hold_up_the_loop(shared: SharedClients) -> None:
    """180,000 commits, nine times the series that are taken here: all sums are recorded, and as much of the rest as fits."""
    topics = {f"t{t}": {n: FakePartition(10) for n in range(300)} for t in range(30)}
    commits = {(topic, n): 4 for topic in topics for n in range(300)}
    brokers = FakeCluster(topics=topics, groups={f"g{n}": FakeGroup(commits) for n in range(20)})
    with beside(brokers, 1):
        probe = probe_of(shared, brokers.port(), max_partitions=10_000, max_series=MAX_SERIES)
        gc.collect()
        gc.disable()
        try:
            outcome, longest = await longest_stretch(run_probe(probe, 60.0))
        finally:
            gc.enable()
        await probe.close()
    assert part(outcome, "groups") is None
    assert part(outcome, "offsets") == (Stage.CHECK, Reason.TOO_LARGE)
    assert sum(map(len, outcome.samples.values())) == MAX_SERIES
    assert len(outcome.samples[kafka.TOPIC_LAG]) == 20 * 30
    assert longest < 0.020


@pytest.mark.parametrize(("count", "commits", "faults"), [(2000, 50, 0), (110, 2000, 1000)])
async def test_very_many_groups_do_not_hold_up_the_loop(
    shared: SharedClients, count: int, commits: int, faults: int
) -> None:
    """Asked for whatever they have, many at a time: 2,000 groups, and few that have committed everywhere, some in vain."""
    topics = {f"t{t}": {n: FakePartition(10) for n in range(20)} for t in range(100)}
    partitions = [(topic, n) for topic, numbers in topics.items() for n in numbers]
    errors = dict.fromkeys(partitions[:faults], 29)
    groups = {
        f"g{n}": FakeGroup({partitions[(n + at) % 2000]: 4 for at in range(commits)}, faults=errors) for n in range(count)
    }
    brokers = FakeCluster(topics=topics, groups=groups, serves_all=True)
    with beside(brokers, 1):
        async with cluster_at(shared, brokers.port()) as cluster:
            gc.collect()
            gc.disable()
            try:
                reading, longest = await longest_stretch(read(cluster, 60.0))
            finally:
                gc.enable()
    assert (reading.failures["groups"] is None) is (not faults)
    read_of = sum(len(numbers) for group in reading.groups.values() for numbers in group.commits.values())
    assert read_of == count * (commits - faults)
    assert sum(len(group.partition_errors) for group in reading.groups.values()) == count * faults
    assert max(brokers.together) == 25
    assert longest < 0.020


async def test_a_login_does_not_hold_up_the_loop(shared: SharedClients) -> None:
    """Even with the most iterations that are computed."""
    brokers = fake()
    brokers.users, brokers.iterations = {"anna": "right"}, sasl.MAX_ITERATIONS
    security = {"protocol": "SASL_PLAINTEXT", "mechanism": "SCRAM-SHA-512", "user": "anna", "password": "right"}
    with beside(brokers, 2):
        probe = probe_of(shared, brokers.port(), security=security)
        outcome, longest = await longest_stretch(run_probe(probe, 30.0))
        await probe.close()
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    assert longest < 0.020
