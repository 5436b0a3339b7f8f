"""Faults: how they are asked for, and that each breaks what it says, shows in the metrics, and can be mended."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, cast

import pytest

from exporter.demo.faults import FAULTS, Fault, Order, parse_order, play
from exporter.demo.fleet import Fleet, Options
from exporter.demo.servers.springboot import SERVICES
from exporter.demo.springboot.messaging import LAST
from tests.demo.running import RunningFleet, fetch, running
from tests.waiting import until

Shows = Callable[[RunningFleet, str], bool]
PATIENCE = 30.0


def total(demo: RunningFleet, name: str, **labels: str) -> float:
    return sum(demo.values(name, **labels).values())


def down(demo: RunningFleet, service: str) -> bool:
    return demo.value("probe_success", service=service) == 0


def dependency_down(name: str, component: str = "") -> Shows:
    """A dependency is down, and so is its component in a service, if it has one there."""

    def shows(demo: RunningFleet, _: str) -> bool:
        told = demo.value("probe_actuator_component_up", service="identity", component=component)
        return down(demo, name) and (not component or told == 0)

    return shows


def health_code(demo: RunningFleet, service: str) -> int:
    """Ask a service for its health as the exporter does, but oftener."""
    try:
        fetch(f"http://127.0.0.1:{demo.fleet.services[service]}/actuator/health")
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


def answers_late(name: str) -> Shows:
    """It answers, and at times so late that it is seen."""
    return lambda demo, _: (
        demo.value("probe_success", service=name) == 1 and ((demo.value("probe_duration_seconds", service=name) or 0) > 0.3)
    )


def answers(status: int) -> Shows:
    return lambda demo, s: down(demo, s) and demo.value("probe_http_status_code", service=s) == status


def pool_is_held(demo: RunningFleet, service: str) -> bool:
    active = total(demo, "probe_hikari_connections", service=service, state="active")
    return active == total(demo, "probe_hikari_connections_max", service=service) > 0


def heap_is_full(demo: RunningFleet, service: str) -> bool:
    used, most = (total(demo, f"probe_jvm_memory_{what}_bytes", service=service, area="heap") for what in ("used", "max"))
    return used > 0.9 * most > 0


def certificate_ends_soon(demo: RunningFleet, _: str) -> bool:
    """The certificate is as good as before, but for its end."""
    return demo.value("probe_tls_verified") == 1 and total(demo, "probe_ssl_earliest_cert_expiry") - time.time() < 4 * 86400


def group_lags(demo: RunningFleet, service: str) -> bool:
    return total(demo, "probe_kafka_consumer_group_topic_lag", group=f"{service}-service") > 6


def one_partition_lags(demo: RunningFleet, service: str) -> bool:
    lags = [total(demo, "probe_kafka_consumer_group_lag", group=f"{service}-service", partition=n) for n in ("0", "1")]
    return lags[0] > 6 > lags[1]


def is_quiet_and_unread(demo: RunningFleet, service: str) -> bool:
    """Its last records wait, beside one or two that came before them, and no more come."""
    return 0 <= total(demo, "probe_kafka_consumer_group_topic_lag", group=f"{service}-service") - LAST <= 2


# What a fault looks like while it lasts.
SHOWN: dict[str, Shows] = {
    "db-down": dependency_down("postgres", "db"),
    "db-hung": dependency_down("postgres", "db"),
    "redis-down": dependency_down("redis", "redis"),
    "redis-hung": dependency_down("redis", "redis"),
    "redis-unsaved": dependency_down("redis", "redis"),
    "redis-snapshots": lambda demo, _: (
        demo.value("probe_redis_persistence_success", operation="rdb_save") == 0
        and demo.value("probe_success", service="redis") == 1
    ),
    "redis-crowded": lambda demo, _: (
        total(demo, "probe_redis_connected_clients") > 0.8 * total(demo, "probe_redis_max_clients")
    ),
    "redis-full": lambda demo, _: demo.value("probe_redis_maxmemory_policy", policy="noeviction") == 1,
    "kafka-down": dependency_down("kafka"),
    "kafka-hung": dependency_down("kafka"),
    "keycloak-down": dependency_down("keycloak"),
    "keycloak-hung": dependency_down("keycloak"),
    "db-slow": answers_late("postgres"),
    "slot-left": lambda demo, _: demo.value("probe_postgres_replication_slot_active", slot="left_behind") == 0,
    "redis-slow": answers_late("redis"),
    "kafka-slow": answers_late("kafka"),
    "keycloak-slow": answers_late("keycloak"),
    "gateway-down": dependency_down("gateway"),
    "certificate-expiring": certificate_ends_soon,
    "certificate-expired": dependency_down("gateway"),
    "service-down": down,
    "service-hung": down,
    "service-slow": lambda demo, s: (demo.value("probe_duration_seconds", service=s) or 0) > 0.7,
    "proxy-503": answers(503),
    "login-page": answers(200),
    "component-down": lambda demo, s: down(demo, s) and 0 in demo.values("probe_actuator_component_up", service=s).values(),
    "not-ready": lambda demo, s: demo.value("probe_actuator_group_up", service=s, group="readiness") == 0,
    "heap-full": heap_is_full,
    "pool-exhausted": pool_is_held,
    "idle-transactions": lambda demo, _: total(demo, "probe_postgres_connections", state="idle in transaction") > 0,
    "lock-held": lambda demo, _: demo.value("probe_postgres_lock_waiting_sessions") == 1,
    "migration-stuck": lambda demo, _: total(demo, "probe_postgres_flyway_lock_held", state="idle in transaction") == 1,
    "database-newer": lambda demo, _: total(demo, "probe_postgres_flyway_future_migrations") == 1,
    "consumer-stopped": group_lags,
    "consumer-stuck": group_lags,
    "consumer-poisoned": one_partition_lags,
    "last-unread": is_quiet_and_unread,
    "dlq-growing": lambda demo, s: total(demo, "probe_kafka_dlq_messages", topic=f"hafnium.{s}.events-dlt") > 1,
    "flaky": lambda demo, s: 503 in (health_code(demo, s) for _ in range(200)),
    "errors-5xx": lambda demo, s: total(demo, "probe_http_server_requests_total", service=s, outcome="SERVER_ERROR") > 0,
}
COUNTING = {"dlq-growing", "errors-5xx"}
"""What these show stays when they are mended."""
HERE = {name: fault for name, fault in FAULTS.items() if not fault.of_cluster}
"""Those of Kubernetes have their looks in tests/demo/test_cluster.py."""
OF_SERVICES = [fault for fault in HERE.values() if fault.of_service]
OF_SERVERS = [fault for fault in HERE.values() if not fault.of_service]
WAVES = [OF_SERVICES[n : n + len(SERVICES)] for n in range(0, len(OF_SERVICES), len(SERVICES))]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFleet]:
    """A fleet that is probed every two seconds."""
    options = Options(tmp_path_factory.mktemp("fleet"), free_ports=True, prometheus=False, interval=2.0)
    with running(options) as found:
        yield found


@pytest.fixture
def demo(fleet: RunningFleet) -> Iterator[RunningFleet]:
    """That fleet, whole before a test and whole again after it."""
    wait_until_whole(fleet)
    yield fleet
    wait_until_whole(fleet)


def wait_until_whole(fleet: RunningFleet) -> None:
    def whole() -> bool:
        verdicts = fleet.values("probe_success")
        return len(verdicts) == 13 and all(verdicts.values()) and not any(fleet.values("probe_unknown").values())

    until(whole, PATIENCE, "everything is up")


def test_every_fault_has_a_look_here() -> None:
    assert SHOWN.keys() == HERE.keys()


@pytest.mark.parametrize("wave", WAVES, ids=lambda wave: wave[0].name)
def test_a_fault_inside_a_service_shows_there_alone_and_is_mended(wave: list[Fault], demo: RunningFleet) -> None:
    """Several at a time, each in a service of its own; what has none stays up."""
    faults = dict(zip(SERVICES, wave, strict=False))
    with ExitStack() as broken:
        for service, fault in faults.items():
            broken.enter_context(demo.fault(fault.name, service))
        for service, fault in faults.items():
            until(lambda: SHOWN[fault.name](demo, service), PATIENCE, f"{fault.name} shows")  # noqa: B023 - it is called at once
        lies = [
            s for s in (*SERVICES, "postgres", "redis", "kafka", "keycloak", "gateway") if s not in faults and down(demo, s)
        ]
        assert lies == []
    for service, fault in faults.items():
        if fault.name not in COUNTING:
            until(lambda: not SHOWN[fault.name](demo, service), PATIENCE, f"{fault.name} is mended")  # noqa: B023 - as above


@pytest.mark.parametrize("fault", OF_SERVERS, ids=lambda fault: fault.name)
def test_a_broken_server_shows_and_is_mended_where_it_was(fault: Fault, demo: RunningFleet) -> None:
    before = demo.fleet.endpoints()
    with demo.fault(fault.name):
        until(lambda: SHOWN[fault.name](demo, ""), PATIENCE, f"{fault.name} shows")
    until(lambda: not SHOWN[fault.name](demo, ""), PATIENCE, f"{fault.name} is mended")
    assert demo.fleet.endpoints() | {"pids": None} == before | {"pids": None}


async def test_an_order_is_played_and_mended_at_its_times() -> None:
    done: list[tuple[str, str]] = []
    times: list[float] = []

    def note(what: str) -> Callable[[Fleet, str], Any]:
        async def act(_: Fleet, service: str) -> None:
            done.append((what, service))
            times.append(time.monotonic() - began)

        return act

    told: list[str] = []
    fault = Fault("flood", "water comes in", note("begin"), note("end"), of_service=True)
    began = time.monotonic()
    await play(Order(fault, "vault", 0.1, 0.3), cast(Fleet, None), told.append)
    assert done == [("begin", "vault"), ("end", "vault")]
    assert (times[0] >= 0.1, times[1] >= 0.3) == (True, True)
    assert told == ["fault flood:vault: water comes in", "fault flood:vault: mended"]
    await play(Order(fault, "vault"), cast(Fleet, None), told.append)
    assert [what for what, _ in done] == ["begin", "end", "begin"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db-down", ("db-down", "identity", 0.0, None, "db-down")),
        (" db-down@10 ", ("db-down", "identity", 10.0, None, "db-down")),
        ("db-hung@1.5-40", ("db-hung", "identity", 1.5, 40.0, "db-hung")),
        ("service-down", ("service-down", "identity", 0.0, None, "service-down:identity")),
        ("heap-full:risk-engine@0-5", ("heap-full", "risk-engine", 0.0, 5.0, "heap-full:risk-engine")),
    ],
)
def test_an_order_is_a_name_a_service_and_times(text: str, expected: tuple[str, str, float, float | None, str]) -> None:
    order = parse_order(text)
    assert (order.fault.name, order.service, order.start, order.end, str(order)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("db-dwn", "unknown fault 'db-dwn'; did you mean db-down? there are db-down, db-hung, slot-left,"),
        ("zzz", "unknown fault 'zzz'; there are db-down, db-hung, slot-left, redis-down,"),
        ("db-down:vault", "db-down is not of a service; leave :vault out"),
        ("service-down:vat", "unknown service 'vat'; there are identity, screening,"),
        ("db-down@soon", "expected NAME[:SERVICE][@START[-END]], such as db-down@10-40, got 'db-down@soon'"),
        ("db-down@-5", "expected NAME[:SERVICE][@START[-END]], such as db-down@10-40, got 'db-down@-5'"),
        ("", "expected NAME[:SERVICE][@START[-END]], such as db-down@10-40, got ''"),
        ("db-down@10-10", "'db-down@10-10' ends before it starts"),
    ],
)
def test_a_wrong_order_says_what_there_is(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_order(text)
    assert str(caught.value).startswith(message)
