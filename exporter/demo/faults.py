"""Faults: real things broken at a time, and mended again. `NAME[:SERVICE][@START[-END]]`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from difflib import get_close_matches

from exporter.demo import cluster_faults
from exporter.demo.fleet import Fleet
from exporter.demo.servers.base import Server
from exporter.demo.servers.springboot import SERVICES

__all__ = ["FAULTS", "Act", "Fault", "Order", "parse_order", "play"]

Act = Callable[[Fleet, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that can break.

    Attributes:
        name: What to ask for.
        summary: What happens.
        begin: Break it.
        end: Mend it.
        of_service: Whether it is a service's, so that one may be named.
        of_cluster: Whether it is one of Kubernetes, which the demo runs when asked to.
    """

    name: str
    summary: str
    begin: Act
    end: Act
    of_service: bool = False
    of_cluster: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """A fault that was asked for.

    Attributes:
        fault: Which.
        service: Of which service.
        start: Seconds after the fleet is up.
        end: Seconds after the fleet is up; None: it stays.
    """

    fault: Fault
    service: str
    start: float = 0.0
    end: float | None = None

    def __str__(self) -> str:
        return f"{self.fault.name}:{self.service}" if self.fault.of_service else self.fault.name


def _server(choose: Callable[[Fleet], Server], begin: str, end: str) -> tuple[Act, Act]:
    def act(method: str) -> Act:
        async def run(fleet: Fleet, _: str) -> None:
            await fleet.in_thread(getattr(choose(fleet), method))

        return run

    return act(begin), act(end)


def _inside(what: str) -> tuple[Act, Act]:
    def act(*, on: bool) -> Act:
        async def run(fleet: Fleet, service: str) -> None:
            await fleet.in_thread(lambda: fleet.springboot.control(service, what, on=on))

        return run

    return act(on=True), act(on=False)


def _certificate(days: float) -> Act:
    async def run(fleet: Fleet, _: str) -> None:
        await fleet.gateway.renew(days)

    return run


async def _close_gateway(fleet: Fleet, _: str) -> None:
    await fleet.gateway.stop()


async def _open_gateway(fleet: Fleet, _: str) -> None:
    fleet.gateway.listen()


_renew = _certificate(90)


def _cluster(name: str, summary: str, acts: tuple[Act, Act], *, of_service: bool = False) -> Fault:
    return Fault(name, f"{summary} (--kubernetes)", *acts, of_service=of_service, of_cluster=True)


async def _leave_slot(fleet: Fleet, _: str) -> None:
    await fleet.in_thread(lambda: fleet.postgres.sql("SELECT pg_create_physical_replication_slot('left_behind', true)"))


async def _drop_slot(fleet: Fleet, _: str) -> None:
    await fleet.in_thread(lambda: fleet.postgres.sql("SELECT pg_drop_replication_slot('left_behind')"))


