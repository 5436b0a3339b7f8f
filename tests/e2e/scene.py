"""What a row does to its stack, when, and what it waits for."""

from __future__ import annotations

import asyncio
import time
from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from exporter.demo.faults import FAULTS
from exporter.demo.servers.base import Server
from exporter.demo.servers.pagerduty import Incident
from tests.e2e.kafka_faults import KAFKA_FAULTS
from tests.e2e.row import ON_CALL, Owed, Row, Step, filled
from tests.e2e.stack import Stack

__all__ = [
    "Broken", "Scene", "act", "begin", "cut", "end", "flap", "forget", "mark", "on", "paged", "reloaded", "remember",
    "resolved", "silence", "stay", "usual",
]  # fmt: skip

_KNOWN = ChainMap(FAULTS, KAFKA_FAULTS)

SLACK = 60.0
"""Seconds that are waited longer than a page may take: it is late then, and not missing."""


@dataclass
class Broken:
    """A time for which something was broken, on the clock of `time.monotonic`."""

    fault: str
    since: float
    until: float | None = None


@dataclass
class Scene:
    """A row under way.

    Attributes:
        row: Which.
        stack: Where.
        services: Those that are its own.
        began: When it began.
        marks: Times by name.
        broken: What was broken, and when.
        ended: When it was over.
        error: What went wrong with the harness itself.
    """

    row: Row
    stack: Stack
    services: Sequence[str]
    began: float = field(default_factory=time.monotonic)
    marks: dict[str, float] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    ended: float = 0.0
    error: str = ""

    async def run(self) -> None:
        """Play the story; whatever happens, mend what it broke."""
        try:
            for step in self.row.story:
                await step(self)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
        finally:
            for broken in self.broken:
                if broken.until is None:
                    await self.mend(broken)
            self.ended = time.monotonic()

    def service(self, number: int) -> str:
        """Name one of its services; a fault of the whole fleet has none."""
        return self.services[number] if number < len(self.services) else ""

    async def mend(self, broken: Broken) -> None:
        """End a fault."""
        name, _, service = broken.fault.partition(":")
        await _KNOWN[name].end(self.stack.fleet, service)
        broken.until = time.monotonic()

    def since(self, owed: Owed) -> float | None:
        """Return from when the seconds to a page count, if that has come."""
        if owed.since:
            return self.marks.get(owed.since)
        return self.broken[0].since if self.broken else None

    def incidents(self, owed: Owed) -> list[Incident]:
        """Return what was opened of what is owed."""
        name = filled(owed.incident, self.services)
        return [
            incident
            for incident in self.stack.fleet.pagerduty.incidents
            if incident.opened >= self.began and is_of(incident, owed, name)
        ]

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for something, so long at most; tell whether it came."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.1)
        return True


def is_of(incident: Incident, owed: Owed, name: str) -> bool:
    """Tell whether an incident is one that is owed: by its receiver, its name, and the alerts in it."""
    if (incident.receiver == ON_CALL) is owed.low:
        return False
    return name_of(incident) == name and owed.alert in alerts_of(incident)


def name_of(incident: Incident) -> str:
    """Return what an incident is named after."""
    return str(incident.triggers[0]["payload"]["source"])


def alerts_of(incident: Incident) -> set[str]:
    """Return the names of the alerts that an incident was ever made of."""
    found = set()
    for event in incident.triggers:
        payload = event["payload"]
        lines = str((payload.get("custom_details") or {}).get("firing", "")).splitlines()
        found |= {line.split()[0] for line in lines if line.strip()} | {str(payload.get("class") or "")}
    return found - {""}


def begin(fault: str, of: int = 0) -> Step:
    """Break something."""

    async def step(scene: Scene) -> None:
        known = _KNOWN[fault]
        service = scene.service(of) if known.of_service else ""
        broken = Broken(f"{fault}:{service}" if service else fault, time.monotonic())
        scene.marks.setdefault(fault, broken.since)
        scene.broken.append(broken)
        await known.begin(scene.stack.fleet, service)

    return step


