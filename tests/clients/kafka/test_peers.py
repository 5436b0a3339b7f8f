"""The verdict on peers that hang, leave, lie, or are not Kafka; logins; connections that are kept."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiokafka.protocol.admin import ApiVersionRequest

from exporter.clients.kafka.connection import MAX_ANSWER_BYTES, BrokerConnection
from exporter.kafka import families as kafka
from exporter.probes.kafka import KafkaProbe, KafkaSettings
from exporter.probing.probe import SharedClients, Target
from exporter.probing.runner import run_probe
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage, Verdict
from tests.clients.kafka.asking import descriptors, failure, once, part, probe_of, values
from tests.clients.kafka.brokers import API, FakeCluster, FakeGroup, FakePartition
from tests.net.servers import Certificates, serve_raw


def small(**script: Any) -> FakeCluster:
    """One topic, one group."""
    return FakeCluster(
        topics={"orders": {0: FakePartition(10)}}, groups={"billing": FakeGroup({("orders", 0): 4})}, **script
    )


def frame(body: bytes) -> bytes:
    """A length and what it announces."""
    return len(body).to_bytes(4, "big", signed=True) + body


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ((MAX_ANSWER_BYTES + 1).to_bytes(4, "big"), Reason.TOO_LARGE),
        (b"\x7f\xff\xff\xff", Reason.PROTOCOL),
        (b"\xff\xff\xff\xff", Reason.PROTOCOL),
        (b"\0\0\0\0", Reason.PROTOCOL),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Reason.PROTOCOL),
        (frame(b"\0\0\0\x63" + bytes(40)), Reason.PROTOCOL),
        (frame(b"\0\0\0\x63" + bytes(40)) * 2, Reason.PROTOCOL),
        (frame(b"\0\0"), Reason.MALFORMED),
        (frame(b"\0\0\0\x02\0\0\0\0\0\xff\xff\xff\xff\x07"), Reason.MALFORMED),
        (frame(b"\0\0\0\x02" + b"\xff" * 9), Reason.MALFORMED),
        (frame(b"\0\0\0\x02\0\0\0\0\0\x02\0\0\0\x01\x03\xff\xfe\0\0\x23\x84\0\0"), Reason.MALFORMED),
    ],
    ids=["large", "huge", "negative", "empty", "http", "foreign", "twice", "short", "endless", "garbage", "not-utf8"],
)
async def test_an_answer_that_cannot_be_is_named(shared: SharedClients, raw: bytes, reason: Reason) -> None:
    """A hostile length reserves no memory, and nothing is logged or left open."""
    cluster = small(raw={(1, API.METADATA): raw})
    async with cluster.running():
        probe = probe_of(shared, cluster.port())
        outcome = await run_probe(probe, 5.0)
    assert failure(outcome) == (Stage.QUERY, reason)
    assert not outcome.samples


@pytest.mark.parametrize(
    "nodes", [{1: ("", 9092)}, {1: ("127.0.0.1", 0)}, {1: ("127.0.0.1", 70000)}, {1: ("x" * 300, 9092)}]
)
async def test_brokers_at_addresses_that_cannot_be_are_malformed(
    shared: SharedClients, nodes: dict[int, tuple[str, int]]
) -> None:
    """Nothing is asked of them."""
    cluster = small()
    async with cluster.running():
        cluster.nodes = nodes
        outcome = await run_probe(probe_of(shared, cluster.port()), 5.0)
    assert failure(outcome) == (Stage.CHECK, Reason.MALFORMED)


@pytest.mark.parametrize(
    "host", ["a\nb", "a\0b", "ü", "ü" * 70, "😀", "xn--\uffff", "\u202eabc", "a..b", ".", "-x", "a b", "[::1]", "127.1",
             "0x7f.1", "2130706433", "169.254.169.254", "fe80::1", "fe80::1%lo", "::ffff:169.254.169.254", "127.0.0.1 "]
)  # fmt: skip
async def test_brokers_of_odd_names_are_not_followed_and_no_defect(shared: SharedClients, host: str) -> None:
    """What a bootstrap says is foreign; whatever it names is told as what may not be asked."""
    cluster, unexpected = small(), list[str]()
    async with cluster.running():
        port = cluster.port()
        cluster.nodes = {1: (host, port)}
        outcome = await run_probe(probe_of(shared, port), 5.0, unexpected=lambda what, _: unexpected.append(what))
    assert unexpected == []
    found = outcome.parts["groups"]
    assert found is not None
    assert found.reason is Reason.NOT_ALLOWED


async def test_a_cluster_without_brokers_is_down_and_one_with_too_many_is_not_asked(shared: SharedClients) -> None:
    """None: it says so itself. A thousand: no cluster has them."""
    cluster = small()
    async with cluster.running():
        port = cluster.port()
        cluster.nodes = {}
        none = await run_probe(probe_of(shared, port), 5.0)
        cluster.nodes = dict.fromkeys(range(1000), ("127.0.0.1", 1))
        many = await run_probe(probe_of(shared, port), 5.0)
    assert failure(none) == (Stage.CHECK, Reason.REPORTED_DOWN)
    assert values(none, kafka.BROKERS) == {(): 0}
    assert failure(many) == (Stage.CHECK, Reason.TOO_LARGE)


@pytest.mark.parametrize(
    ("key", "stage"), [(API.VERSIONS, Stage.AUTH), (API.METADATA, Stage.QUERY)], ids=["versions", "metadata"]
)
async def test_hanging_and_leaving_are_told_apart(shared: SharedClients, key: int, stage: Stage) -> None:
    """By reason, in the stage it happened in."""
    cluster = small(hangs={(1, key)})
    async with cluster.running():
        hung = await run_probe(probe_of(shared, cluster.port()), 0.3)
        cluster.hangs, cluster.closes = set(), {(1, key)}
        left = await run_probe(probe_of(shared, cluster.port()), 5.0)
    assert failure(hung) == (stage, Reason.TIMEOUT)
    assert failure(left) == (stage, Reason.CONNECTION_CLOSED)


async def test_a_broker_that_speaks_no_common_version_is_down_by_protocol(shared: SharedClients) -> None:
    """Metadata decides, so its version does too; an error of the version request as well."""
    cluster = small()
    cluster.versions[API.METADATA] = (30, 31)
    async with cluster.running():
        newer = await run_probe(probe_of(shared, cluster.port()), 5.0)
        cluster.errors[1, API.VERSIONS] = 35
        refused = await run_probe(probe_of(shared, cluster.port()), 5.0)
    assert failure(newer) == (Stage.QUERY, Reason.PROTOCOL)
    assert newer.failure is not None
    assert newer.failure.detail == "Metadata: the broker speaks versions 30 to 31, the probe 1 to 10"
    assert failure(refused) == (Stage.AUTH, Reason.PROTOCOL)


async def test_names_are_resolved_and_missing_ones_are_down(shared: SharedClients) -> None:
    """By the shared resolver, as a phase of its own."""
    cluster = small()
    async with cluster.running():
        probe = probe_of(shared, cluster.port(), host="localhost")
        outcome = await run_probe(probe, 5.0)
        await probe.close()
    assert outcome.verdict is Verdict.UP
    assert set(outcome.phases) == {Stage.RESOLVE, Stage.CONNECT, Stage.AUTH, Stage.QUERY}


async def test_another_address_of_the_name_is_tried(shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first refuses, the second answers."""

    async def resolve(host: str, *, fresh: bool = False) -> tuple[str, ...]:
        return ("127.0.0.2", "127.0.0.1")

    monkeypatch.setattr(shared.resolver, "resolve", resolve)
    cluster = small()
    async with cluster.running():
        probe = probe_of(shared, cluster.port(), host="kafka.example")
        outcome = await run_probe(probe, 5.0)
        await probe.close()
    assert outcome.verdict is Verdict.UP


