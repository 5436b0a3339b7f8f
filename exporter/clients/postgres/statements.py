"""What statements have cost: pg_stat_statements, where it is installed, from version 1.4 of the extension on."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from exporter.clients.postgres.numbers import number
from exporter.clients.postgres.session import Session
from exporter.clients.postgres.told import told
from exporter.clients.postgres.wire import Row, ServerError
from exporter.verdict import Failure, Reason, Stage

__all__ = [
    "MAX_STATEMENTS", "MIN_SECONDS", "Cost", "Costs", "Installed", "Statement", "StatementsState",
    "find_statements", "read_costs", "read_statements",
]  # fmt: skip

MAX_STATEMENTS = 5000
"""Statements that are looked at, those of the longest total: as many as the extension keeps if nothing else is said."""

MIN_SECONDS = 0.01
"""Seconds that a statement must have taken in all to be looked at, which most of those that are kept have not."""

_MAX_LINES = MAX_STATEMENTS * 150
"""Letters of all that is told of their costs, of which each takes a hundred."""

_MAX_TEXT = 2000
"""Letters of a statement that are read, to tell fewer."""

_INSTALLED = """
SELECT quote_ident(n.nspname), CASE
    WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN 'schema'
    WHEN NOT has_function_privilege(p.oid, 'EXECUTE') THEN 'function'
    WHEN current_setting('pg_stat_statements.max', true) IS NULL THEN 'library' END,
  'total_exec_time' = ANY (p.proargnames)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = 'pg_stat_statements'
WHERE e.extname = 'pg_stat_statements'"""
"""The column of times has its name from version 1.8 on. The library defines its settings only where the server loads it."""
_COSTS = """
WITH s AS (SELECT userid, dbid, queryid, calls, {time} AS time, rows FROM {schema}.pg_stat_statements(false))
SELECT (SELECT count(*) FROM s WHERE queryid IS NULL), string_agg(line, ',') FROM (
  SELECT concat(userid, ' ', dbid, ' ', queryid, ':', sum(time) / 1000, ':', sum(calls), ':', sum(rows)) AS line
  FROM s WHERE queryid IS NOT NULL GROUP BY userid, dbid, queryid HAVING sum(time) >= {least}
  ORDER BY sum(time) DESC LIMIT {most}) lines"""
"""In one row: thousands of rows would cost the client more than the server. Without the texts, which are in a file."""
_STATEMENTS = """
SELECT concat(s.userid, ' ', s.dbid, ' ', s.queryid), s.queryid::text, coalesce(min(r.rolname::text), s.userid::text),
  coalesce(min(d.datname::text), s.dbid::text), left(min(s.query), {most})
FROM {schema}.pg_stat_statements({texts}) s
LEFT JOIN pg_roles r ON r.oid = s.userid LEFT JOIN pg_database d ON d.oid = s.dbid
WHERE (s.userid::bigint, s.dbid::bigint, s.queryid) IN ({keys}) GROUP BY s.userid, s.dbid, s.queryid"""
_OTHER_ENCODING = frozenset({"22021", "22P05"})
"""SQLSTATE of bytes that are no text in the encoding of this database: one statement of another, and all are lost."""

_KEY = re.compile(r"\d{1,10} \d{1,10} -?\d{1,19}", re.ASCII)


class StatementsState(StrEnum):
    """What is known of the statements of a server."""

    READ = "read"
    HIDDEN = "hidden"
    """Those of other users are not told to the role."""
    NOT_INSTALLED = "not_installed"
    """The extension is not in the database that is logged in to."""
    NOT_LOADED = "not_loaded"
    """It is, and the server does not load its library."""
    FORBIDDEN = "forbidden"
    """The role may not call it."""


_REFUSALS = {
    "schema": (StatementsState.FORBIDDEN, Reason.AUTH, "no USAGE on schema {schema}, which has pg_stat_statements"),
    "function": (StatementsState.FORBIDDEN, Reason.AUTH, "no EXECUTE on {schema}.pg_stat_statements(boolean)"),
    "library": (
        StatementsState.NOT_LOADED,
        Reason.QUERY_FAILED,
        "pg_stat_statements is not in shared_preload_libraries",
    ),
}


@dataclass(frozen=True, slots=True)
class Installed:
    """The extension, as it is installed.

    Attributes:
        schema: Its schema, quoted.
        time: Its column of times.
        refusal: Why it cannot be asked, and what that makes of it; None where it can.
    """

    schema: str
    time: str
    refusal: tuple[StatementsState, Failure] | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a statement has cost since it was last reset.

    Attributes:
        seconds: In which it ran.
        figures: Calls and rows, as text: only few statements are told, of thousands.
    """

    seconds: float
    figures: str

    def counted(self) -> tuple[float, float]:
        """Return its calls and its rows.

        Raises:
            Failure: They cannot be read.
        """
        try:
            calls, rows = map(number, self.figures.split(":"))
        except ValueError:
            raise _unreadable() from None
        return calls, rows


