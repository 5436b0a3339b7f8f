"""The `postgres` probe: whether a database lets in and answers, how full it is, and what Flyway has applied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import asyncpg
from pydantic import Field, SecretStr, model_validator

from exporter.auth.secrets import current_secret
from exporter.clients.postgres.flyway import read_history
from exporter.clients.postgres.session import Login, asking, open_session, reading, say_goodbye
from exporter.metrics.family import gauge
from exporter.net.tls import ClientTls, TlsSettings
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, SharedClients, Target
from exporter.verdict import Failure, Reason, Stage

__all__ = ["PROBE", "PostgresProbe", "PostgresSettings"]

CONNECTIONS = gauge(
    "probe_postgres_connections",
    "Client sessions by state, this probe's own left out; hidden are those whose state the role may not see.",
    "state",
)
MAX_CONNECTIONS = gauge("probe_postgres_max_connections", "Most sessions that the server takes: max_connections.")
IDLE = gauge(
    "probe_postgres_idle_connections_over_1h",
    "Client sessions that have been idle for over an hour; absent while some are hidden.",
)
LONGEST_TRANSACTION = gauge(
    "probe_postgres_longest_transaction_seconds",
    "Age of the oldest open transaction of a client; 0 without one, absent while sessions are hidden.",
)
LONGEST_QUERY = gauge(
    "probe_postgres_longest_query_seconds",
    "Age of the longest query that a client is running; 0 without one, absent while sessions are hidden.",
)
FLYWAY_VERSION = gauge(
    "probe_postgres_flyway_version", "1 for the highest version that Flyway has applied to a schema.", "schema", "version"
)
FLYWAY_MIGRATIONS = gauge(
    "probe_postgres_flyway_migrations", "Migrations that Flyway has applied to a schema, repeatable ones included.", "schema"
)
FLYWAY_FAILED = gauge(
    "probe_postgres_flyway_failed_migrations",
    "Migrations in a schema's Flyway history that failed and were not repaired; one that was rolled back leaves no row.",
    "schema",
)

STATES = (
    "active",
    "idle",
    "idle in transaction",
    "idle in transaction (aborted)",
    "fastpath function call",
    "disabled",
    "starting",
    "other",
    "hidden",
)
"""Values of the label `state`: PostgreSQL's own words; `other` for words that it may learn, and `hidden`."""

MAX_SCHEMAS = 200
MAX_ROWS = 10_000

GOODBYE = 0.5
"""Seconds that a server may take to end the session."""

_ACTIVITY = """
SELECT coalesce(state, 'hidden') AS state, count(*) AS sessions,
  count(*) FILTER (WHERE state = 'idle' AND query_start < now() - interval '1 hour') AS idle,
  coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 AS transaction,
  coalesce(max(extract(epoch FROM clock_timestamp() - query_start)) FILTER (WHERE state = 'active'), 0)::float8 AS query
FROM pg_stat_activity
WHERE coalesce(backend_type, 'client backend') = 'client backend' AND (datid IS NOT NULL OR state = 'starting')
  AND pid <> pg_backend_pid()
GROUP BY 1"""
_HISTORIES = """
SELECT n.nspname AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = $1 AND c.relkind IN ('r', 'p') AND NOT pg_is_other_temp_schema(n.oid)
  AND ($2::text[] IS NULL OR n.nspname = ANY($2)) ORDER BY 1 LIMIT $3"""

_REASONS = {
    "28000": Reason.AUTH,  # the role may not log in, or from here
    "28P01": Reason.AUTH,  # wrong password
    "42501": Reason.AUTH,  # insufficient privilege
    "53300": Reason.TOO_MANY_CONNECTIONS,
    "57P01": Reason.STARTING,  # shutting down
    "57P02": Reason.STARTING,  # after a crash
    "57P03": Reason.STARTING,  # starting up, or in recovery
    "57014": Reason.TIMEOUT,  # statement_timeout
    "55P03": Reason.TIMEOUT,  # lock_timeout
    "08P01": Reason.PROTOCOL,
}
"""Meaning of SQLSTATE; class 08 is a lost connection, anything else a failed query."""


class PostgresSettings(ProbeSettings):
    """How to log in, and where Flyway keeps its history."""

    user: str = Field(min_length=1, max_length=63, description="The role; with pg_monitor it sees every session.")
    password: SecretStr | None = Field(None, description="Its password; masked wherever shown.")
    password_file: Path | None = Field(None, description="File with its password, read at each login.")
    database: str = Field(min_length=1, max_length=63, description="The database to log in to.")
    tls: TlsSettings | None = Field(None, description="Speak TLS, and refuse a server that does not; default: plain.")
    flyway_table: str | None = Field(
        "flyway_schema_history", min_length=1, max_length=63, description="Flyway's table, in every schema; null: none."
    )

    flyway_schemas: tuple[Annotated[str, Field(min_length=1, max_length=63)], ...] | None = Field(
        None, min_length=1, max_length=MAX_SCHEMAS, description="Schemas to look in; default: every one that has the table."
    )

    @model_validator(mode="after")
    def _one_password(self) -> PostgresSettings:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give password or password_file, not both")
        return self


class _Sessions(NamedTuple):
    """Sessions of one state."""

    state: str
    sessions: int
    idle: int
    transaction: float
    query: float

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> _Sessions:
        return cls(str(row["state"]), int(row["sessions"]), int(row["idle"]), float(row["transaction"]), float(row["query"]))