async def test_any_bootstrap_address_will_do(shared: SharedClients) -> None:
    """One refuses, one hangs, the third answers within the deadline; of failures, the one that got furthest is told."""
    cluster = small(hangs={(2, API.METADATA)})
    async with cluster.running(nodes=2):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            nobody = unused.getsockname()[1]
            cluster.nodes.pop(2)
            probe = probe_of(shared, nobody, cluster.port(2), cluster.port(1))
            outcome = await run_probe(probe, 2.0)
            await probe.close()
            none = await run_probe(probe_of(shared, cluster.port(2), nobody), 0.5)
    assert outcome.verdict is Verdict.UP
    assert failure(none) == (Stage.QUERY, Reason.TIMEOUT)
    assert none.failure is not None
    assert none.failure.detail.startswith("127.0.0.1:")


async def test_connections_are_kept_and_renewed_without_a_failure(shared: SharedClients) -> None:
    """A broker that closed a kept connection, as a restart does, is asked again at once."""
    cluster = small()
    async with cluster.running():
        probe = probe_of(shared, cluster.port())
        first, second = await run_probe(probe, 5.0), await run_probe(probe, 5.0)
        assert Stage.CONNECT in first.phases
        assert set(second.phases) == {Stage.QUERY}
        assert cluster.connections() == 1
        cluster.closes = {(1, API.METADATA)}
        closed = await run_probe(probe, 5.0)
        assert failure(closed) == (Stage.QUERY, Reason.CONNECTION_CLOSED)
        assert cluster.connections() == 2
        cluster.closes = set()
        assert (await run_probe(probe, 5.0)).verdict is Verdict.UP
        cluster.closes = {(1, API.LIST)}
        lost = await run_probe(probe, 5.0)
        assert (lost.verdict, part(lost, "groups")) == (Verdict.UP, (Stage.QUERY, Reason.CONNECTION_CLOSED))
        cluster.closes = set()
        assert dict((await run_probe(probe, 5.0)).parts) == {"groups": None, "offsets": None}
        await probe.close()


