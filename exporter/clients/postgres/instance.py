"""A server as a process: its version, since when it runs, whether its WAL reaches the archive; and which database it is."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.clients.postgres.numbers import number
from exporter.clients.postgres.session import Session
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Archive", "Instance", "read_instance"]

_INSTANCE = """
SELECT current_setting('server_version'),
  greatest(0, extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()))::float8,
  extract(epoch FROM pg_postmaster_start_time())::float8,
  (SELECT oid FROM pg_database WHERE datname = current_database()),
  current_setting('archive_mode') = 'off' OR pg_is_in_recovery() AND current_setting('archive_mode') <> 'always',
  archived_count, failed_count,
  coalesce(CASE WHEN (failed > now) = (archived > now) THEN failed > archived ELSE archived > now END, false)
    OR concat(current_setting('archive_command'), current_setting('archive_library', true)) = ''
FROM pg_stat_archiver, LATERAL (
  SELECT clock_timestamp(), last_failed_time, coalesce(last_archived_time, '-infinity')) t (now, failed, archived)"""
"""Without a command, or from version 15 on a library, nothing is tried and nothing fails; WAL is kept all the same. A clock
that was set back makes no uptime below zero; and what was by it in the future was before what is in the past."""


@dataclass(frozen=True, slots=True)
class Archive:
    """How archiving of WAL goes.

    Attributes:
        archived: Files that reached the archive.
        failed: Tries that did not.
        failing: The last try failed, or nothing says how to archive: WAL is kept until one succeeds.
    """

    archived: float
    failed: float
    failing: bool


@dataclass(frozen=True, slots=True)
class Instance:
    """A server.

    Attributes:
        version: As it calls it.
        uptime: Seconds that it has run.
        started: When it was started, by its own clock, Unix seconds: another one, at the same address, was at another time.
        database: Number of the database: one that was dropped and made anew under its name has another.
        archive: How archiving goes; None where it archives nothing.
    """

    version: str
    uptime: float
    started: float
    database: float
    archive: Archive | None


async def read_instance(session: Session, seconds: float) -> Instance:
    """Read it, within so many seconds.

    Raises:
        Failure, OSError, TimeoutError: As for `Session.read`; `malformed` for an answer that is not what was asked for.
    """
    tables = await session.read(seconds, _INSTANCE)
    try:
        (((version, uptime, started, database, off, archived, failed, failing),),) = tables
        archive = None if off == "t" else Archive(number(archived), number(failed), failing == "t")
        name = (version or "").split(" ")[0][:50]
        return Instance(name, number(uptime), number(started), number(database), archive)
    except ValueError:
        raise Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read") from None
