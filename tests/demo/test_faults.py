"""Faults: how they are asked for, and that each breaks what it says, shows in the metrics, and can be mended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from exporter.demo.faults import FAULTS, Fault, Order, parse_order, play
from exporter.demo.fleet import Fleet, Options
from exporter.demo.servers.springboot import SERVICES
from tests.demo.watching import Seen, until

Shows = Callable[[Seen, str], bool]
IN_MODULE = pytest.mark.asyncio(loop_scope="module")


def dependency_down(name: str, component: str = "") -> Shows:
    def shows(seen: Seen, _: str) -> bool:
        told = seen.values("probe_actuator_component_up", service="identity", component=component)
        return seen.down(name) and (not component or told == [0.0])

    return shows


def pool_is_held(seen: Seen, service: str) -> bool:
    active = seen.total("probe_hikari_connections", service=service, state="active")
    return active == seen.total("probe_hikari_connections_max", service=service) > 0


def heap_is_full(seen: Seen, service: str) -> bool:
    used, most = (seen.total(f"probe_jvm_memory_{what}_bytes", service=service, area="heap") for what in ("used", "max"))
    return used > 0.9 * most > 0


def certificate_ends_soon(seen: Seen, _: str) -> bool:
    (end,) = seen.values("probe_ssl_earliest_cert_expiry")
    return end - time.time() < 4 * 86400


# What a fault looks like while it lasts. Those under LASTING count up, or take their time to go.
SHOWN: dict[str, Shows] = {
    "db-down": dependency_down("postgres", "db"),
    "db-hung": dependency_down("postgres"),
    "redis-down": dependency_down("redis", "redis"),
    "redis-hung": dependency_down("redis"),
    "kafka-down": dependency_down("kafka"),
    "kafka-hung": dependency_down("kafka"),
    "certificate-expiring": certificate_ends_soon,
    "service-down": lambda seen, s: seen.down(s),
    "service-hung": lambda seen, s: seen.down(s),
    "service-slow": lambda seen, s: max(seen.values("probe_duration_seconds", service=s)) > 0.7,
    "proxy-503": lambda seen, s: seen.down(s) and seen.values("probe_http_status_code", service=s) == [503.0],
    "login-page": lambda seen, s: seen.down(s) and seen.values("probe_http_status_code", service=s) == [200.0],
    "component-down": lambda seen, s: seen.down(s) and 0 in seen.values("probe_actuator_component_up", service=s),
    "not-ready": lambda seen, s: 0 in seen.values("probe_actuator_group_up", service=s, group="readiness"),
    "heap-full": heap_is_full,
    "pool-exhausted": pool_is_held,
    "idle-transactions": lambda seen, _: seen.total("probe_postgres_connections", state="idle in transaction") > 0,
    "consumer-stopped": lambda seen, s: seen.total("probe_kafka_consumer_group_topic_lag", group=f"{s}-service") > 4,
    "dlq-growing": lambda seen, s: seen.total("probe_kafka_dlq_messages", topic=f"hafnium.{s}.events-dlt") > 1,
    "errors-5xx": lambda seen, s: seen.total("probe_http_server_requests_total", service=s, outcome="SERVER_ERROR") > 0,
}
LASTING = {"dlq-growing", "errors-5xx"}
OF_SERVICES = [fault for fault in FAULTS.values() if fault.of_service]
OF_SERVERS = [fault for fault in FAULTS.values() if not fault.of_service]
WAVES = [OF_SERVICES[n : n + len(SERVICES)] for n in range(0, len(OF_SERVICES), len(SERVICES))]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """A fleet that is probed every two seconds; every test leaves it whole."""
    options = Options(tmp_path_factory.mktemp("fleet"), free_ports=True, prometheus=False, interval=2.0)
    running = Fleet(options)
    async with running.running(lambda _: None):
        yield running


def test_every_fault_has_a_look_here() -> None:
    assert SHOWN.keys() == FAULTS.keys()


@IN_MODULE
@pytest.mark.parametrize("wave", WAVES, ids=lambda wave: wave[0].name)
async def test_a_fault_inside_a_service_shows_there_and_is_mended(wave: list[Fault], fleet: Fleet) -> None:
    """Several at a time, each in a service of its own; the services without one stay up."""
    url = fleet.endpoints()["exporter"]
    orders = {service: fault for service, fault in zip(SERVICES, wave, strict=False)}
    await until(url, lambda seen: seen.all_up, "all up before")
    for service, fault in orders.items():
        await fault.begin(fleet, service)
    for service, fault in orders.items():
        await until(url, lambda seen, s=service, f=fault: SHOWN[f.name](seen, s), f"{fault.name} shows")  # type: ignore[misc]
    seen = await asyncio.to_thread(Seen, url)
    assert not [s for s in (*SERVICES, "postgres", "redis", "kafka", "gateway") if s not in orders and seen.down(s)]
    for service, fault in orders.items():
        await fault.end(fleet, service)
    await until(url, lambda seen: seen.all_up, "all up again")
    for service, fault in orders.items():
        if fault.name not in LASTING:
            await until(url, lambda seen, s=service, f=fault: not SHOWN[f.name](seen, s), f"{fault.name} is mended")  # type: ignore[misc]


@IN_MODULE
@pytest.mark.parametrize("fault", OF_SERVERS, ids=lambda fault: fault.name)
async def test_a_broken_server_shows_and_is_mended(fault: Fault, fleet: Fleet) -> None:
    url = fleet.endpoints()["exporter"]
    await until(url, lambda seen: seen.all_up, "all up before")
    where = fleet.endpoints()
    await fault.begin(fleet, "")
    await until(url, lambda seen: SHOWN[fault.name](seen, ""), f"{fault.name} shows")
    await fault.end(fleet, "")
    await until(url, lambda seen: seen.all_up, "all up again")
    assert not SHOWN[fault.name](await asyncio.to_thread(Seen, url), "")
    assert {k: v for k, v in fleet.endpoints().items() if k != "pids"} == {k: v for k, v in where.items() if k != "pids"}


@IN_MODULE
async def test_an_order_is_played_and_mended_at_its_times(fleet: Fleet) -> None:
    url = fleet.endpoints()["exporter"]
    await until(url, lambda seen: seen.all_up, "all up before")
    told: list[tuple[float, str]] = []
    began = time.monotonic()
    await play(parse_order("redis-down@0.2-0.6"), fleet, lambda text: told.append((time.monotonic() - began, text)))
    assert [text for _, text in told] == ["fault redis-down: Valkey is killed", "fault redis-down: mended"]
    assert told[0][0] >= 0.2
    assert told[1][0] >= 0.6
    assert fleet.valkey.running


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
    assert isinstance(order, Order)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("db-dwn", "unknown fault 'db-dwn'; did you mean db-down? there are db-down, db-hung, redis-down,"),
        ("zzz", "unknown fault 'zzz'; there are db-down, db-hung, redis-down, redis-hung,"),
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