async def test_brokers_that_leave_the_cluster_are_let_go(shared: SharedClients) -> None:
    """Their connections are closed, not kept for ever."""
    cluster = small()
    cluster.topics["mail"] = {0: FakePartition(1, leader=2)}
    async with cluster.running(nodes=2):
        probe = probe_of(shared, cluster.port())
        await run_probe(probe, 5.0)
        gone = Address(*cluster.nodes.pop(2))
        assert probe._cluster.is_connected(gone)
        await run_probe(probe, 5.0)
        assert not probe._cluster.is_connected(gone)
        await probe.close()


async def test_two_nodes_at_one_address_share_a_connection(shared: SharedClients) -> None:
    """Asked side by side, they open one; none is left over."""
    cluster = small()
    cluster.topics["mail"] = {0: FakePartition(1, leader=2)}
    async with cluster.running(nodes=2):
        cluster.nodes = {1: cluster.nodes[2], 2: cluster.nodes[2], 3: cluster.nodes[2]}
        probe = probe_of(shared, cluster.port(1))
        before = descriptors()
        for _ in range(3):
            assert (await run_probe(probe, 5.0)).verdict is Verdict.UP
        await probe.close()
        assert cluster.connections(2) <= 3
    assert descriptors() <= before


async def test_cancelling_is_let_through_and_leaves_nothing(shared: SharedClients) -> None:
    """Whatever it was doing: no task, no socket."""
    for key in (API.VERSIONS, API.METADATA, API.LIST, API.COMMITS, API.OFFSETS):
        cluster = small(hangs={(1, key)})
        async with cluster.running():
            probe = probe_of(shared, cluster.port())
            task = asyncio.create_task(run_probe(probe, 5.0))
            await cluster.hung.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await probe.close()
            assert not probe._cluster.is_connected(Address("127.0.0.1", cluster.port()))
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_failures_leave_no_task_no_socket_and_no_log(shared: SharedClients, caplog: pytest.LogCaptureFixture) -> None:
    """Twenty rounds of every kind of failure."""
    caplog.set_level(logging.INFO)
    cluster = small()
    async with cluster.running():
        port = cluster.port()
        before = descriptors()
        for _ in range(20):
            cluster.hangs, cluster.closes, cluster.raw = {(1, API.METADATA)}, set(), {}
            await run_probe(probe_of(shared, port), 0.02)
            cluster.hangs, cluster.closes = set(), {(1, API.METADATA)}
            await run_probe(probe_of(shared, port), 5.0)
            cluster.closes, cluster.raw = set(), {(1, API.METADATA): b"\x7f\xff\xff\xff"}
            await run_probe(probe_of(shared, port), 5.0)
        await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    assert descriptors() <= before
    assert caplog.records == []


