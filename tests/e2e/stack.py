"""A whole stack: the demo's fleet, the exporter, Prometheus, Alertmanager and a stand-in for PagerDuty."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from exporter.demo.fleet import Fleet, Options
from exporter.demo.ports import free_port
from exporter.demo.servers.broker import BrokerServer
from exporter.demo.servers.pagerduty import PagerDuty
from exporter.demo.servers.prometheus import ALERTS, AlertmanagerServer, PrometheusServer, alertmanager_config
from tests.e2e.brokers import probed, running_brokers
from tests.e2e.databases import Databases, running_databases
from tests.e2e.hurry import hurried_routes, hurried_rules
from tests.e2e.kafka_faults import CANARY, make_canary
from tests.e2e.valkeys import Valkeys, running_valkeys
from tests.fixtures.kafkas import OLD, PASSWORD, USER, KafkaCluster, KafkaNode
from tests.net.relay import Relay

__all__ = ["DESCRIBE", "Firing", "Stack", "running_stack"]

INTERVAL, TIMEOUT = 15.0, 5.0
"""As config/exporter.yml has them."""
SETTLE = 180.0

DESCRIBE = ("--operation", "Describe", "--cluster")
"""The right by which a broker of Kafka lists all groups to whoever logs in."""


class StackPrometheus(PrometheusServer):
    """Prometheus with the shipped rules; faster where that is wanted.

    Args:
        directory: Where it keeps its data.
        exporter: Address of the exporter.
        alertmanager: Address of Alertmanager.
        hurry: How many times faster.
    """

    def __init__(self, directory: Path, exporter: str, alertmanager: str, hurry: int) -> None:
        every = None if hurry == 1 else f"{round(1000 * INTERVAL / hurry)}ms"
        super().__init__(directory, free_port(), exporter, alertmanager, every)
        self._hurry = hurry

    def prepare(self) -> None:
        """Write its configuration, and faster rules."""
        if self._hurry != 1:
            rules = self.directory / "rules.yml"
            rules.write_text(yaml.safe_dump(hurried_rules(sorted((ALERTS / "rules").glob("*.yml")), self._hurry)))
            self._config["rule_files"] = [str(rules)]
        super().prepare()

    def command(self) -> Iterable[str | Path]:
        """Return the command line; what fires is told again as much more often."""
        yield from super().command()
        if self._hurry != 1:
            yield f"--rules.alert.resend-delay={60_000 // self._hurry}ms"

    def wipe(self) -> None:
        """Lose the disk."""
        shutil.rmtree(self.directory / "data", ignore_errors=True)


class StackAlertmanager(AlertmanagerServer):
    """Alertmanager with the shipped routes; faster where that is wanted."""

    def __init__(self, directory: Path, pagerduty: PagerDuty, hurry: int) -> None:
        super().__init__(directory, free_port(), pagerduty)
        self._pager, self._hurry = pagerduty, hurry

    def prepare(self) -> None:
        """Write its configuration."""
        config = alertmanager_config(self._pager.url, self.directory, self._pager.key)
        if self._hurry != 1:
            config = hurried_routes(config, self._hurry)
        (self.directory / "alertmanager.yml").write_text(yaml.safe_dump(config))


@dataclass
class Firing:
    """An alert that fires, or did.

    Attributes:
        labels: Its labels.
        since: When it was first seen, on the clock of `time.monotonic`.
        last: When it was last seen.
    """

    labels: dict[str, str]
    since: float
    last: float


@dataclass
class Stack:
    """A stack that runs.

    Attributes:
        fleet: Its servers.
        hurry: How many times faster than shipped it is.
        link: Between Prometheus and the exporter.
        valkeys: What it has of Redis beside the fleet's.
        databases: What it has of PostgreSQL beside the fleet's.
        brokers: What it has of Kafka beside the fleet's.
        fired: Every alert that has fired, the Watchdog apart.
    """

    fleet: Fleet
    hurry: int
    link: Relay
    session: aiohttp.ClientSession
    prometheus: StackPrometheus
    alertmanager: StackAlertmanager
    valkeys: Valkeys | None = None
    databases: Databases | None = None
    brokers: KafkaCluster | None = None
    fired: list[Firing] = field(default_factory=list)

    def seconds(self, shipped: float) -> float:
        """Return how long something takes here that takes so many seconds at the shipped intervals."""
        return shipped / self.hurry

    async def get(self, url: str) -> Any:
        """Ask for JSON.

        Raises:
            aiohttp.ClientError, TimeoutError: There is nobody that answers.
        """
        async with self.session.get(url) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def watch(self) -> None:
        """See what fires, for ever."""
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                self._note(await self._alerts())
            await asyncio.sleep(max(0.25, self.seconds(1.0)))

    async def quiet(self) -> str | None:
        """Wait until all is well and nobody is told otherwise; return what is not, where it does not become so."""
        deadline = time.monotonic() + max(60.0, self.seconds(SETTLE))
        wrong: str | None = "not asked"
        while time.monotonic() < deadline:
            try:
                wrong = await self._wrong()
            except (aiohttp.ClientError, TimeoutError) as error:
                wrong = f"{type(error).__name__}: {error}"
            if wrong is None:
                return None
            await asyncio.sleep(0.5)
        return wrong

    async def _wrong(self) -> str | None:
        services = (await self.get(f"http://{self.fleet.exporter.address}/api/v1/services"))["services"]
        if broken := [f"{service['name']} is {service['verdict']}" for service in services if service["verdict"] != "up"]:
            return ", ".join(broken)
        if up := await self.query("up == 0 or absent(up)"):
            return f"Prometheus cannot scrape: {up}"
        states = ("firing",) if self.hurry == 1 else ("firing", "pending")  # in a stack of its own nothing has gone before
        alerts = [alert for alert in await self._alerts() if not _is_watchdog(alert) and alert["state"] in states]
        if alerts:
            return f"alerts: {', '.join(sorted({alert['labels']['alertname'] for alert in alerts}))}"
        if unresolved := [
            i.triggers[-1]["payload"]["summary"] for i in self.fleet.pagerduty.incidents if i.resolved is None
        ]:
            return f"open: {', '.join(unresolved)}"
        return None

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask Prometheus.

        Raises:
            aiohttp.ClientError, TimeoutError: It does not answer.
        """
        url = f"http://{self.prometheus.address}/api/v1/query"
        async with self.session.get(url, params={"query": expression}) as answer:
            answer.raise_for_status()
            return list((await answer.json())["data"]["result"])

    async def _alerts(self) -> list[dict[str, Any]]:
        return list((await self.get(f"http://{self.prometheus.address}/api/v1/alerts"))["data"]["alerts"])

    def _note(self, alerts: list[dict[str, Any]]) -> None:
        now, gap = time.monotonic(), max(5.0, self.seconds(20.0))
        for alert in alerts:
            if alert["state"] != "firing" or _is_watchdog(alert):
                continue
            labels = alert["labels"]
            known = next((f for f in reversed(self.fired) if f.labels == labels and now - f.last < gap), None)
            if known is None:
                self.fired.append(Firing(labels, now, now))
            else:
                known.last = now