class PostgresProbe(Probe[PostgresSettings]):
    """Opens a session and asks SELECT 1, which decides; then for sessions and Flyway's history, which do not."""

    kind = "postgres"
    settings_type = PostgresSettings
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.AUTH, Stage.QUERY)
    metrics = (
        CONNECTIONS, MAX_CONNECTIONS, IDLE, LONGEST_TRANSACTION, LONGEST_QUERY,
        FLYWAY_VERSION, FLYWAY_MIGRATIONS, FLYWAY_FAILED,
    )  # fmt: skip

    def __init__(self, target: Target, settings: PostgresSettings, shared: SharedClients) -> None:
        super().__init__(target, settings, shared)
        tls = settings.tls
        self._login = Login(
            user=settings.user,
            database=settings.database,
            password=self._password,
            tls=ClientTls(tls) if tls is not None else None,
        )

    async def check(self, attempt: Attempt) -> None:
        """Log in anew, ask, and leave nothing behind."""
        session = await open_session(self.target.address, self._login, self.shared.resolver, attempt)
        try:
            with attempt.phase(Stage.QUERY), asking(session):
                await session.execute("SELECT 1")
            async with attempt.part("activity") as part:
                await self._activity(part, session)
            if self.settings.flyway_table is not None:
                async with attempt.part("flyway") as part:
                    await self._flyway(part, session, self.settings.flyway_table)
            await say_goodbye(session, min(GOODBYE, attempt.remaining / 2))
        finally:
            session.terminate()  # after a timeout, close() would wait for the server

    def classify(self, error: Exception, stage: Stage) -> Failure | None:
        """Name PostgreSQL's errors by their SQLSTATE."""
        if isinstance(error.__cause__, Failure):  # the connection was lost because this side gave it up
            return error.__cause__
        if isinstance(error, asyncpg.PostgresError):
            state = error.sqlstate or ""
            default = Reason.CONNECTION_CLOSED if state.startswith("08") else Reason.QUERY_FAILED
            return Failure(stage, _REASONS.get(state, default), f"{state} {error.args[0] if error.args else ''}")
        if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
            return Failure(Stage.TLS, Reason.TLS_FAILED, "the server does not speak TLS")
        if isinstance(error, asyncpg.InternalClientError):  # an answer that is not PostgreSQL's
            return Failure(stage, Reason.PROTOCOL, str(error))
        if isinstance(error, asyncpg.InterfaceError):
            return Failure(stage, Reason.CONNECTION_CLOSED, str(error))
        return None

    async def _password(self) -> str:
        return await current_secret(self.settings.password, self.settings.password_file) or ""

    async def _activity(self, part: Attempt, session: asyncpg.Connection) -> None:
        part.stage = Stage.QUERY
        async with reading(session, part.remaining):
            limit = int(await session.fetchval("SELECT current_setting('max_connections')"))
            rows = [_Sessions.of(row) for row in await session.fetch(_ACTIVITY)]
        part.record(MAX_CONNECTIONS, limit)
        sessions = dict.fromkeys(STATES, 0)
        for row in rows:
            sessions[row.state if row.state in sessions else "other"] += row.sessions
        for state, count in sessions.items():
            part.record(CONNECTIONS, count, state)
        if sessions["hidden"]:
            return  # what their times are is not known, and the others' say too little
        part.record(IDLE, sum(row.idle for row in rows))
        part.record(LONGEST_TRANSACTION, max((row.transaction for row in rows), default=0.0))
        part.record(LONGEST_QUERY, max((row.query for row in rows), default=0.0))

    async def _flyway(self, part: Attempt, session: asyncpg.Connection, table: str) -> None:
        part.stage = Stage.QUERY
        wanted = self.settings.flyway_schemas
        async with reading(session, part.remaining):
            schemas = [str(row["schema"]) for row in await session.fetch(_HISTORIES, table, wanted, MAX_SCHEMAS + 1)]
        if len(schemas) > MAX_SCHEMAS:
            raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"more than {MAX_SCHEMAS} schemas have a table {table}")
        refused: Exception | None = None
        for schema in schemas:
            try:
                await self._history(part, session, schema, table)
            except (Failure, asyncpg.PostgresError) as error:
                if session.is_closed():
                    raise
                refused = error  # the others may be read
        if refused is not None:
            raise refused
        if missing := sorted(set(wanted or ()) - set(schemas)):
            raise Failure(Stage.CHECK, Reason.QUERY_FAILED, f"no table {table} in {', '.join(missing)}")

    async def _history(self, part: Attempt, session: asyncpg.Connection, schema: str, table: str) -> None:
        query = (
            f"SELECT version, type, success, script FROM {_quoted(schema)}.{_quoted(table)} "  # noqa: S608 - both are quoted
            f"ORDER BY installed_rank LIMIT {MAX_ROWS + 1}"
        )
        async with reading(session, part.remaining):
            rows = await session.fetch(query)
            history = read_history(rows[:MAX_ROWS])
        if len(rows) > MAX_ROWS:
            raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"{schema}.{table} has more than {MAX_ROWS} rows")
        part.record(FLYWAY_MIGRATIONS, history.migrations, schema)
        part.record(FLYWAY_FAILED, history.failed, schema)
        if history.version is not None:
            part.record(FLYWAY_VERSION, 1, schema, history.version)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


PROBE = PostgresProbe