# Logins and TLS.


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_logging_in_works_and_a_wrong_password_is_unknown(shared: SharedClients, mechanism: str) -> None:
    """Rejected credentials are the prober's own; they never appear in what is told."""
    right = "p\xadr\ufb01ght\u00a0\u2168"  # as it is: Kafka does not normalise passwords
    cluster = small(users={"an,na": right})
    security = {"protocol": "SASL_PLAINTEXT", "mechanism": mechanism, "user": "an,na"}
    async with cluster.running():
        probe = probe_of(shared, cluster.port(), security=security | {"password": right})
        outcome = await run_probe(probe, 5.0)
        await probe.close()
        refused = await run_probe(probe_of(shared, cluster.port(), security=security | {"password": "s3cr3t"}), 5.0)
    assert outcome.verdict is Verdict.UP
    assert values(outcome, kafka.TOPIC_LAG) == {("billing", "orders"): 6}
    assert refused.verdict is Verdict.UNKNOWN
    assert failure(refused) == (Stage.AUTH, Reason.AUTH)
    assert "s3cr3t" not in str(refused.failure)


async def test_logins_that_cannot_work_are_named(shared: SharedClients) -> None:
    """A mechanism that is not offered, an impostor, too many iterations."""
    cluster = small(users={"anna": "right"}, mechanisms=["PLAIN"])
    security = {"protocol": "SASL_PLAINTEXT", "mechanism": "SCRAM-SHA-256", "user": "anna", "password": "right"}
    async with cluster.running():
        not_offered = await run_probe(probe_of(shared, cluster.port(), security=security), 5.0)
        cluster.mechanisms, cluster.impostor = ["SCRAM-SHA-256"], True
        impostor = await run_probe(probe_of(shared, cluster.port(), security=security), 5.0)
        cluster.iterations = 10_000_000
        work = await run_probe(probe_of(shared, cluster.port(), security=security), 5.0)
    assert failure(not_offered) == (Stage.AUTH, Reason.AUTH)
    assert "offers PLAIN" in str(not_offered.failure)
    assert failure(impostor) == failure(work) == (Stage.AUTH, Reason.PROTOCOL)


async def test_a_password_file_is_read_at_each_login(shared: SharedClients, tmp_path: Path) -> None:
    """So a rotated password needs no reload; a file that cannot be read is the prober's own fault."""
    cluster = small(users={"anna": "new"})
    file = tmp_path / "password"
    security = {"protocol": "SASL_PLAINTEXT", "user": "anna", "password_file": str(file)}
    async with cluster.running():
        probe = probe_of(shared, cluster.port(), security=security)
        missing = await run_probe(probe, 5.0)
        file.write_text("")
        empty = await run_probe(probe, 5.0)
        file.write_text("old\n")
        old = await run_probe(probe, 5.0)
        file.write_text("new\n")
        new = await run_probe(probe, 5.0)
        await probe.close()
    assert failure(missing) == failure(empty) == (Stage.AUTH, Reason.CREDENTIALS)
    assert "No such file" in str(missing.failure)
    assert failure(old) == (Stage.AUTH, Reason.AUTH)
    assert new.verdict is Verdict.UP


