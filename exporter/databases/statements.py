"""Statements that take a server's time: of thousands that it counts, a few are told, and the same ones for long."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nlargest

from exporter.clients.postgres.session import Session
from exporter.clients.postgres.statements import (
    Cost,
    Costs,
    Statement,
    StatementsState,
    find_statements,
    read_costs,
    read_statements,
)
from exporter.metrics.family import Family, counter, gauge
from exporter.metrics.store import LabelValues
from exporter.probing.attempt import Attempt
from exporter.probing.cadence import Every
from exporter.verdict import Failure, Stage

__all__ = ["READINGS", "STATEMENTS", "Ranking", "StatementsReader"]

READINGS = 4
"""Attempts between two readings; what was found holds in between."""

FADE = 0.9
"""What time a statement took before still counts at a reading, of what it counted at the reading before."""

UNREADABLE = "…"
"""Stands for a statement whose text cannot be had."""

_WHO = ("user", "database", "queryid")
STATE = gauge(
    "probe_postgres_statements_state",
    "1 for what is known of statements: read, hidden (those of others), not_installed, not_loaded or forbidden.",
    "state",
)
TEXT = gauge(
    "probe_postgres_statement_text",
    "1 for a statement that is told: its beginning, without values; of a command that is no query the first word.",
    *_WHO, "statement",
)  # fmt: skip
SECONDS = counter(
    "probe_postgres_statement_seconds_total", "Time in which a statement ran; of those that have taken most of late.", *_WHO
)
CALLS = counter("probe_postgres_statement_calls_total", "How often such a statement ran.", *_WHO)
ROWS = counter("probe_postgres_statement_rows_total", "Rows that such a statement returned or changed.", *_WHO)
STATEMENTS = (STATE, TEXT, SECONDS, CALLS, ROWS)


class Ranking:
    """Which statements are told: those that have taken most time of late, at first those that have ever.

    One comes in when it is among the first so many, and stays as long as it is among twice as many: series do not come and
    go with every reading, and there are never more than those.

    Args:
        most: How many come in.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._told: frozenset[str] = frozenset()
        self._before: Mapping[str, Cost] | None = None
        self._scores: dict[str, float] = {}

    def take(self, costs: Mapping[str, Cost]) -> frozenset[str]:
        """Take in a reading; return the keys of those that are told from now on."""
        before = self._before
        if before is not None:
            old = self._scores
            self._scores = {key: FADE * old.get(key, 0.0) + _since(before.get(key), now) for key, now in costs.items()}
        self._before = costs
        scores = self._scores
        first = nlargest(2 * self._most, costs, key=lambda key: (scores.get(key, 0.0), costs[key].seconds))
        self._told = frozenset({*first[: self._most], *self._told.intersection(first)})
        return self._told


def _since(before: Cost | None, now: Cost) -> float:
    """Return the seconds that a statement took since the reading before."""
    if before is None or before.seconds > now.seconds:  # new, or counted anew
        return now.seconds
    return now.seconds - before.seconds


class StatementsReader:
    """Asks now and then what statements have cost; what was found, or why it was not, holds in between.

    Args:
        most: How many statements come in among those that are told.
    """

    def __init__(self, most: int) -> None:
        self._question = Every(READINGS)
        self._ranking = Ranking(most)
        self._statements: dict[str, Statement] = {}
        self._state: StatementsState | None = None
        self._lines: list[tuple[Statement, float, float, float]] = []
        self._failure: Failure | None = None

    async def check(self, attempt: Attempt, session: Session) -> None:
        """Record what is known as the part `statements`, having asked if it is time to."""
        if self._question.due:
            self._state, self._lines = None, []
            async with attempt.part("statements") as part:
                part.stage = Stage.QUERY
                await self._read(part, session)
            self._failure = attempt.parts["statements"]
            if not session.closed:  # else it was not the question that failed
                self._question.done()
        else:
            attempt.note_asked("statements", self._question.at)
        self._question.passed()
        async with attempt.part("statements") as part:
            self._record(part)
            if self._failure is not None:
                raise self._failure

    def look_anew(self) -> None:
        """Ask when checked next: what was found is of another server, or of before a restart."""
        self._question.at_once()

    async def _read(self, part: Attempt, session: Session) -> None:
        where = await find_statements(session, part.remaining / 3)
        if where is None:
            self._state = StatementsState.NOT_INSTALLED
            return
        if where.refusal is not None:
            self._state, why = where.refusal
            raise why
        found = await read_costs(session, part.remaining / 2, where)
        told = self._ranking.take(found.by_key)
        self._state = StatementsState.HIDDEN if found.hidden else StatementsState.READ
        self._take({key: self._statements[key] for key in told if key in self._statements}, found)
        new = {key for key in told if key not in self._statements or not self._statements[key].text}
        if new:  # in most of the time, so that the server ends it, and not the part's end the session
            more = await read_statements(session, 0.8 * part.remaining, where, new)
            self._take({**self._statements, **more}, found)

    def _take(self, known: dict[str, Statement], found: Costs) -> None:
        """Tell statements of which it is known what they are."""
        self._statements = known
        self._lines = [(known[key], cost.seconds, *cost.counted()) for key, cost in found.by_key.items() if key in known]

    def _record(self, part: Attempt) -> None:
        if self._state is not None:
            part.record(STATE, 1, self._state.value)
        counted: dict[Family, dict[LabelValues, float]] = {SECONDS: {}, CALLS: {}, ROWS: {}}
        for statement, *figures in self._lines:
            who = (statement.user, statement.database, statement.queryid)
            part.record(TEXT, 1, *who, statement.text or UNREADABLE)
            for of, figure in zip(counted.values(), figures, strict=True):
                of[who] = of.get(who, 0) + figure  # a role may be named as the number of one that is gone
        part.record_all(counted)
