"""What a bootstrap may have the prober do by naming brokers: nothing but ask what is beside the bootstrap addresses."""

from __future__ import annotations

import pytest

from exporter.kafka import families as kafka
from exporter.net import referrals
from exporter.probing.probe import SharedClients
from exporter.probing.runner import run_probe
from exporter.verdict import Reason, Stage, Verdict
from tests.clients.kafka.asking import once, part, probe_of, values
from tests.clients.kafka.brokers import API, FakeCluster, FakeGroup, FakePartition
from tests.net.servers import serve_raw
from tests.probes.doing import silence


def sending() -> FakeCluster:
    """A cluster whose second broker, which leads a partition, is said to be elsewhere."""
    topics = {"orders": {0: FakePartition(100), 1: FakePartition(200, leader=2)}}
    return FakeCluster(topics=topics, groups={"billing": FakeGroup({("orders", 0): 90})})


async def test_a_broker_that_may_not_be_asked_is_told_and_costs_its_partitions_only(shared: SharedClients) -> None:
    """Neither up nor down: nothing is known of it."""
    cluster = sending()
    async with cluster.running():
        cluster.nodes[2] = ("169.254.169.254", 80)
        outcome = await once(shared, cluster.port())
    assert outcome.verdict is Verdict.UP
    assert part(outcome, "groups") == part(outcome, "offsets") == (Stage.CONNECT, Reason.NOT_ALLOWED)
    for name in ("groups", "offsets"):
        failed = outcome.parts[name]
        assert failed is not None
        assert failed.detail.startswith("broker 2 at 169.254.169.254:80: nobody is sent to a link-local, ")
    assert values(outcome, kafka.PARTITION_ERROR) == {("orders", "1", "not_allowed"): 1}
    assert values(outcome, kafka.LAG) == {("billing", "orders", "0"): 10}
    assert values(outcome, kafka.BROKER_UP) == {("1",): 1}
    assert values(outcome, kafka.BROKERS) == {(): 2}


async def test_two_hundred_addresses_are_no_scan_and_get_no_password(
    shared: SharedClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who listens and who does not come out the same, and nobody is connected to; of the loopback as of any address.

    The bootstrap's own address is configured, and so asked whatever it is; it is taken to be on another network.
    """

    def learn_nothing(self: referrals.Referrals, _: object) -> None:
        self._private = True

    monkeypatch.setattr(referrals.Referrals, "learn", learn_nothing)
    cluster = sending()
    cluster.users = {"prober": "s3cr3t"}
    security = {"protocol": "SASL_PLAINTEXT", "user": "prober", "password": "s3cr3t"}
    async with cluster.running(), serve_raw(silence) as listening:
        for node in range(2, 100):
            cluster.nodes[node] = ("127.0.0.1", listening.port)
            cluster.nodes[node + 100] = ("127.0.0.1", 1 + node)
        outcome = await once(shared, cluster.port(), security=security)
    assert outcome.verdict is Verdict.UP
    assert listening.connections == 0
    failed = outcome.parts["groups"]
    assert failed is not None
    assert failed.reason is Reason.NOT_ALLOWED
    assert failed.detail.endswith("(and 195 more)")
    assert values(outcome, kafka.BROKER_UP) == {("1",): 1}


async def test_advertised_brokers_are_asked(shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the configuration names them."""
    asked: list[str] = []

    async def resolve(host: str, *, fresh: bool = False) -> tuple[str, ...]:
        asked.append(host)
        return ("127.0.0.1",)

    cluster = sending()
    async with cluster.running(nodes=2):
        port = cluster.port(2)
        cluster.nodes[2] = ("b-2.brokers.example.net", port)
        monkeypatch.setattr(shared.resolver, "resolve", resolve)
        probe = probe_of(shared, cluster.port())
        unknown = await run_probe(probe, 5.0)
        await probe.close()
        probe = probe_of(shared, cluster.port(), advertised=["brokers.example.net"])
        known = await run_probe(probe, 5.0)
        await probe.close()
    assert part(unknown, "groups") is None  # by its address, on the loopback as the bootstrap is
    assert part(known, "groups") is None
    assert cluster.asked[2, API.LIST] == 2
    assert asked == ["b-2.brokers.example.net"] * 2


@pytest.mark.parametrize("advertised", [["http://kafka"], ["169.254.0.0/16"], ["10.0.0.0/33"]])
async def test_what_cannot_be_advertised_is_refused(shared: SharedClients, advertised: list[str]) -> None:
    with pytest.raises(ValueError, match=r"advertised"):
        probe_of(shared, 9092, advertised=advertised)
