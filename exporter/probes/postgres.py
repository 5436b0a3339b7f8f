"""The `postgres` probe: whether a database lets in and answers, how full it is, and what Flyway has applied."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from exporter.auth.secrets import current_secret
from exporter.clients.postgres.activity import Activity, Holder, read_activity
from exporter.clients.postgres.flyway import MAX_SCHEMAS, History, find_histories, read_history
from exporter.clients.postgres.locks import Waits, read_waits
from exporter.clients.postgres.login import Login
from exporter.clients.postgres.session import Session, open_session
from exporter.metrics.family import gauge
from exporter.metrics.store import LabelValues
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
USABLE_CONNECTIONS = gauge(
    "probe_postgres_usable_connections",
    "Sessions up to which ordinary roles are let in: max_connections without those that are reserved.",
)
CLIENT_CONNECTIONS = gauge(
    "probe_postgres_client_connections",
    "Client sessions in the database by user, application_name and state: of the 20 with the most, the rest as (others).",
    "user", "application", "state",
)  # fmt: skip
IDLE = gauge(
    "probe_postgres_idle_connections_over_1h",
    "Client sessions in the database that have been in state idle for over an hour; absent while some are hidden.",
)
CLIENT_IDLE = gauge(
    "probe_postgres_client_idle_connections_over_1h",
    "Those that have been idle for over an hour, by user and application_name; the rest as (others).",
    "user", "application",
)  # fmt: skip
LONGEST_TRANSACTION = gauge(
    "probe_postgres_longest_transaction_seconds",
    "Age of the oldest open transaction of a client; 0 without one, absent while sessions are hidden.",
)
LONGEST_QUERY = gauge(
    "probe_postgres_longest_query_seconds",
    "Age of the longest query that a client is running; 0 without one, absent while sessions are hidden.",
)
LONGEST_IDLE_IN_TRANSACTION = gauge(
    "probe_postgres_longest_idle_in_transaction_seconds",
    "For how long the client that has been idle in its transaction for longest has; 0 without one, absent while hidden.",
)
LOCK_WAITING = gauge("probe_postgres_lock_waiting_sessions", "Sessions that wait for a lock that another one holds.")
LONGEST_LOCK_WAIT = gauge(
    "probe_postgres_longest_lock_wait_seconds",
    "Longest time that a session under way has waited for a lock; 0 without one, absent where that is hidden.",
)
LOCK_CHAIN = gauge(
    "probe_postgres_lock_chain_sessions", "Sessions in the longest chain of those that wait for one another; 0 without one."
)
BLOCKED = gauge(
    "probe_postgres_blocked_sessions",
    "Sessions that wait, directly or behind others, for those of a user, application_name and state that wait for nobody.",
    "user", "application", "state",
)  # fmt: skip
BLOCKING = gauge(
    "probe_postgres_blocking_transaction_seconds",
    "Age of the oldest transaction that others wait for, of those of a user, application_name and state.",
    "user", "application", "state",
)  # fmt: skip
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

MAX_BLOCKERS = 5
"""Users with their applications and states that are told apart among those that others wait for."""

OTHERS = "(others)"
"""User and application of sessions that are not told apart."""

GOODBYE = 0.5
"""Seconds that a server may take to end the session."""

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[^\x00]*$")]


class PostgresSettings(ProbeSettings):
    """How to log in, and where Flyway keeps its history."""

    user: Name = Field(description="The role; with pg_monitor it sees every session.")
    password: SecretStr | None = Field(None, description="Its password; masked wherever shown.")
    password_file: Path | None = Field(None, description="File with its password, read at each login.")
    database: Name = Field(description="The database to log in to.")
    tls: TlsSettings | None = Field(None, description="Speak TLS, and refuse a server that does not; default: plain.")
    flyway_table: Name | None = Field("flyway_schema_history", description="Flyway's table, in every schema; null: none.")
    flyway_schemas: tuple[Name, ...] | None = Field(
        None, min_length=1, max_length=MAX_SCHEMAS, description="Schemas to look in; default: every one that has the table."
    )

    @model_validator(mode="after")
    def _one_password(self) -> PostgresSettings:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give password or password_file, not both")
        return self


class PostgresProbe(Probe[PostgresSettings]):
    """Opens a session and asks SELECT 1, which decides; then for what it is at and Flyway's history, which do not."""

    kind = "postgres"
    settings_type = PostgresSettings
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.AUTH, Stage.QUERY)
    metrics = (
        CONNECTIONS, MAX_CONNECTIONS, USABLE_CONNECTIONS, CLIENT_CONNECTIONS, IDLE, CLIENT_IDLE,
        LONGEST_TRANSACTION, LONGEST_QUERY, LONGEST_IDLE_IN_TRANSACTION,
        LOCK_WAITING, LONGEST_LOCK_WAIT, LOCK_CHAIN, BLOCKED, BLOCKING,
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
            with attempt.phase(Stage.QUERY):
                await session.query("SELECT 1")
            async with attempt.part("activity") as part:
                part.stage = Stage.QUERY
                _record_activity(part, await read_activity(session, part.remaining / 3))
            async with attempt.part("locks") as part:
                part.stage = Stage.QUERY
                _record_waits(part, await read_waits(session, part.remaining / 2))
            if self.settings.flyway_table is not None:
                async with attempt.part("flyway") as part:
                    part.stage = Stage.QUERY
                    await self._flyway(part, session, self.settings.flyway_table)
            await session.goodbye(min(GOODBYE, attempt.remaining / 2))
        finally:
            session.abort()

    async def _password(self) -> str:
        return await current_secret(self.settings.password, self.settings.password_file) or ""

    async def _flyway(self, part: Attempt, session: Session, table: str) -> None:
        wanted = self.settings.flyway_schemas
        schemas = await find_histories(session, part.remaining, table, wanted)
        refused: Failure | None = None
        for number, found in enumerate(schemas):
            try:
                if found.unreadable is not None:
                    raise found.unreadable
                share = part.remaining / (len(schemas) - number)  # one that hangs takes its own time, and not the others'
                _record_history(part, found.schema, await read_history(session, share, found.schema, table))
            except Failure as failure:
                if session.closed:
                    raise
                refused = refused or failure  # the others may be read
        if refused is not None:
            raise refused
        if missing := sorted(set(wanted or ()) - {found.schema for found in schemas}):
            raise Failure(Stage.CHECK, Reason.QUERY_FAILED, f"no table {table} in {', '.join(missing)}")


def _record_activity(part: Attempt, activity: Activity) -> None:
    part.record(MAX_CONNECTIONS, activity.max_connections)
    part.record(USABLE_CONNECTIONS, activity.usable)
    for state, count in activity.sessions.items():
        part.record(CONNECTIONS, count, state)
    for holder in activity.holders:
        part.record(CLIENT_CONNECTIONS, holder.sessions, *_names(holder), holder.state)
    if activity.hidden:
        return  # what their times are is not known, and the others' say too little
    part.record(IDLE, activity.idle)
    for holder in activity.holders:
        if holder.idle:
            part.record(CLIENT_IDLE, holder.idle, *_names(holder))
    part.record(LONGEST_TRANSACTION, activity.transaction)
    part.record(LONGEST_QUERY, activity.query)
    part.record(LONGEST_IDLE_IN_TRANSACTION, activity.forgotten)


def _names(holder: Holder) -> tuple[str, str]:
    return (OTHERS if holder.user is None else holder.user, OTHERS if holder.application is None else holder.application)


def _record_waits(part: Attempt, waits: Waits) -> None:
    part.record(LOCK_WAITING, waits.sessions)
    part.record(LOCK_CHAIN, waits.chain)
    if waits.seconds is not None:
        part.record(LONGEST_LOCK_WAIT, waits.seconds)
    waiting: dict[LabelValues, float] = {}
    oldest: dict[LabelValues, float] = {}
    for blocker in waits.blockers:
        who = (blocker.user, blocker.application, blocker.state)
        if who not in waiting and len(waiting) >= MAX_BLOCKERS:
            who = (OTHERS, OTHERS, OTHERS)
        waiting[who] = waiting.get(who, 0) + blocker.waiting
        if blocker.seconds is not None:
            oldest[who] = max(oldest.get(who, 0.0), blocker.seconds)
    part.record_all({BLOCKED: waiting, BLOCKING: oldest})


def _record_history(part: Attempt, schema: str, history: History) -> None:
    part.record(FLYWAY_MIGRATIONS, history.migrations, schema)
    part.record(FLYWAY_FAILED, history.failed, schema)
    if history.version is not None:
        part.record(FLYWAY_VERSION, 1, schema, history.version)


PROBE = PostgresProbe
