"""The shipped Alertmanager configuration in a real Alertmanager, with stand-ins for PagerDuty and the dead man's switch.

Only what a deployment replaces is replaced: addresses, key files and waiting times.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from exporter.demo.ports import free_port
from tests.alerts.tools import DEBIAN

ALERTS = Path(__file__).parents[2] / "alerts"

_COMPLAINT = re.compile(r"level=(warn|error)", re.IGNORECASE)

BATCH = 64
"""Alerts that Prometheus sends at a time."""


def key_of(receiver: str) -> str:
    """Return the integration key that a receiver is given."""
    return f"key-of-{receiver.removeprefix('pagerduty-')}"


@dataclass
class Pager:
    """Stands in for PagerDuty's Events API v2 and for the dead man's switch; keeps what it was sent."""

    url: str
    events: list[dict[str, Any]] = field(default_factory=list)
    beats: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def of(self, alert: str, action: str = "trigger") -> list[dict[str, Any]]:
        """Return the events of one action whose class is the alert's name; a resolve is known by its dedup key."""
        keys = {event["dedup_key"] for event in self.events if event["payload"] and event["payload"].get("class") == alert}
        return [event for event in self.events if event["event_action"] == action and event["dedup_key"] in keys]

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait for something to be true of what was received."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(condition)

    async def receive(self, request: web.Request) -> web.Response:
        """Take an event or a beat."""
        body = await request.json()
        (self.beats if request.path == "/watchdog" else self.events).append(body)
        async with self.changed:
            self.changed.notify_all()
        return web.json_response({"status": "success", "message": "Event processed", "dedup_key": "-"}, status=202)


@asynccontextmanager
async def pager() -> AsyncIterator[Pager]:
    """Serve a `Pager` on a free port."""
    app = web.Application()
    runner = web.AppRunner(app)
    port = free_port()
    stub = Pager(f"http://127.0.0.1:{port}")
    app.router.add_post("/{path:.*}", stub.receive)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield stub
    finally:
        await runner.cleanup()


def alertmanager_config(pager_url: str, folder: Path) -> dict[str, Any]:
    """Return the shipped configuration with addresses, key files and waits replaced."""
    config: dict[str, Any] = yaml.safe_load((ALERTS / "alertmanager.yml").read_text())
    config["global"]["pagerduty_url"] = f"{pager_url}/v2/enqueue"
    for route in (config["route"], *config["route"]["routes"]):
        for wait in ("group_wait", "group_interval"):
            if wait in route:
                route[wait] = "1s"
    for receiver in config["receivers"]:
        for section in receiver.get("pagerduty_configs", ()):
            path = folder / receiver["name"]
            path.write_text(key_of(receiver["name"]))
            section["routing_key_file"] = str(path)
        for section in receiver.get("webhook_configs", ()):
            section["url"] = f"{pager_url}/watchdog"
    return config


@dataclass
class Alertmanager:
    """A running Alertmanager."""

    url: str
    session: aiohttp.ClientSession
    log: Path

    async def post(self, *alerts: Mapping[str, Any]) -> None:
        """Send alerts as Prometheus does."""
        for begin in range(0, len(alerts), BATCH):
            body = io.BytesIO(json.dumps(alerts[begin : begin + BATCH]).encode())
            headers = {"Content-Type": "application/json"}
            async with self.session.post(f"{self.url}/api/v2/alerts", data=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()

    def complaints(self) -> list[str]:
        """Return what it has logged of what did not work: a template that fails, an event that is refused."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if _COMPLAINT.search(line) and "Truncated summary" not in line]


def alert(name: str, severity: str, *, ended: bool = False, summary: str = "", **labels: str) -> dict[str, Any]:
    """Make an alert that fires, or one that has just ended."""
    now = datetime.now(UTC)
    ends = now - timedelta(seconds=1) if ended else now + timedelta(minutes=5)
    return {
        "labels": {"alertname": name, "severity": severity, **labels},
        "annotations": {
            "summary": summary or f"{name} summary",
            "description": f"{name} described",
            "cause": f"{name} caused",
            "action": f"{name} to be mended",
            "runbook_url": f"https://runbooks.test/#{name.lower()}",
            "dashboard": "http://grafana:3000/d/hafnium-fleet?viewPanel=1",
        },
        # Of an alert that is older than its group waits, Alertmanager tells at once.
        "startsAt": (now - timedelta(minutes=1) if ended else now).isoformat(),
        "endsAt": ends.isoformat(),
    }


@asynccontextmanager
async def alertmanager(pager_url: str, folder: Path, command: str = DEBIAN.alertmanager) -> AsyncIterator[Alertmanager]:
    """Run Alertmanager with the shipped configuration until the block ends."""
    config = folder / "alertmanager.yml"
    config.write_text(yaml.safe_dump(alertmanager_config(pager_url, folder)))
    url = f"http://127.0.0.1:{(port := free_port())}"
    path = folder / "alertmanager.log"
    with path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            command,
            f"--config.file={config}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            stdout=log,
            stderr=log,
        )
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session:
                await _ready(session, url, process, folder)
                yield Alertmanager(url, session, path)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _ready(session: aiohttp.ClientSession, url: str, process: asyncio.subprocess.Process, folder: Path) -> None:
    async with asyncio.timeout(20):
        while True:
            assert process.returncode is None, (folder / "alertmanager.log").read_text()
            try:
                async with session.get(f"{url}/-/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)  # a server that is not there yet has nothing to await
