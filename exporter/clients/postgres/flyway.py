"""Flyway's schema history: what is applied, and what failed.

A failed transactional migration is rolled back on PostgreSQL and leaves no row, so a count of failures is a lower bound.
What is pending is not in the table at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["History", "read_history"]

_NOT_MIGRATIONS = frozenset({"SCHEMA", "DELETE"})


@dataclass(frozen=True, slots=True)
class History:
    """What a history table comes to.

    Attributes:
        version: Highest version applied, compared by its numbers; None where there is none.
        migrations: Migrations applied, repeatable ones included.
        failed: Rows that say they failed, and were not repaired.
    """

    version: str | None
    migrations: int
    failed: int


def read_history(rows: Iterable[Mapping[str, Any]]) -> History:
    """Sum up rows of `version, type, success, script`, by installed_rank.

    A repeatable migration has no version and one row for each time it ran; undone and deleted migrations do not count.
    """
    applied: dict[str, str | None] = {}
    failed: set[str] = set()
    for row in rows:
        kind, version = str(row["type"]), row["version"]
        key = f"version {version}" if version is not None else f"script {row['script']}"
        if not row["success"]:
            failed.add(key)
            continue
        failed.discard(key)
        if kind == "DELETE" or kind.startswith("UNDO"):
            applied.pop(key, None)
        elif kind not in _NOT_MIGRATIONS:
            applied[key] = version
    versions = [version for version in applied.values() if version is not None]
    return History(max(versions, key=_numbers, default=None), len(applied), len(failed))


def _numbers(version: str) -> tuple[int, ...]:
    """Split a version as Flyway does: 10.2 is after 9.1."""
    return tuple(int(part) for part in re.split(r"[._]", version) if part.isascii() and part.isdigit())
