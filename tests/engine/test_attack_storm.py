"""Reloads that follow each other closely starve nobody."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.bench import running

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


async def test_targets_are_probed_though_their_interval_changes_again_and_again() -> None:
    many = ", ".join(f"'h{number}:1'" for number in range(20))
    async with running() as bench:
        for turn in range(60):
            interval = 10 + turn % 2
            await bench.configure(
                f"services: {{case: {{instances: [{many}], probes: {{actuator: {{interval: {interval}s, timeout: 2s}}}}}}}}"
            )
            await asyncio.sleep(5)
        assert len({target.name for _, target in bench.attempts}) == 20
        assert len(bench.values("probe_success")) == 20
