"""Where a server may send the prober on to: beside what is configured, and never to what is nobody's business."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from exporter.net.dial import dial
from exporter.net.phases import NoPhases
from exporter.net.referrals import Referrals, check_allowed, search_domains
from exporter.net.resolver import Resolver
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage, Verdict
from tests.net.servers import Served, serve_raw
from tests.probes.doing import silence

CLUSTER = ("hafnium.svc.cluster.local", "svc.cluster.local", "cluster.local")
PUBLIC, PRIVATE = "93.184.216.34", "10.20.30.40"


def from_there(*hosts: str, at: str = PRIVATE, allowed: tuple[str, ...] = (), search: tuple[str, ...] = ()) -> Referrals:
    """What follows from configured hosts, whose names have one address."""
    referrals = Referrals(allowed, search)
    referrals.start_from([Address(host, 9092) for host in hosts])
    referrals.learn([at])
    return referrals


def why(referrals: Referrals, host: str, *found: str, port: int = 9092) -> str:
    """Why a referral is not followed; empty where it is."""
    try:
        referrals.admitted(Address(host, port), found or (host,))
    except Failure as failure:
        return f"{failure.stage} {failure.verdict} {failure.reason}: {failure.detail}"
    return ""


@pytest.mark.parametrize(
    ("configured", "search", "named"),
    [
        ("kafka-bootstrap.example.com", (), "kafka-1.example.com"),
        ("kafka.eu.example.com", (), "b1.brokers.eu.example.com."),
        ("KAFKA.Example.com.", (), "kafka-1.example.COM"),
        ("example.com", (), "kafka-1.example.com"),
        ("kafka", (), "kafka-1"),
        ("kafka", CLUSTER, "kafka-0.kafka-headless.hafnium.svc.cluster.local"),
        ("kafka", CLUSTER, "kafka-0.kafka-headless.hafnium.svc"),
        ("kafka.hafnium", CLUSTER, "kafka-0.kafka-headless.hafnium.svc.cluster.local"),
        ("kafka.data.svc", CLUSTER, "kafka-0.kafka-headless.data.svc.cluster.local"),
        ("kafka.data.svc.cluster.local", CLUSTER, "kafka-0.kafka-headless.data.svc"),
        ("kafka.lan", (), "kafka-1.lan"),
    ],
)
def test_names_beside_a_configured_one_are_followed(configured: str, search: tuple[str, ...], named: str) -> None:
    """Into whatever network, if it is one of the kind that the configured address is in."""
    assert why(from_there(configured, search=search), named, "172.20.1.1") == ""
    assert why(from_there(configured, search=search, at=PUBLIC), named, "8.8.8.8") == ""


@pytest.mark.parametrize(
    ("configured", "search", "named"),
    [
        ("kafka.example.com", (), "kafka.example.org"),
        ("kafka.example.com", (), "badexample.com"),
        ("example.com", (), "evil.com"),
        ("shop.co.uk", (), "evil.co.uk"),
        ("kafka.example.com", (), "intranet"),
        ("kafka", CLUSTER, "kafka-0.kafka.other.svc.cluster.local"),
        ("kafka", CLUSTER, "x.evil.com"),
        ("kafka.dev.svc.cluster.local", CLUSTER, "evil.dev"),
        ("localhost", CLUSTER, "api.hafnium.svc.cluster.local"),
        ("10.20.30.40", CLUSTER, "api.hafnium.svc.cluster.local"),
    ],
)
def test_other_names_are_not(configured: str, search: tuple[str, ...], named: str) -> None:
    referrals = from_there(configured, search=search)
    assert "neither in the domain nor in a network" in why(referrals, named, "172.20.1.1")
    assert not referrals.knows(named)


@pytest.mark.parametrize(
    ("at", "found", "follows"),
    [
        ("10.20.30.40", "10.20.99.1", True),
        ("10.20.30.40", "10.21.0.1", False),
        ("10.20.30.40", "::ffff:10.20.1.1", True),
        ("10.20.30.40", "8.8.8.8", False),
        (PUBLIC, "93.184.216.99", True),
        (PUBLIC, "93.184.217.1", False),
        (PUBLIC, "10.0.0.1", False),
        ("fd12:3456:789a::1", "fd12:3456:789a:77::1", True),
        ("fd12:3456:789a::1", "fd12:3456:789b::1", False),
        ("2a00:1450:4001:82a::1", "2a00:1450:4001:82a::99", True),
        ("2a00:1450:4001:82a::1", "2a00:1450:4001:82b::1", False),
    ],
)
def test_an_address_is_followed_within_the_network_of_a_configured_one(at: str, found: str, follows: bool) -> None:
    """Also where its name says nothing."""
    for host in (found, "elsewhere.example.org"):
        assert (why(from_there("kafka.example.com", at=at), host, found) == "") is follows


NEVER = [
    "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "0.0.0.0",
    "::", "0.1.2.3", "224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255", "fd00:ec2::254", "100.100.100.200",
    "168.63.129.16", "2002:a9fe:a9fe::1",
]  # fmt: skip


@pytest.mark.parametrize("address", NEVER)
def test_nobody_is_sent_to_where_a_machine_finds_its_credentials(address: str) -> None:
    """Whatever it is called, whoever is configured, and whatever is allowed."""
    for referrals in (
        from_there("kafka.example.com", allowed=("0.0.0.0/0", "::/0", "example.com")),
        from_there("127.0.0.1", at="127.0.0.1"),
        from_there("169.254.1.1", at="169.254.1.1"),
    ):
        assert "link-local" in why(referrals, "kafka-1.example.com", address)
        assert "link-local" in why(referrals, address)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_the_loopback_is_for_whom_is_on_it(address: str) -> None:
    assert "loopback" in why(from_there("kafka.example.com"), "kafka-1.example.com", address)
    assert "loopback" in why(from_there("kafka.example.com", allowed=("example.com",)), "kafka-1.example.com", address)
    assert why(from_there("localhost", at="127.0.0.1"), address, port=29092) == ""
    assert why(from_there("::1", at="::1"), address) == ""
    assert why(from_there("kafka.example.com", allowed=("127.0.0.0/8", "::1")), address) == ""


def test_a_public_server_sends_nobody_into_a_private_network() -> None:
    """Its owner may have names of the same domain point anywhere."""
    assert "public" in why(from_there("kafka.example.com", at=PUBLIC), "kafka-1.example.com", PRIVATE)
    assert why(from_there("kafka.example.com", at=PUBLIC, allowed=("example.com",)), "kafka-1.example.com", PRIVATE) == ""


def test_it_is_the_prober_that_may_not() -> None:
    """Nothing is known of the server."""
    told = why(from_there("kafka.example.com"), "169.254.169.254")
    assert told.startswith(f"{Stage.CONNECT} {Verdict.UNKNOWN} {Reason.NOT_ALLOWED}: nobody is sent to ")


def test_of_several_addresses_those_are_left_that_may_be_connected_to() -> None:
    referrals = from_there("kafka.example.com")
    found = ("127.0.0.1", "169.254.169.254", "10.20.1.1")
    assert referrals.admitted(Address("kafka-1.example.com", 9092), found) == ("10.20.1.1",)


def test_ports_of_other_services_are_not_knocked_on() -> None:
    referrals = from_there("kafka.example.com")
    assert "port is below 1024" in why(referrals, "10.20.1.1", port=22)
    behind_a_router = Referrals(search=())
    behind_a_router.start_from([Address("kafka.example.com", 443)])
    assert why(behind_a_router, "kafka-1.example.com", "8.8.8.8", port=443) == ""
    assert (
        why(from_there("kafka.example.com", allowed=("brokers.example.net",)), "b.brokers.example.net", PUBLIC, port=443)
        == ""
    )


@pytest.mark.parametrize(
    ("allowed", "host", "found"),
    [
        ("brokers.example.net", "b-1.brokers.example.net", "192.168.7.7"),
        ("*.brokers.example.net", "b-1.brokers.example.net", "192.168.7.7"),
        ("brokers.example.net", "brokers.example.net", "8.8.8.8"),
        ("192.168.7.0/24", "anything.example.org", "192.168.7.7"),
        ("192.168.7.7", "192.168.7.7", "192.168.7.7"),
    ],
)
def test_more_is_followed_where_the_configuration_says_so(allowed: str, host: str, found: str) -> None:
    assert why(from_there("kafka.example.com"), host, found) != ""
    assert why(from_there("kafka.example.com", allowed=(allowed,)), host, found) == ""


@pytest.mark.parametrize(
    "entry", ["", "http://x", "10.0.0.0/40", "a b", "x/24", "169.254.0.0/16", "fe80::/10", "224.0.0.0/4"]
)
def test_what_cannot_be_allowed_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"expected a DNS name|nobody is sent"):
        check_allowed(entry)


def test_what_was_configured_before_counts_no_more() -> None:
    referrals = from_there("kafka.example.com")
    referrals.start_from([Address("kafka.example.org", 9092)])
    assert why(referrals, "kafka-1.example.com", "10.20.1.1") != ""
    assert not referrals.is_configured(Address("kafka.example.com", 9092))


def test_search_domains_are_the_last_that_the_system_names(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    assert search_domains(file) == ()
    file.write_text("nameserver 10.0.0.10\ndomain old.example\nsearch A.example. b.example !\noptions ndots:5\n")
    assert search_domains(file) == ("a.example", "b.example")


async def test_what_may_not_be_followed_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked at is what is connected to; whether an unknown name exists is not told."""
    resolver = Resolver()
    referrals = from_there("kafka.example.com")
    answers: dict[str, tuple[str, ...]] = {"kafka-1.example.com": ("127.0.0.1",)}

    async def resolve(host: str, *, fresh: bool = False) -> tuple[str, ...]:
        if host not in answers:
            raise Failure(Stage.RESOLVE, Reason.DNS_NOT_FOUND, f"{host} does not exist")
        return answers[host]

    monkeypatch.setattr(resolver, "resolve", resolve)

    async def tried(host: str, served: Served) -> Reason:
        with pytest.raises(Failure) as caught:
            await dial(asyncio.Protocol, Address(host, served.port), resolver, NoPhases(), referrals)
        return caught.value.reason

    async with serve_raw(silence) as served:
        for host in ("127.0.0.1", "kafka-1.example.com", "evil.example.org"):
            assert await tried(host, served) is Reason.NOT_ALLOWED
        assert await tried("kafka-2.example.com", served) is Reason.DNS_NOT_FOUND
    assert served.connections == 0
    await resolver.close()