def end(fault: str, of: int = 0) -> Step:
    """Mend it."""

    async def step(scene: Scene) -> None:
        name = f"{fault}:{scene.service(of)}" if _KNOWN[fault].of_service else fault
        await scene.mend(next(b for b in scene.broken if b.fault == name and b.until is None))

    return step


def stay(seconds: float) -> Step:
    """Let time pass: so many seconds at the shipped intervals."""

    async def step(scene: Scene) -> None:
        await asyncio.sleep(scene.stack.seconds(seconds))

    return step


def mark(name: str) -> Step:
    """Remember the time."""

    async def step(scene: Scene) -> None:
        scene.marks[name] = time.monotonic()

    return step


def paged(times: int = 1) -> Step:
    """Wait until everything that is owed by now has been opened so many times; go on without it where it does not come."""

    async def step(scene: Scene) -> None:
        def owed() -> list[Owed]:
            return [o for o in scene.row.owed if o.times[0] and scene.since(o) is not None]

        longest = max((o.within for o in owed()), default=0.0)
        await scene.until(
            lambda: all(len(scene.incidents(o)) >= min(times, o.times[0]) for o in owed()),
            scene.stack.seconds(longest) + SLACK / min(4, scene.stack.hurry),
        )

    return step


def resolved() -> Step:
    """Wait until everything that was opened is resolved."""

    async def step(scene: Scene) -> None:
        patience = max(20.0, scene.stack.seconds(scene.row.patience))
        await scene.until(lambda: all(i.resolved is not None for o in scene.row.owed for i in scene.incidents(o)), patience)

    return step


def act(what: Callable[[Stack], Any]) -> Step:
    """Do something to the stack: call it, in a thread where it does not return a coroutine."""

    async def step(scene: Scene) -> None:
        if asyncio.iscoroutinefunction(what):
            await what(scene.stack)
        else:
            await scene.stack.fleet.in_thread(lambda: what(scene.stack))

    return step


def on(server: Callable[[Stack], Server], method: str) -> Step:
    """Start, stop, kill, pause or resume a server of those that watch."""
    return act(lambda stack: getattr(server(stack), method)())


def cut() -> Step:
    """Part Prometheus from the exporter."""

    async def step(scene: Scene) -> None:
        await scene.stack.link.refuse()

    return step


def silence(seconds: float) -> Step:
    """Silence the first service for so long, as a person does before maintenance."""

    async def step(scene: Scene) -> None:
        now = datetime.now(UTC)
        body = {
            "matchers": [{"name": "service", "value": scene.service(0), "isRegex": False, "isEqual": True}],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(seconds=scene.stack.seconds(seconds))).isoformat(),
            "createdBy": "e2e",
            "comment": "maintenance",
        }
        url = f"http://{scene.stack.alertmanager.address}/api/v2/silences"
        async with scene.stack.session.post(url, json=body) as answer:
            answer.raise_for_status()

    return step


def flap(fault: str, down: float, up: float, times: int) -> Sequence[Step]:
    """Break and mend, again and again."""
    return [step for _ in range(times) for step in (begin(fault), stay(down), end(fault), stay(up))]


def forget() -> Step:
    """Take the first service out of the exporter's configuration, and reload it."""
    return _configured(keep=False)


def remember() -> Step:
    """Put the first service back."""
    return _configured(keep=True)


def reloaded() -> Step:
    """Let the exporter read its configuration as it has been changed."""
    return _configured(keep=True)


def _configured(*, keep: bool) -> Step:
    async def step(scene: Scene) -> None:
        exporter = scene.stack.fleet.exporter
        exporter.prepare()  # the whole configuration
        if not keep:
            config = yaml.safe_load(exporter.config_path.read_text())
            del config["services"][scene.service(0)]
            for service in config["services"].values():
                service["depends_on"] = [name for name in service["depends_on"] if name != scene.service(0)]
            exporter.config_path.write_text(yaml.safe_dump(config))
        async with scene.stack.session.post(f"http://{exporter.address}/-/reload") as answer:
            answer.raise_for_status()

    return step


def usual(fault: str, lasts: float = 45.0) -> Sequence[Step]:
    """Break it, wait for the page, see that nothing follows, mend it, wait for the resolve."""
    return (begin(fault), paged(), stay(lasts), end(fault), resolved(), stay(20))
