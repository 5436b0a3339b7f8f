"""The `postgres` probe: whether a database lets in and answers, who is at it, and what Flyway has applied."""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from exporter.auth.secrets import current_secret
from exporter.clients.postgres.activity import read_activity
from exporter.clients.postgres.binding import ChannelBinding
from exporter.clients.postgres.flyway import MAX_SCHEMAS
from exporter.clients.postgres.locks import read_waits
from exporter.clients.postgres.login import Login
from exporter.clients.postgres.pgbouncer import CONSOLE, ask_version, read_pools, read_traffic
from exporter.clients.postgres.session import Session, open_session
from exporter.databases import flyway, pgbouncer, servers, sessions, statements, upkeep
from exporter.databases.histories import MigrationHistories
from exporter.net.tls import ClientTls, TlsSettings
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, SharedClients, Target
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["PROBE", "PostgresProbe", "PostgresSettings"]

GOODBYE = 0.5
"""Seconds that a server may take to end the session."""

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[^\x00]*$")]


_PASSWORD = re.compile(r"password\s*=")


def _is_a_name(database: str) -> str:
    """Refuse what other clients take for a database: a URL has a password in it, and a name is shown."""
    if "://" in database or _PASSWORD.search(database):
        raise ValueError("expected the name of a database alone; user and password are keys of their own")
    return database


Version = Annotated[str, Field(max_length=50, pattern=r"^[0-9]+([._][0-9]+)*$")]

Versions = Annotated[tuple[Version, ...], Field(min_length=1, max_length=1000)]


OLDEST = 10
"""Major version from which on a server tells what is asked of it: before, what is asked for has other names."""

_OF_ALL = ("activity", "locks", "replication", "counters", "upkeep")
"""Parts of every server that is no pgbouncer."""


class PostgresSettings(ProbeSettings):
    """How to log in, and where Flyway keeps its history."""

    user: Name = Field(description="The role; with pg_monitor it sees every session.")
    password: SecretStr | None = Field(None, description="Its password; masked wherever shown.")
    password_file: Path | None = Field(None, description="File with its password, read at each login.")
    database: Annotated[Name, AfterValidator(_is_a_name)] = Field(description="The database to log in to.")
    tls: TlsSettings | None = Field(None, description="Speak TLS, and refuse a server that does not; default: plain.")
    require_auth: tuple[Literal["scram-sha-256", "md5", "password", "none"], ...] | None = Field(
        None,
        min_length=1,
        max_length=4,
        description="Ways in which the server may have the role log in, as libpq names them; it is left at any other. "
        "Default: every way, the password itself over TLS alone.",
    )
    channel_binding: ChannelBinding = Field(
        "prefer",
        description="Bind a SCRAM login to the TLS connection, so that who stands between cannot pass it on, as in libpq: "
        "prefer: where the server offers it; require: or leave; disable: as behind a proxy that ends TLS and begins anew.",
    )
    flyway_table: Name | None = Field("flyway_schema_history", description="Flyway's table, in every schema; null: none.")
    flyway_schemas: tuple[Name, ...] | None = Field(
        None, min_length=1, max_length=MAX_SCHEMAS, description="Schemas to look in; default: every one that has the table."
    )

    flyway_expected: dict[Name, Version | Versions] = Field(
        default_factory=dict,
        max_length=MAX_SCHEMAS,
        description="By schema, the version that it is to have, as text, or a list of all; lower is behind, higher newer.",
    )

    statements: int = Field(
        10, ge=0, le=20, description="Statements of pg_stat_statements, by the time they take, that come in; 0: do not look."
    )

    pgbouncer: bool = Field(
        default=False,
        description="The address is a pgbouncer's, and the database its console, `pgbouncer`: ask it for its pools.",
    )

    def by_hand(self, address: Address) -> str:
        """The runbook's test of connectivity; psql asks for the password."""
        what = "SHOW VERSION" if self.database == CONSOLE else "SELECT 1"
        name = self.database
        if "=" in name:  # psql takes it for settings, which may name another server
            name = "dbname='{}'".format(name.replace("\\", r"\\").replace("'", r"\'"))
        return shlex.join(["psql", "-h", address.host, "-p", str(address.port), "-U", self.user, "-d", name, "-c", what])

    @model_validator(mode="after")
    def _console(self) -> PostgresSettings:
        if self.pgbouncer and self.database != CONSOLE:
            raise ValueError(f"pgbouncer needs the database {CONSOLE!r}, which is its console")
        if self.pgbouncer and (self.flyway_schemas or self.flyway_expected):
            raise ValueError("pgbouncer has no schemas: flyway_schemas and flyway_expected are for the database behind it")
        return self

    @model_validator(mode="after")
    def _bound_to_tls(self) -> PostgresSettings:
        if self.channel_binding == "require" and self.tls is None:
            raise ValueError("channel_binding: require needs tls, which the login is bound to")
        return self

    @model_validator(mode="after")
    def _one_password(self) -> PostgresSettings:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give password or password_file, not both")
        return self

    @model_validator(mode="after")
    def _expected_where_it_looks(self) -> PostgresSettings:
        if self.flyway_expected and self.flyway_table is None:
            raise ValueError("flyway_expected needs a flyway_table")
        if self.flyway_schemas is not None and (unknown := sorted(set(self.flyway_expected) - set(self.flyway_schemas))):
            raise ValueError(f"flyway_expected names {unknown[0]!r}, which is not in flyway_schemas")
        return self