def _is_watchdog(alert: dict[str, Any]) -> bool:
    return bool(alert["labels"]["alertname"] == "Watchdog")


def _kafka(folder: Path) -> KafkaNode:
    return KafkaNode(folder, 1, 1, free_port(), OLD)


def _let_in(broker: KafkaNode) -> dict[str, Any]:
    """Return the configuration of a probe that logs in at the fleet's broker, and looks at no group and no topic of it."""
    security = {"protocol": "SASL_PLAINTEXT", "user": USER, "password": PASSWORD}
    nothing = {"include": ["nothing"]}
    probe = {"security": security, "groups": nothing, "topics": nothing}
    return {"kafka-login": {"instances": [f"{broker.host}:{broker.sasl_port}"], "probes": {"kafka": probe}}}


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


@asynccontextmanager
async def running_stack(
    state: Path,
    hurry: int = 1,
    *,
    kubernetes: bool = False,
    kafka: bool = False,
    valkeys: bool = False,
    databases: bool = False,
    brokers: bool = False,
) -> AsyncIterator[Stack]:
    """Run a stack until the block ends.

    Args:
        state: Folder for data and logs; emptied.
        hurry: How many times faster than shipped.
        kubernetes: Run the services as Deployments on a control plane, whose programs are built.
        kafka: Run Apache Kafka in place of the demo's own broker.
        valkeys: Run a replica, Sentinels and a Cluster of Redis too, and have them probed.
        databases: Run standbys of PostgreSQL, and servers to spoil, too, and have them probed.
        brokers: Run a cluster of three brokers too, and have it probed.
    """
    _empty(state)
    interval = INTERVAL / hurry
    timeout = TIMEOUT if hurry == 1 else 0.9 * interval
    options = Options(
        state,
        free_ports=True,
        prometheus=False,
        interval=interval,
        timeout=timeout,
        kubernetes=kubernetes,
        broker=_kafka if kafka else BrokerServer,
        canary=CANARY if kafka else "",
    )
    fleet = Fleet(options)
    async with Relay(fleet.exporter.port) as link, AsyncExitStack() as beside:
        redis = await beside.enter_async_context(running_valkeys(state / "valkeys")) if valkeys else None
        postgres = beside.enter_context(running_databases(state / "databases")) if databases else None
        three = await beside.enter_async_context(running_brokers(state / "brokers")) if brokers else None
        if isinstance(fleet.broker, KafkaNode):
            fleet.exporter.probe_also(_let_in(fleet.broker))
        if redis is not None:
            fleet.exporter.probe_also(redis.dependencies)
        if postgres is not None:
            fleet.exporter.probe_also(postgres.dependencies)
        if three is not None:
            fleet.exporter.probe_also(probed(three))
        alertmanager = StackAlertmanager(state / "alertmanager", fleet.pagerduty, hurry)
        prometheus = StackPrometheus(state / "prometheus", f"127.0.0.1:{link.port}", alertmanager.address, hurry)
        fleet.alertmanager, fleet.prometheus = alertmanager, prometheus
        async with (
            fleet.running(lambda _: None),
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session,
        ):
            if isinstance(fleet.broker, KafkaNode):
                await make_canary(fleet)
                await fleet.in_thread(partial(fleet.broker.allow, *DESCRIBE))
            stack = Stack(fleet, hurry, link, session, prometheus, alertmanager, redis, postgres, three)
            watching = asyncio.create_task(stack.watch())
            try:
                yield stack
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
