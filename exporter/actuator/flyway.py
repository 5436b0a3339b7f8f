"""`/actuator/flyway`: the migrations that an application brings, and those that its database has."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from yarl import URL

from exporter.actuator.client import ActuatorClient, accept, parsed
from exporter.actuator.meter_reader import JSON_ACCEPT
from exporter.metrics.family import gauge
from exporter.metrics.store import LabelValues, Samples
from exporter.probing.attempt import Attempt
from exporter.probing.cadence import Every, Turn
from exporter.verdict import Failure, Reason, Stage

__all__ = ["METRICS", "RUNS", "MigrationReader", "Migrations", "parse", "samples_of"]

RUNS = 20
"""Attempts between two questions for migrations: they change when an application starts, and each asks its database."""

VERSION = gauge(
    "probe_flyway_version",
    "1 for the highest migration that the application brings (expected) and that its database has (applied).",
    "flyway", "which", "version",
)  # fmt: skip
MIGRATIONS = gauge(
    "probe_flyway_migrations", "Migrations that the application knows of, by Flyway's state.", "flyway", "state"
)
BEHIND = gauge("probe_flyway_behind", "1 if the database lacks the highest migration that the application brings.", "flyway")
METRICS = (VERSION, MIGRATIONS, BEHIND)

MAX_BEANS = 20
MAX_MIGRATIONS = 10_000
"""Over all beans; an answer with more is refused, since the highest versions come last."""

MAX_TEXT = 64

_APPLIED = frozenset({"SUCCESS", "OUT_OF_ORDER", "OUTDATED", "SUPERSEDED", "BASELINE", "MISSING_SUCCESS", "FUTURE_SUCCESS"})
_EXPECTED = frozenset({"SUCCESS", "OUT_OF_ORDER", "OUTDATED", "SUPERSEDED", "BASELINE", "PENDING", "FAILED"})
"""States of migrations that the application brings and means to apply; `ABOVE_TARGET` and `IGNORED` it does not."""

_STATES = _APPLIED | _EXPECTED | {
    "ABOVE_TARGET", "AVAILABLE", "BASELINE_IGNORED", "BELOW_BASELINE", "DELETED", "FUTURE_FAILED", "IGNORED",
    "MISSING_FAILED", "UNDONE",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Migrations:
    """What one Flyway bean says.

    Attributes:
        bean: Its name, after that of its application context where there are several.
        expected: Highest version that the application brings; None where it brings none.
        applied: Highest version that the database has.
        states: How many migrations are in which state; a state that Flyway does not have counts as `OTHER`.
    """

    bean: str
    expected: str | None
    applied: str | None
    states: dict[str, int]

    @property
    def behind(self) -> bool:
        """The database lacks what the application expects."""
        return self.expected is not None and (self.applied is None or _numbers(self.applied) < _numbers(self.expected))


def parse(body: bytes) -> list[Migrations]:
    """Read an answer of Boot 2.0 to 4.x.

    Of more than `MAX_BEANS` beans the first by name are kept.

    Raises:
        Failure: `malformed`, or `too_large`, where there are more than `MAX_MIGRATIONS`.
    """
    try:
        contexts = json.loads(body)["contexts"]
        beans = {
            _text(bean if len(contexts) == 1 else f"{context}/{bean}", 2 * MAX_TEXT): content["migrations"]
            for context, found in contexts.items()
            for bean, content in found["flywayBeans"].items()
        }
        if sum(map(len, beans.values())) > MAX_MIGRATIONS:
            raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"flyway: more than {MAX_MIGRATIONS} migrations")
        return [_read(bean, beans[bean]) for bean in sorted(beans)[:MAX_BEANS]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Failure(Stage.CHECK, Reason.MALFORMED, "flyway: the answer is not what Boot's endpoint gives") from None


class MigrationReader:
    """Asks an application for its migrations now and then, and after a restart; what was found holds in between.

    Args:
        client: Asks the actuator.
        base: URL of the actuator.
        max_bytes: Longest answer that is read.
    """

    def __init__(self, client: ActuatorClient, base: URL, max_bytes: int) -> None:
        self._client = client
        self._url = base / "flyway"
        self._max_bytes = max_bytes
        self._question = Every(RUNS)
        self._found: list[Migrations] | Failure | None = None
        self._samples: Samples = {}
        self._restarts = 0

    async def check(self, attempt: Attempt, turn: Turn, *, up: bool, restarts: int) -> None:
        """Record what is known, having asked if it is time to, as the part `flyway`.

        Args:
            attempt: Receives it.
            turn: How long it may take.
            up: The application is; one that is not is not asked: its answer takes connections of a pool that may have none.
            restarts: Of its process so far.
        """
        if restarts != self._restarts:
            self._question.at_once()
            self._restarts, self._found = restarts, None
        if self._question.due and up:
            self._question.done()
            self._found = await self._ask(attempt, turn)
            self._samples = samples_of(self._found) if isinstance(self._found, list) else {}
        elif self._found is not None:
            attempt.note_asked("flyway", self._question.at)
        self._question.passed()
        match self._found:
            case None:  # not asked yet; not exposed, or not to us: nothing that could be mended here
                attempt.parts.pop("flyway", None)
            case Failure() as failure:
                attempt.parts["flyway"] = failure
            case _:
                async with attempt.part("flyway") as part:
                    part.record_all(self._samples)

    async def _ask(self, attempt: Attempt, turn: Turn) -> list[Migrations] | Failure | None:
        async with attempt.part("flyway", timeout=turn.share * attempt.part_time) as part:
            answer = await self._client.ask(self._url, JSON_ACCEPT, part, self._max_bytes, spare=turn.aside)
            if answer.status in {401, 403, 404}:
                return None
            accept(answer, "flyway")
            return await parsed(parse, answer.body)
        return attempt.parts["flyway"]


def samples_of(found: list[Migrations]) -> Samples:
    """Return what is recorded of it."""
    versions: dict[LabelValues, float] = {}
    states: dict[LabelValues, float] = {}
    for item in found:
        for which, version in (("expected", item.expected), ("applied", item.applied)):
            if version is not None:
                versions[item.bean, which, version] = 1.0
        for state, count in item.states.items():
            states[item.bean, state] = float(count)
    return {VERSION: versions, MIGRATIONS: states, BEHIND: {(item.bean,): float(item.behind) for item in found}}


def _read(bean: str, migrations: list[dict[str, Any]]) -> Migrations:
    states: Counter[str] = Counter({"SUCCESS": 0, "PENDING": 0, "FAILED": 0})
    expected: list[str] = []
    applied: list[str] = []
    for migration in migrations:
        if migration["type"] == "SCHEMA":  # the creation of the schema is no migration
            continue
        state, version = str(migration["state"]), migration.get("version")
        states[state if state in _STATES else "OTHER"] += 1
        if isinstance(version, str):
            if state in _EXPECTED:
                expected.append(version)
            if state in _APPLIED:
                applied.append(version)
    return Migrations(bean, _highest(expected), _highest(applied), dict(states))


def _highest(versions: list[str]) -> str | None:
    return _text(max(versions, key=_numbers), MAX_TEXT) if versions else None


def _numbers(version: str) -> tuple[int, ...]:
    """Split a version as Flyway does: 10.2 is after 9.1, and 1.0 is 1."""
    numbers = [int(part) for part in re.split(r"[._]", version[:MAX_TEXT]) if part.isascii() and part.isdigit()]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _text(value: str, limit: int) -> str:
    """Cut, and replace what UTF-8 cannot carry, so that two names which look the same are the same."""
    return value[:limit].encode("utf-8", "replace").decode()