class PostgresProbe(Probe[PostgresSettings]):
    """Opens a session and asks SELECT 1, which decides; then for what it is at and Flyway's history, which do not."""

    kind = "postgres"
    settings_type = PostgresSettings
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.AUTH, Stage.QUERY)
    metrics = (
        *sessions.ACTIVITY,
        *sessions.LOCKS,
        *flyway.METRICS,
        *servers.REPLICATION,
        *servers.COUNTERS,
        *servers.INSTANCE,
        *servers.UPKEEP,
        *statements.STATEMENTS,
        *pgbouncer.PGBOUNCER,
    )

    def __init__(self, target: Target, settings: PostgresSettings, shared: SharedClients) -> None:
        super().__init__(target, settings, shared)
        tls = settings.tls
        self._login = Login(
            user=settings.user,
            database=settings.database,
            password=self._password,
            tls=ClientTls(tls) if tls is not None else None,
            methods=settings.require_auth,
            binding=settings.channel_binding,
        )
        self._traffic = pgbouncer.TrafficCounters()
        self._server: tuple[tuple[float, float], bool | None] | None = None
        self._upkeep = upkeep.UpkeepReader()
        self._statements = statements.StatementsReader(settings.statements) if settings.statements else None
        self._histories: MigrationHistories | None = None
        if settings.flyway_table is not None:
            expected = settings.flyway_expected
            self._histories = MigrationHistories(settings.flyway_table, settings.flyway_schemas, expected)

    async def check(self, attempt: Attempt) -> None:
        """Log in anew, ask, and leave nothing behind."""
        session = await open_session(self.target.address, self._login, self.shared.resolver, attempt)
        try:
            if self.settings.pgbouncer:
                await self._pooler(attempt, session)
            else:
                with attempt.phase(Stage.QUERY):
                    await session.query("SELECT 1")
                await self._parts(attempt, session)
            await session.goodbye(min(GOODBYE, attempt.remaining / 2))
        finally:
            session.abort()

    async def _pooler(self, attempt: Attempt, session: Session) -> None:
        """Ask a pgbouncer's console, which has neither SELECT nor transactions."""
        with attempt.phase(Stage.QUERY):
            await ask_version(session)
        async with self._part(attempt, "pools") as part:
            pgbouncer.record_pools(part, await read_pools(session))
        async with self._part(attempt, "traffic") as part:
            self._traffic.record(part, await read_traffic(session))

    async def _parts(self, attempt: Attempt, session: Session) -> None:
        """Ask for what does not decide. None may have the time of those that come after it."""
        if session.major is not None and session.major < OLDEST:
            for name in _OF_ALL:  # asked, it would write an error for each into its log at every attempt
                attempt.note_part(name, _too_old(session.version))
            return
        async with self._part(attempt, "activity") as part:
            sessions.record_activity(part, await read_activity(session, part.remaining / 6))
        async with self._part(attempt, "locks") as part:
            sessions.record_waits(part, await read_waits(session, part.remaining / 5))
        standby = self._server[1] if self._server is not None else None
        async with self._part(attempt, "replication") as part:
            standby = await upkeep.check_replication(part, session, part.remaining / 4)
        async with self._part(attempt, "counters") as part:
            await upkeep.check_counters(part, session, part.remaining / 4)
            which = await upkeep.check_instance(part, session, part.remaining / 3)
            self._note_server(which, standby=standby)
        await self._upkeep.check(attempt, session)
        if self._histories is not None:
            async with self._part(attempt, "flyway") as part:
                await self._histories.check(part, session)
        if self._statements is not None:
            await self._statements.check(attempt, session)

    def _note_server(self, which: tuple[float, float], *, standby: bool | None) -> None:
        """Forget what holds between attempts where another server answers, as after a failover, or this one anew.

        So does a database that was dropped and made anew. A standby that is promoted does not start anew: what it said as
        one is not what it says as a primary.
        """
        now = which, standby
        if self._server not in {None, now, (which, None)}:
            self._upkeep.look_anew()
            if self._statements is not None:
                self._statements.look_anew()
        self._server = now

    @staticmethod
    @asynccontextmanager
    async def _part(attempt: Attempt, name: str) -> AsyncIterator[Attempt]:
        async with attempt.part(name) as part:
            part.stage = Stage.QUERY
            yield part

    async def _password(self) -> str:
        return await current_secret(self.settings.password, self.settings.password_file) or ""


def _too_old(version: str) -> Failure:
    return Failure(
        Stage.CHECK, Reason.PROTOCOL, f"PostgreSQL {version!r}: of versions before {OLDEST} the verdict is told alone"
    )


PROBE = PostgresProbe
