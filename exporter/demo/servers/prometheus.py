"""Prometheus and Alertmanager from Debian packages, with the configuration that is shipped: only addresses are replaced."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import yaml

from exporter.demo.servers.base import WebServer
from exporter.demo.servers.events_api import routing_key
from exporter.demo.servers.pagerduty import PagerDuty

__all__ = ["ALERTS", "AlertmanagerServer", "PrometheusServer", "alertmanager_config", "prometheus_config", "shipped"]

ALERTS = Path(__file__).parents[3] / "alerts"
"""The configuration that is shipped, in a checkout."""


def shipped(folder: Path, checkout: Path = ALERTS) -> Path:
    """Return the folder of the shipped configuration: the checkout's, or where there is none, one made from code.

    Args:
        folder: Where one may be made.
        checkout: The checkout's.
    """
    if (checkout / "prometheus.yml").is_file():
        return checkout
    made = folder / "alerts"
    if not made.is_dir():
        command = [sys.executable, "-m", "exporter", "alerts", "build", "--output", str(made)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return made


class PrometheusServer(WebServer):
    """Scrapes the exporter and evaluates the shipped rules.

    Args:
        directory: Where it keeps its data.
        port: Where it listens.
        exporter: Address of the exporter.
        alertmanager: Address of Alertmanager, if there is one.
        every: Scrape and evaluate this often instead of as shipped; for tests that cannot wait.
    """

    name: ClassVar[str] = "prometheus"

    def __init__(
        self, directory: Path, port: int | None, exporter: str, alertmanager: str | None, every: str | None = None
    ) -> None:
        super().__init__(directory, port)
        self._config = prometheus_config(exporter, alertmanager, every, shipped(self.directory))

    @staticmethod
    def installed() -> bool:
        """Tell whether it can be started."""
        return shutil.which("prometheus") is not None

    def prepare(self) -> None:
        """Write its configuration."""
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump(self._config))

    def command(self) -> Iterable[str | Path]:
        """Return the command line."""
        return [
            "prometheus", f"--config.file={self.directory / 'prometheus.yml'}", f"--web.listen-address={self.address}",
            f"--storage.tsdb.path={self.directory / 'data'}", "--log.level=warn",
        ]  # fmt: skip


class AlertmanagerServer(WebServer):
    """Routes alerts as shipped, to a stand-in for PagerDuty.

    Args:
        directory: Where it keeps its data and the stand-in's keys.
        port: Where it listens.
        pagerduty: The stand-in, which gives each receiver its key.
    """

    name: ClassVar[str] = "alertmanager"

    def __init__(self, directory: Path, port: int | None, pagerduty: PagerDuty) -> None:
        super().__init__(directory, port)
        self._pagerduty = pagerduty

    @staticmethod
    def installed() -> bool:
        """Tell whether it can be started."""
        return shutil.which("prometheus-alertmanager") is not None

    def prepare(self) -> None:
        """Write its configuration."""
        config = alertmanager_config(self._pagerduty.url, self.directory, self._pagerduty.key, shipped(self.directory))
        (self.directory / "alertmanager.yml").write_text(yaml.safe_dump(config))

    def command(self) -> Iterable[str | Path]:
        """Return the command line: alone, no cluster."""
        return [
            "prometheus-alertmanager", f"--config.file={self.directory / 'alertmanager.yml'}",
            f"--storage.path={self.directory / 'data'}", f"--web.listen-address={self.address}",
            "--cluster.listen-address=", "--log.level=warn",
        ]  # fmt: skip


def prometheus_config(exporter: str, alertmanager: str | None, every: str | None, alerts: Path = ALERTS) -> dict[str, Any]:
    """Return the shipped configuration, of the folder `alerts`, with addresses replaced."""
    config: dict[str, Any] = yaml.safe_load((alerts / "prometheus.yml").read_text())
    config["rule_files"] = [str(alerts / "rules" / "*.yml")]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [exporter]
    if alertmanager is None:
        del config["alerting"]
    else:
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    if every is not None:
        config["global"] |= {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
    return config


def alertmanager_config(
    pagerduty: str, folder: Path, key_of: Callable[[str], str] = routing_key, alerts: Path = ALERTS
) -> dict[str, Any]:
    """Return the shipped configuration with addresses and key files replaced.

    Args:
        pagerduty: URL of the stand-in, without a path.
        folder: Where key files go.
        key_of: Gives a receiver its integration key.
        alerts: Folder of the shipped configuration.
    """
    config: dict[str, Any] = yaml.safe_load((alerts / "alertmanager.yml").read_text())
    config["global"]["pagerduty_url"] = f"{pagerduty}/v2/enqueue"
    for receiver in config["receivers"]:
        for section in receiver.get("pagerduty_configs", ()):
            key = folder / f"{receiver['name']}-key"
            key.write_text(key_of(receiver["name"]))
            section["routing_key_file"] = str(key)
        for section in receiver.get("webhook_configs", ()):
            section["url"] = f"{pagerduty}/watchdog"
    return config
