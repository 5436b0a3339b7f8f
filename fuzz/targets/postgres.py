"""What PostgreSQL and pgbouncer answer: messages, logins, rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from exporter.clients.postgres import (
    activity,
    flyway,
    instance,
    locks,
    pgbouncer,
    replication,
    scram,
    statements,
    upkeep,
)
from exporter.clients.postgres.login import Login, log_in
from exporter.clients.postgres.session import Session
from exporter.clients.postgres.told import MAX_TOLD, told
from exporter.clients.postgres.wire import MAX_ANSWER_BYTES, Frames, Row, columns_of, row_of, server_error
from exporter.verdict import Failure, Reason, Stage
from exporter.visible import visible
from fuzz.model import Finding, Target
from fuzz.wires import finish, stream_of

__all__ = ["TARGETS"]


def _guard(data: bytes) -> object:
    """Read it as what comes of a query, of a console's command, and as the bodies of single messages."""
    if not data:
        return None
    kind, rest = data[0] % 5, data[1:]
    match kind:
        case 0:
            return finish(_session(rest).query("SELECT 1", 50))
        case 1:
            return finish(_session(rest).show("SHOW POOLS", "SHOW LISTS", most=20))
        case 2:
            return finish(_session(rest).read(1.0, "SELECT 1; SELECT 2", 50))
        case 3:
            return row_of(rest), columns_of(rest)
    raise server_error(rest, Stage.QUERY)


def _session(data: bytes) -> Session:
    return Session(Frames(stream_of(data, MAX_ANSWER_BYTES)), "18.0")


class _NoHashing(scram.KeptKeys):
    """Keys without the rounds of hashing, which are as slow as they are meant to be."""

    async def get(self, password: str, salt: bytes, iterations: int) -> scram.Keys:
        if not scram.MIN_ITERATIONS <= iterations <= scram.MAX_ITERATIONS:
            raise Finding(f"{iterations} rounds of hashing")
        return scram.Keys(b"c" * 32, b"s" * 32)


async def _password() -> str:
    return "password"


_LOGIN = Login("user", "database", _password, kept=_NoHashing())


def _login(data: bytes) -> object:
    return finish(log_in(Frames(stream_of(data, MAX_ANSWER_BYTES)), _LOGIN, "password"))


def _scram(data: bytes) -> object:
    """Read it as a challenge, and what follows a line's end as the server's proof; `@` is the client's nonce."""
    exchange = scram.ScramExchange("password", _NoHashing())
    challenge, _, proof = data.decode("utf-8", "replace").partition("\n")
    answer = finish(exchange.prove(challenge.replace("@", exchange.first.rpartition("r=")[2])))
    exchange.verify(proof)
    return answer


class _Rows:
    """A session whose every answer is the same tables: split by lines of `=`, rows by lines, cells by tabs, `~` is null.

    The numbers of columns, and what is in them, are the server's to say, as over a real connection.
    """

    def __init__(self, data: bytes) -> None:
        blocks = data.decode("utf-8", "replace").split("\n=\n")
        self.tables: list[list[Row]] = [[_row(line) for line in block.split("\n") if line] for block in blocks]

    async def read(self, _seconds: float, _sql: str, most: int = 1, *, wait: float | None = None) -> list[list[Row]]:
        if sum(map(len, self.tables)) > most:
            raise Failure(Stage.QUERY, Reason.TOO_LARGE, "the server answers with more rows")
        return self.tables

    async def query(self, _sql: str, most: int = 1) -> list[Row]:
        return [row for table in self.tables for row in table][:most]

    async def show(self, *commands: str, most: int = 1) -> list[list[dict[str, str | None]]]:
        answers = []
        for table in (self.tables * len(commands))[: len(commands)]:
            names, *rows = table or [()]
            if any(len(row) != len(names) for row in rows):
                raise Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read")
            answers.append([{name or "": value for name, value in zip(names, row, strict=True)} for row in rows[:most]])
        return answers


def _row(line: str) -> Row:
    return tuple(None if cell == "~" else cell for cell in line.split("\t"))


_INSTALLED = statements.Installed("public", "total_exec_time")

_READERS: tuple[Callable[[Session], Awaitable[object]], ...] = (
    lambda session: activity.read_activity(session, 1.0),
    lambda session: instance.read_instance(session, 1.0),
    lambda session: locks.read_waits(session, 1.0),
    lambda session: replication.read_replication(session, 1.0),
    lambda session: statements.find_statements(session, 1.0),
    lambda session: statements.read_costs(session, 1.0, _INSTALLED),
    lambda session: statements.read_statements(session, 1.0, _INSTALLED, ["1"]),
    lambda session: upkeep.read_counted(session, 1.0),
    lambda session: upkeep.read_upkeep(session, 1.0),
    lambda session: flyway.find_histories(session, 1.0, "flyway_schema_history", None),
    lambda session: flyway.read_history(session, 1.0, "public", "flyway_schema_history"),
    pgbouncer.read_pools,
    pgbouncer.read_traffic,
)


def _rows(data: bytes) -> object:
    if not data:
        return None
    read: Any = _READERS[data[0] % len(_READERS)]
    return finish(read(cast(Session, _Rows(data[1:]))))


def _told(data: bytes) -> object:
    shown = told(data.decode("utf-8", "replace"))
    label = visible(shown)  # what would be obeyed is marked where it is written; what is merely not assigned yet is shown
    if len(shown) > MAX_TOLD + 10 or visible(label) != label or len(label.splitlines()) > 1:
        raise Finding(f"a statement told as {shown!r}")
    return shown


_MODULE = "exporter.clients.postgres."

TARGETS = (
    Target("postgres-wire", _guard, (f"{_MODULE}wire", f"{_MODULE}session"), (Failure, OSError)),
    Target("postgres-login", _login, (f"{_MODULE}login",), (Failure, OSError)),
    Target("scram", _scram, (f"{_MODULE}scram",), (Failure, ValueError)),
    Target(
        "postgres-rows",
        _rows,
        tuple(
            _MODULE + name
            for name in (
                "activity", "flyway", "instance", "locks", "numbers", "pgbouncer", "replication", "statements", "upkeep",
            )
        ),
    ),
    Target("statement", _told, (f"{_MODULE}told",), ()),
)  # fmt: skip
