"""Servers whose clocks are wrong, or are set: no age is below zero, and none is by how much clocks differ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.databases import servers, sessions
from exporter.demo.servers.postgres import PostgresServer
from exporter.metrics.family import Family
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome
from exporter.verdict import Verdict
from tests.fixtures.clocks import Clock
from tests.fixtures.servers import StandbyServer
from tests.probes.databases import connect, probe_of, superuser
from tests.probes.doing import attempt, value
from tests.waiting import eventually

HOUR = 3600.0


class _Clocked(PostgresServer):
    """A server with a clock of its own."""

    clock: Clock

    def environment(self) -> Mapping[str, str]:
        return self.clock.variables


class _ClockedStandby(StandbyServer):
    """A standby with a clock of its own."""

    clock: Clock

    def environment(self) -> Mapping[str, str]:
        return self.clock.variables


def _clock(folder: Path, at: str) -> Clock:
    folder.mkdir()
    return Clock(folder, at)


@asynccontextmanager
async def _writing(server: PostgresServer) -> AsyncIterator[None]:
    """Write without end while the block lasts."""
    async with superuser(server) as admin:
        await admin.execute("CREATE TABLE IF NOT EXISTS written (n int)")

        async def write() -> None:
            while True:
                await admin.execute("INSERT INTO written SELECT generate_series(1, 2000)")

        task = asyncio.create_task(write())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("at", ["-1h", "+1h"])
async def test_how_far_a_standby_is_behind_is_not_by_how_much_its_clock_is(
    at: str, own_postgres: PostgresServer, shared: SharedClients, tmp_path: Path
) -> None:
    standby = _ClockedStandby(tmp_path / "standby", own_postgres)
    standby.clock = _clock(tmp_path / "clock", at)
    with standby:
        probe = probe_of(standby, shared)

        async def behind() -> Outcome | None:
            outcome = await attempt(probe, 20.0)
            known = outcome.samples.keys() >= {servers.LAG_BYTES, servers.LAG_SECONDS}
            return outcome if known and value(outcome, servers.LAG_BYTES) else None

        async with _writing(own_postgres):
            for _ in range(3):
                found = await eventually(behind, 10, "it lags")
                assert found is not None
                assert value(found, servers.LINK_UP) == 1
                assert 0 <= value(found, servers.LAG_SECONDS) < HOUR / 4
        async with superuser(standby) as admin:
            await admin.execute("SELECT pg_wal_replay_pause()")
        async with superuser(own_postgres) as admin:
            await admin.execute("CREATE TABLE more AS SELECT generate_series(1, 2000) AS n")
        first = await eventually(behind, 10, "it stands still")
        await asyncio.sleep(2)
        later = await behind()
        assert first is not None
        assert later is not None
        assert 1 < value(later, servers.LAG_SECONDS) - value(first, servers.LAG_SECONDS) < HOUR / 4  # it is an age
        await asyncio.to_thread(own_postgres.stop)

        async def unlinked() -> Outcome | None:
            outcome = await attempt(probe, 20.0)
            return outcome if value(outcome, servers.LINK_UP) == 0 else None

        alone = await eventually(unlinked, 10, "its link is down")
        assert alone is not None
        assert all(seconds >= 0 for seconds in alone.samples.get(servers.LAG_SECONDS, {}).values())


async def test_a_clock_that_is_set_back_makes_no_age_below_zero(shared: SharedClients, tmp_path: Path) -> None:
    server = _Clocked(tmp_path / "postgres")
    server.clock = _clock(tmp_path / "clock", "+0")
    with server:
        probe = probe_of(server, shared)
        holder, waiter = [await connect(server, application=name) for name in ("holder", "waiter")]
        await holder.execute("CREATE TABLE held (n int)")
        await holder.execute("BEGIN; LOCK TABLE held; SELECT pg_advisory_xact_lock(77431708279161)")
        waiting = asyncio.create_task(waiter.execute("SELECT FROM held"))

        async def waits() -> bool:
            return value(await attempt(probe, 20.0), sessions.LOCK_WAITING) == 1

        await eventually(waits, 10, "somebody waits")
        server.clock.set("-1h")

        async def set_back() -> Outcome | None:
            outcome = await attempt(probe, 20.0)
            return outcome if value(outcome, servers.UPTIME) == 0 else None

        outcome = await eventually(set_back, 10, "its clock is behind")
        assert outcome is not None
        holder.terminate()
        await asyncio.gather(waiting, return_exceptions=True)
        waiter.terminate()
    assert outcome.verdict is Verdict.UP
    assert set(outcome.parts.values()) == {None}
    assert value(outcome, sessions.LONGEST_LOCK_WAIT) == 0
    below: dict[str, Any] = {
        family.name: samples for family, samples in outcome.samples.items() if any(each < 0 for each in samples.values())
    }
    assert not below


async def test_archiving_fails_or_works_whatever_the_clock_is_set_to_meanwhile(
    shared: SharedClients, tmp_path: Path
) -> None:
    server = _Clocked(tmp_path / "postgres")
    server.clock = _clock(tmp_path / "clock", "+0")
    server.settings = {**server.settings, "archive_mode": "on"}
    with server:
        probe = probe_of(server, shared)
        for command, failing, at in (("false", 1, "+0"), ("true", 0, "-1h"), ("false", 1, "-2h"), ("true", 0, "+0")):
            family = servers.ARCHIVE_FAILURES if failing else servers.ARCHIVED
            before = value(await attempt(probe, 20.0), family)
            server.clock.set(at)
            async with superuser(server) as admin:
                await admin.execute(f"ALTER SYSTEM SET archive_command = '{command}'")
                await admin.execute("SELECT pg_reload_conf()")
                await admin.execute("CREATE TABLE written (n int)")
                await admin.execute("DROP TABLE written")
                await admin.execute("SELECT pg_switch_wal()")

            async def tried(family: Family = family, before: float = before) -> Outcome | None:
                outcome = await attempt(probe, 20.0)
                return outcome if value(outcome, family) > before else None

            outcome = await eventually(tried, 90, f"{family.name} grows")
            assert outcome is not None
            assert (at, value(outcome, servers.ARCHIVE_FAILING)) == (at, failing)
