"""The postgres probe leaves nothing behind on either side, however often a server hangs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from exporter.clients.postgres.login import APPLICATION
from exporter.demo.servers.postgres import PostgresServer
from exporter.probing.probe import SharedClients
from exporter.verdict import Verdict
from tests.probes.databases import probe_of, superuser
from tests.probes.doing import attempt

HANGS = 1000
AT_ONCE = 20


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_a_thousand_attempts_at_a_server_that_hangs_leave_nothing_on_either_side(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    probes = [probe_of(own_postgres, shared) for _ in range(AT_ONCE)]
    assert {outcome.verdict for outcome in await asyncio.gather(*(attempt(p, 30.0) for p in probes))} == {Verdict.UP}
    own_postgres.pause()
    before = descriptors()
    try:
        for _ in range(HANGS // AT_ONCE):
            outcomes = await asyncio.gather(*(attempt(probe, 0.05) for probe in probes))
            assert {outcome.verdict for outcome in outcomes} == {Verdict.DOWN}
        async with asyncio.timeout(30):  # a socket is closed in the loop's next turn
            while descriptors() > before:
                await asyncio.sleep(0.01)
    finally:
        own_postgres.resume()
    async with asyncio.timeout(60):
        while True:
            try:
                async with superuser(own_postgres) as admin:
                    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 OR state = 'starting'"
                    while await admin.fetchval(count, APPLICATION):
                        await asyncio.sleep(0.1)
                    break
            except OSError:
                await asyncio.sleep(0.1)
    assert (await attempt(probes[0], 30.0)).verdict is Verdict.UP