_LIST = (
    Fault("db-down", "PostgreSQL is killed", *_server(lambda fleet: fleet.postgres, "kill", "start")),
    Fault("db-hung", "PostgreSQL takes connections and answers nothing", *_server(lambda f: f.postgres, "pause", "resume")),
    Fault("slot-left", "a replication slot of PostgreSQL has no reader any more", _leave_slot, _drop_slot),
    Fault("redis-down", "Valkey is killed", *_server(lambda fleet: fleet.valkey, "kill", "start")),
    Fault("redis-hung", "Valkey takes connections and answers nothing", *_server(lambda f: f.valkey, "pause", "resume")),
    Fault(
        "redis-unsaved",
        "Valkey cannot save to its disk, and refuses writes for it",
        *_server(lambda f: f.valkey, "spoil_saves", "mend_saves"),
    ),
    Fault(
        "redis-snapshots",
        "Valkey cannot save to its disk, and is told to take writes all the same",
        *_server(lambda f: f.valkey, "spoil_snapshots", "mend_snapshots"),
    ),
    Fault(
        "redis-crowded",
        "most of the clients that Valkey takes are connected",
        *_server(lambda f: f.valkey, "crowd", "disperse"),
    ),
    Fault("redis-full", "Valkey has no memory left, and evicts nothing", *_server(lambda f: f.valkey, "fill", "empty")),
    Fault("kafka-down", "the broker is killed", *_server(lambda fleet: fleet.broker, "kill", "start")),
    Fault("kafka-hung", "the broker takes connections and answers nothing", *_server(lambda f: f.broker, "pause", "resume")),
    Fault("keycloak-down", "Keycloak is killed", *_server(lambda fleet: fleet.keycloak, "kill", "start")),
    Fault(
        "keycloak-hung", "Keycloak takes connections and answers nothing", *_server(lambda f: f.keycloak, "pause", "resume")
    ),
    Fault("db-slow", "PostgreSQL gets a fifth of the CPU it needs", *_server(lambda f: f.postgres, "slow", "resume")),
    Fault("redis-slow", "Valkey gets a fifth of the CPU it needs", *_server(lambda f: f.valkey, "slow", "resume")),
    Fault("kafka-slow", "the broker gets a fifth of the CPU it needs", *_server(lambda f: f.broker, "slow", "resume")),
    Fault("keycloak-slow", "Keycloak gets a fifth of the CPU it needs", *_server(lambda f: f.keycloak, "slow", "resume")),
    Fault("gateway-down", "the gateway's port is closed", _close_gateway, _open_gateway),
    Fault("certificate-expiring", "the gateway's certificate ends in 3 days", _certificate(3), _renew),
    Fault("certificate-expired", "the gateway's certificate ended a quarter of an hour ago", _certificate(-0.01), _renew),
    Fault("service-down", "a service's port is closed", *_inside("stop"), of_service=True),
    Fault("service-hung", "a service takes connections and answers nothing", *_inside("hang"), of_service=True),
    Fault("service-slow", "every answer of a service takes 700 ms longer", *_inside("slow"), of_service=True),
    Fault("proxy-503", "a proxy answers 503 in a service's place", *_inside("status-503"), of_service=True),
    Fault("login-page", "a login page answers in a service's place", *_inside("garbage"), of_service=True),
    Fault("component-down", "a health component of a service is DOWN", *_inside("component-down"), of_service=True),
    Fault("not-ready", "a service refuses traffic", *_inside("readiness-down"), of_service=True),
    Fault("heap-full", "a service's heap is 97 % full", *_inside("heap-full"), of_service=True),
    Fault("pool-exhausted", "every connection of a service's pool is held", *_inside("pool-exhausted"), of_service=True),
    Fault("idle-transactions", "a service forgets to commit", *_inside("idle-transactions"), of_service=True),
    Fault(
        "lock-held", "a session of a service keeps a lock, and another waits for it", *_inside("lock-held"), of_service=True
    ),
    Fault(
        "migration-stuck", "a service's migration hangs under Flyway's lock", *_inside("migration-stuck"), of_service=True
    ),
    Fault("database-newer", "a service's schema is newer than is expected", *_inside("database-newer"), of_service=True),
    Fault("consumer-stopped", "a service reads no more, and still writes", *_inside("consumer-stopped"), of_service=True),
    Fault("consumer-stuck", "a service tries one record again and again", *_inside("consumer-stuck"), of_service=True),
    Fault(
        "consumer-poisoned",
        "a service tries one partition's record again and again, and reads the others",
        *_inside("consumer-poisoned"),
        of_service=True,
    ),
    Fault(
        "last-unread",
        "a service's topic falls quiet, and the last records are never handled",
        *_inside("last-unread"),
        of_service=True,
    ),
    Fault("dlq-growing", "a service puts records into its dead-letter topic", *_inside("poison"), of_service=True),
    Fault("flaky", "one in a hundred answers about a service's health is a proxy's 503", *_inside("flaky"), of_service=True),
    Fault("errors-5xx", "half of a service's requests fail", *_inside("errors-5xx"), of_service=True),
    _cluster("crash-loop", "the pods of a service crash as often as they start", cluster_faults.crash_loop, of_service=True),
    _cluster(
        "pod-crash-loop",
        "one pod of a service crashes as often as it starts",
        cluster_faults.pod_crash_loop,
        of_service=True,
    ),
    _cluster(
        "oom-kill",
        "a container is killed for want of memory, and runs again at once",
        cluster_faults.oom_kill,
        of_service=True,
    ),
    _cluster(
        "image-pull", "a version is rolled out that the registry does not have", cluster_faults.image_pull, of_service=True
    ),
    _cluster(
        "rollout-stuck", "a version is rolled out that never gets ready", cluster_faults.rollout_stuck, of_service=True
    ),
    _cluster("hpa-limit", "screening needs more replicas than its HPA may make", cluster_faults.hpa_limit),
    _cluster("zero-pods", "a service is scaled to zero", cluster_faults.zero_pods, of_service=True),
    _cluster("api-server-down", "the API server is killed", cluster_faults.api_server),
    _cluster("node-pressure", "a node is short of memory", cluster_faults.node_pressure),
    _cluster(
        "certificate-renewed",
        "the Secret of the gateway's certificate is renewed, and the gateway does not load it",
        cluster_faults.certificate_renewed,
    ),
)
FAULTS = {fault.name: fault for fault in _LIST}
"""Every fault by name."""

_ORDER = re.compile(r"(?P<name>[^:@]+)(?::(?P<service>[^@]+))?(?:@(?P<start>\d+(?:\.\d+)?)(?:-(?P<end>\d+(?:\.\d+)?))?)?")


def parse_order(text: str) -> Order:
    """Read `NAME[:SERVICE][@START[-END]]`, times in seconds after the fleet is up.

    Raises:
        ValueError: It is not one; the text says what there is.
    """
    match = _ORDER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected NAME[:SERVICE][@START[-END]], such as db-down@10-40, got {text!r}")
    name, service = match["name"], match["service"]
    fault = FAULTS.get(name)
    if fault is None:
        close = get_close_matches(name, FAULTS, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"unknown fault {name!r}; {hint}there are {', '.join(FAULTS)}")
    if service is not None and not fault.of_service:
        raise ValueError(f"{name} is not of a service; leave :{service} out")
    if service is not None and service not in SERVICES:
        raise ValueError(f"unknown service {service!r}; there are {', '.join(SERVICES)}")
    start = float(match["start"] or 0)
    end = float(match["end"]) if match["end"] is not None else None
    if end is not None and end <= start:
        raise ValueError(f"{text!r} ends before it starts")
    return Order(fault, service or SERVICES[0], start, end)


async def play(order: Order, fleet: Fleet, tell: Callable[[str], None]) -> None:
    """Break it at its time, and mend it at its time.

    Raises:
        ServerError: A server does not start again, or does not take the order.
    """
    await asyncio.sleep(order.start)
    tell(f"fault {order}: {order.fault.summary}")
    await order.fault.begin(fleet, order.service)
    if order.end is not None:
        await asyncio.sleep(order.end - order.start)
        await order.fault.end(fleet, order.service)
        tell(f"fault {order}: mended")
