"""A stand-in for PagerDuty's Events API v2, which cannot run here: it takes events as PagerDuty does, and keeps them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

__all__ = ["PagerDuty"]

_KEPT = 1000
_ACTIONS = ("trigger", "acknowledge", "resolve")
_SEVERITIES = ("critical", "error", "warning", "info")


@dataclass
class PagerDuty:
    """The stand-in.

    Attributes:
        port: Where it listens on loopback.
        events: The last thousand that it accepted, oldest first.
        beats: How often the dead man's switch was pressed.
        told: Called with each event.
    """

    port: int
    told: Callable[[dict[str, Any]], None] = lambda _: None
    events: list[dict[str, Any]] = field(default_factory=list)
    beats: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
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
        try:
            event = await request.json()
        except ValueError:
            event = None
        problem = _problem(event)
        if problem is not None:
            return web.json_response({"status": "invalid event", "errors": [problem]}, status=400)
        self.events.append(event)
        del self.events[:-_KEPT]
        self.told(event)
        return web.json_response(
            {"status": "success", "message": "Event processed", "dedup_key": event["dedup_key"]}, status=202
        )

    async def _beat(self, _: web.Request) -> web.Response:
        self.beats += 1
        return web.Response()

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"events": self.events, "beats": self.beats})


def _problem(event: Any) -> str | None:
    """Return what PagerDuty would refuse an event for."""
    if not isinstance(event, dict):
        return "the body is not a JSON object"
    action = event.get("event_action")
    if action not in _ACTIONS or not event.get("routing_key") or not event.get("dedup_key"):
        return "event_action, routing_key and dedup_key are required"
    if action == "trigger":
        payload = event.get("payload")
        if not isinstance(payload, dict):
            return "payload is required"
        if not payload.get("summary") or not payload.get("source") or payload.get("severity") not in _SEVERITIES:
            return "payload needs summary, source and severity"
    return None
