"""Instances that cannot be told, end to end: a name server, the daemon, Prometheus, Alertmanager, pages.

Rules, scrapes and evaluation are as shipped, but fifteen times as fast. The demo has no such fault: the exporter
asks the name servers of its system, which the demo cannot choose.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.app import App
from exporter.config.loader import load
from exporter.demo.ports import free_port
from exporter.demo.servers.prometheus import PrometheusServer
from exporter.engine import reconciler
from exporter.net.http import HttpClient
from exporter.net.resolver import Resolver
from exporter.probing.probe import SharedClients
from tests.alerts.nameserver import NameServer, name_server
from tests.alerts.pager import Pager, alertmanager, key_of, pager
from tests.alerts.shipped import RULE_FILES
from tests.e2e.hurry import hurried_rules
from tests.net.servers import Certificates, answer, serve, serve_raw

FASTER = 15
CASE, VAULT = "case.hafnium.test", "vault.hafnium.test"


class HurriedPrometheus(PrometheusServer):
    """Prometheus with the shipped rules, all of it faster."""

    def prepare(self) -> None:
        """Write the rules beside the configuration."""
        rules = self.directory / "rules.yml"
        rules.write_text(yaml.safe_dump(hurried_rules(RULE_FILES, FASTER)))
        self._config["rule_files"] = [str(rules)]
        super().prepare()


@asynccontextmanager
async def daemon(folder: Path, config: dict[str, Any]) -> AsyncIterator[App]:
    """Run the daemon until the block ends."""
    path = folder / "exporter.yml"
    path.write_text(yaml.safe_dump(config))
    app = App(path, load(path))
    running = asyncio.create_task(app.run())
    try:
        async with asyncio.timeout(20):
            while app.healthy() is not None:
                assert not running.done(), running
                await asyncio.sleep(0.05)
        yield app
    finally:
        app.stop()
        await running


def ask(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the daemon ask this name server in place of the system's."""

    def opened() -> SharedClients:
        resolver = Resolver([names.address])
        return SharedClients(HttpClient(resolver), resolver)

    monkeypatch.setattr(SharedClients, "open", opened)


def value(app: App, name: str, service: str) -> float | None:
    """Return a service's one series of a metric."""
    for line in b"".join(app.parts(openmetrics=False)).decode().splitlines():
        if line.startswith(f'{name}{{service="{service}"'):
            return float(line.rpartition(" ")[2])
    return None


def summaries(stub: Pager, alert: str, action: str = "trigger") -> list[str]:
    """Return what pages of an alert say."""
    return [event["payload"]["summary"] for event in stub.of(alert, action) if event["payload"]]


STARVED = {"ExporterDown", "ExporterAbsent", "ProbeLate"}
"""True, at so many times the pace, where other tests leave the exporter without a core for four seconds."""


async def test_instances_that_cannot_be_told_ring_as_what_they_are_and_nothing_is_called_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "RETRY", 2.0)
    certificates = Certificates(tmp_path)
    kept = certificates.ca_file.read_bytes()
    up = {"/actuator/health": answer('{"status": "UP"}', content_type="application/json")}
    async with serve(up) as served, serve_raw(hang_up, certificates.server()) as gateway, pager() as stub:
        with name_server() as names:
            ask(names, monkeypatch)
            names.addresses = {CASE: ["127.0.0.1"], VAULT: ["127.0.0.1"]}
            names.silent = {VAULT}
            port = free_port()
            probes = {"actuator": {"metrics": False}}
            tls = {"port": gateway.port, "ca_file": str(certificates.ca_file)}
            config = {
                "server": {"listen": f"127.0.0.1:{port}"},
                "defaults": {"interval": "1s", "timeout": "900ms"},
                "services": {
                    "case": {"instances": {"dns": CASE, "port": served.port, "refresh": "1s"}, "probes": probes},
                    "vault": {
                        "instances": {"dns": VAULT, "port": served.port, "refresh": "1s"},
                        "probes": probes | {"tls": tls},
                    },
                },
            }
            async with daemon(tmp_path, config) as app, alertmanager(stub.url, tmp_path) as alerts:
                prometheus = HurriedPrometheus(
                    tmp_path / "prometheus", free_port(), f"127.0.0.1:{port}", alerts.url.partition("//")[2], "1s"
                )
                await asyncio.to_thread(prometheus.start)
                try:
                    await never_known(stub, app)
                    certificates.ca_file.write_text("not a certificate")
                    names.silent = {CASE}
                    await known_but_not_as_configured(stub, app)
                    await known_once(stub, app)
                    certificates.ca_file.write_bytes(kept)
                    names.silent = set()
                    await stub.until(lambda: bool(stub.of("TargetsNotCurrent", "resolve")), 60)
                    await stub.until(lambda: bool(stub.of("DiscoveryFailing", "resolve")), 60)
                finally:
                    await asyncio.to_thread(prometheus.stop)
        rung = {
            (event["routing_key"], event["payload"]["class"])
            for event in stub.events
            if event["payload"] and event["payload"]["class"] not in STARVED
        }
        low = key_of("pagerduty-warning")
        assert rung == {(low, "ServiceUnknown"), (low, "TargetsNotCurrent"), (low, "DiscoveryFailing")}


async def hang_up(*_: object) -> None:
    """Shake hands, and say nothing."""


async def never_known(stub: Pager, app: App) -> None:
    """F25: a service whose name has had no answer since the start."""
    await stub.until(lambda: bool(stub.of("ServiceUnknown")), 60)
    assert summaries(stub, "ServiceUnknown") == ["The exporter cannot tell whether vault is up"]
    (page,) = stub.of("ServiceUnknown")
    assert page["payload"]["custom_details"]["cause"].strip() == "its instances are not known (not_discovered)"
    assert value(app, "probe_service_up", "vault") is None
    assert value(app, "probe_service_up", "case") == 1


async def known_but_not_as_configured(stub: Pager, app: App) -> None:
    """Its name is answered now, and the file with the authority, good at the start, is broken meanwhile."""
    await stub.until(lambda: bool(stub.of("ServiceUnknown", "resolve")), 60)
    await stub.until(lambda: bool(stub.of("TargetsNotCurrent")), 60)
    assert summaries(stub, "TargetsNotCurrent") == ["The exporter does not probe vault as it is configured"]
    assert value(app, "probe_service_up", "vault") == 1
    assert value(app, "probe_service_targets_current", "vault") == 0


async def known_once(stub: Pager, app: App) -> None:
    """The other's name, answered at the start, is not any more: what is known of it stays."""
    await stub.until(lambda: bool(stub.of("DiscoveryFailing")), 60)
    assert summaries(stub, "DiscoveryFailing") == ["The instances of case cannot be told any more"]
    assert value(app, "probe_discovery_success", "case") == 0
    assert value(app, "probe_discovery_instances", "case") == 1
    assert value(app, "probe_service_up", "case") == 1
