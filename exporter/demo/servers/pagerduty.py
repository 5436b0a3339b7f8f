"""A stand-in for PagerDuty's Events API v2, which cannot run here: it takes events as that does, and opens incidents."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from exporter.demo.servers.events_api import MAX_BYTES, problems, routing_key

__all__ = ["Incident", "PagerDuty"]

_KEPT = 10_000


@dataclass
class Incident:
    """What one person is paged with once, however often it is told of again.

    Attributes:
        receiver: Alertmanager's receiver whose key it came with.
        dedup_key: What holds its events together.
        opened: When it was opened, on the clock of `time.monotonic`.
        triggers: The events that opened it and added to it, the oldest first.
        resolved: When it was resolved.
    """

    receiver: str
    dedup_key: str
    opened: float
    triggers: list[dict[str, Any]] = field(default_factory=list)
    resolved: float | None = None


@dataclass
class PagerDuty:
    """The stand-in. It knows the keys of every receiver that it was told of.

    Attributes:
        port: Where it listens on loopback.
        told: Called with each event.
        events: Those that it accepted last, the oldest first.
        incidents: Those that they opened, the oldest first.
        refused: What it answered those events that it refused.
        beats: How often the dead man's switch was pressed.
    """

    port: int
    told: Callable[[dict[str, Any]], None] = lambda _: None
    events: list[dict[str, Any]] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    refused: list[list[str]] = field(default_factory=list)
    beats: int = 0
    _keys: dict[str, str] = field(default_factory=dict)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def key(self, receiver: str) -> str:
        """Return the integration key of a receiver, which is taken from now on."""
        key = routing_key(receiver)
        self._keys[key] = receiver
        return key

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=2 * MAX_BYTES)
        app.router.add_post("/v2/enqueue", self._enqueue)
        app.router.add_post("/watchdog", self._beat)
        app.router.add_get("/", self._list)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _enqueue(self, request: web.Request) -> web.Response:
        body = await request.read()
        if wrong := problems(body, self._keys):
            self.refused.append(wrong)
            answer = {"status": "invalid event", "message": "Event object is invalid", "errors": wrong}
            return web.json_response(answer, status=413 if len(body) > MAX_BYTES else 400)
        event = json.loads(body)
        event.setdefault("dedup_key", f"made-{len(self.events)}")  # PagerDuty makes one where there is none
        self.events.append(event)
        del self.events[:-_KEPT]
        self._keep(event)
        self.told(event)
        answer = {"status": "success", "message": "Event processed", "dedup_key": event["dedup_key"]}
        return web.json_response(answer, status=202)

    def _keep(self, event: dict[str, Any]) -> None:
        """Open an incident, add to it, or resolve it; a resolve of what is not open does nothing."""
        receiver, key, now = self._keys[event["routing_key"]], event["dedup_key"], time.monotonic()
        kept = (i for i in self.incidents if (i.receiver, i.dedup_key, i.resolved) == (receiver, key, None))
        incident = next(kept, None)
        if event["event_action"] == "trigger":
            if incident is None:
                incident = Incident(receiver, key, now)
                self.incidents.append(incident)
            incident.triggers.append(event)
        elif event["event_action"] == "resolve" and incident is not None:
            incident.resolved = now

    async def _beat(self, _: web.Request) -> web.Response:
        self.beats += 1
        return web.Response()

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"events": self.events, "refused": self.refused, "beats": self.beats})