@dataclass(frozen=True, slots=True)
class Costs:
    """What statements have cost.

    Attributes:
        by_key: By the key of a statement: user, database, and what the server calls it.
        hidden: Statements of others that are not told to the role.
    """

    by_key: Mapping[str, Cost]
    hidden: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What a statement is.

    Attributes:
        queryid: What the server calls it.
        user: Who runs it.
        database: Where.
        text: Its beginning, without values and comments; of commands that are no query, which are kept with all that is in
            them, the first word. Empty where the server cannot tell it.
    """

    queryid: str
    user: str
    database: str
    text: str


async def find_statements(session: Session, seconds: float) -> Installed | None:
    """Return how the extension is installed in the database of the session; None where it is not.

    Raises:
        Failure, OSError, TimeoutError: As for `Session.read`; `malformed` for an answer that is not what was asked for.
    """
    tables = await session.read(seconds, _INSTALLED)
    try:
        (rows,) = tables
        if not rows:
            return None
        ((schema, why, newer),) = rows
        return Installed(schema or "", "total_exec_time" if newer == "t" else "total_time", _refusal(why, schema or ""))
    except (ValueError, KeyError):
        raise _unreadable() from None


def _refusal(why: str | None, schema: str) -> tuple[StatementsState, Failure] | None:
    if why is None:
        return None
    state, reason, words = _REFUSALS[why]
    return state, Failure(Stage.QUERY, reason, words.format(schema=schema))


async def read_costs(session: Session, seconds: float, where: Installed) -> Costs:
    """Read what all statements have cost, those that took next to nothing left out.

    Raises:
        Failure, OSError, TimeoutError: As for `Session.read`; `malformed` for an answer that is not what was asked for.
    """
    least = 1000 * MIN_SECONDS
    tables = await session.read(
        seconds, _COSTS.format(time=where.time, schema=where.schema, least=least, most=MAX_STATEMENTS)
    )
    try:
        (((hidden, text),),) = tables
        lines = text.split(",", MAX_STATEMENTS) if text else []
        if len(lines) > MAX_STATEMENTS or len(text or "") > _MAX_LINES:
            raise _unreadable()
        by_key: dict[str, Cost] = {}
        for line in lines:
            key, took, figures = line.split(":", 2)
            by_key[key] = Cost(number(took), figures)
        return Costs(by_key, int(number(hidden)))
    except ValueError:
        raise _unreadable() from None


async def read_statements(
    session: Session, seconds: float, where: Installed, keys: Collection[str]
) -> Mapping[str, Statement]:
    """Read what statements are, by their keys; one that is gone is left out.

    The server tells no text at all where some statement of another database has bytes that are no text in this one's
    encoding; then all are told without.

    Args:
        session: Of the database that has the extension.
        seconds: For all of it.
        where: The extension.
        keys: The statements.

    Raises:
        Failure, OSError, TimeoutError: As for `Session.read`; `malformed` for an answer that is not what was asked for.
    """
    if not all(map(_KEY.fullmatch, keys)):
        raise _unreadable()
    wanted = ", ".join(f"({key.replace(' ', ', ')})" for key in sorted(keys))
    form = partial(_STATEMENTS.format, schema=where.schema, most=_MAX_TEXT, keys=wanted)
    try:
        tables = await session.read(seconds / 2, form(texts="true"), len(keys))
    except ServerError as error:
        if error.sqlstate not in _OTHER_ENCODING:
            raise
        tables = await session.read(seconds / 2, form(texts="false"), len(keys))
    try:
        return dict(_statement(row) for rows in tables for row in rows)
    except ValueError:
        raise _unreadable() from None


def _statement(row: Row) -> tuple[str, Statement]:
    key, queryid, user, database, text = row
    return key or "", Statement(queryid or "", user or "", database or "", told(text) if text is not None else "")


def _unreadable() -> Failure:
    return Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read")