def test_tls_works_on_the_loop_of_production(tmp_path: Path) -> None:
    """With its own phase; untrusted and expired chains, wrong names and plain brokers are told apart."""
    certificates = Certificates(tmp_path)
    trusting = {"protocol": "SSL", "tls": {"ca_file": str(certificates.ca_file)}}

    async def main() -> None:
        shared = SharedClients.open()
        cluster = small()
        async with cluster.running(tls=certificates.server()):
            probe = probe_of(shared, cluster.port(), security=trusting)
            outcome = await run_probe(probe, 5.0)
            await probe.close()
            untrusted = await run_probe(probe_of(shared, cluster.port(), security={"protocol": "SSL"}), 5.0)
        assert outcome.verdict is Verdict.UP
        assert set(outcome.phases) == {Stage.CONNECT, Stage.TLS, Stage.AUTH, Stage.QUERY}
        assert failure(untrusted) == (Stage.TLS, Reason.TLS_UNTRUSTED)
        for context, reason in (
            (certificates.server(expired=True), Reason.TLS_EXPIRED),
            (certificates.server("kafka.example"), Reason.TLS_NAME_MISMATCH),
        ):
            async with small().running(tls=context) as other:
                assert failure(await run_probe(probe_of(shared, other.port(), security=trusting), 5.0)) == (
                    Stage.TLS,
                    reason,
                )
        async with small().running() as plain:
            spoken = await run_probe(probe_of(shared, plain.port(), security=trusting), 1.0)
        assert spoken.failure is not None
        assert spoken.failure.stage is Stage.TLS
        await shared.close()

    uvloop.run(main())


async def test_tls_and_login_go_together(shared: SharedClients, tmp_path: Path) -> None:
    """On asyncio's own loop as well, under another name; a hung handshake is a timeout in it."""
    certificates = Certificates(tmp_path)
    cluster = small(users={"anna": "right"})
    tls = {"ca_file": str(certificates.ca_file), "server_name": "kafka.example"}
    security = {"protocol": "SASL_SSL", "user": "anna", "password": "right", "tls": tls}

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with cluster.running(tls=certificates.server("kafka.example")), serve_raw(silent) as hung:
        probe = probe_of(shared, cluster.port(), security=security)
        outcome = await run_probe(probe, 5.0)
        await probe.close()
        waited = await run_probe(probe_of(shared, hung.port, security=security), 0.3)
    assert outcome.verdict is Verdict.UP
    assert failure(waited) == (Stage.TLS, Reason.TIMEOUT)


async def test_closing_fails_what_waits(shared: SharedClients) -> None:
    """At once, rather than at the deadline; closing again does nothing."""
    cluster = small(hangs={(1, API.COMMITS)})
    cluster.groups["mailer"] = FakeGroup()
    async with cluster.running():
        probe = probe_of(shared, cluster.port())
        task = asyncio.create_task(run_probe(probe, 30.0))
        await cluster.hung.wait()
        await probe.close()
        outcome = await asyncio.wait_for(task, 2)
        await probe.close()
    assert part(outcome, "groups") == (Stage.QUERY, Reason.CONNECTION_CLOSED)


async def test_a_closed_connection_takes_no_bytes_and_no_requests() -> None:
    """What arrives late is dropped, what is asked fails as the connection did."""
    connection = BrokerConnection(Address("127.0.0.1", 1))
    connection.close(Failure(Stage.QUERY, Reason.PROTOCOL, "over"))
    connection.close()
    connection.data_received(frame(b"late"))
    with pytest.raises(Failure, match="over"):
        await connection.ask(ApiVersionRequest())


async def test_a_connection_lost_during_the_handshake_is_closed(
    shared: SharedClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio then has no transport to give."""

    async def start_tls(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(asyncio.get_running_loop(), "start_tls", start_tls)
    cluster = small()
    async with cluster.running():
        outcome = await once(shared, cluster.port(), security={"protocol": "SSL"})
    assert failure(outcome) == (Stage.TLS, Reason.CONNECTION_CLOSED)


async def test_a_probe_never_run_closes(shared: SharedClients) -> None:
    """Nothing was opened."""
    target = Target("events", "kafka", "events", (Address("127.0.0.1", 1),))
    await KafkaProbe(target, KafkaSettings(), shared).close()
