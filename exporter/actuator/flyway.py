"""`/actuator/flyway`: the migrations that an application brings, and those that its database has."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from exporter.metrics.family import gauge
from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason, Stage

__all__ = ["METRICS", "Migrations", "parse", "record"]

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


def record(attempt: Attempt, found: list[Migrations]) -> None:
    """Record what was read."""
    for item in found:
        for which, version in (("expected", item.expected), ("applied", item.applied)):
            if version is not None:
                attempt.record(VERSION, 1, item.bean, which, version)
        for state, count in item.states.items():
            attempt.record(MIGRATIONS, count, item.bean, state)
        attempt.record(BEHIND, item.behind, item.bean)


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
