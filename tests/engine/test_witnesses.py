"""What tells why a service fails and decides nothing: it is asked at once, and heard however many instances fail."""

from __future__ import annotations

import asyncio

import pytest

from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason, Stage
from exporter.workloads import families as k
from tests.engine.bench import down, running

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

MANY = ", ".join(f"'h{n}:1'" for n in range(40))
FLEET = f"services: {{identity: {{instances: [{MANY}], probes: {{actuator: {{}}, kubernetes: {{interval: 10m}}}}}}}}"


async def loops(attempt: Attempt) -> None:
    """Say that all pods crash loop."""
    attempt.record(k.PODS_READY, 0)
    attempt.record(k.WAITING, 40, "CrashLoopBackOff")
    raise Failure(Stage.CHECK, Reason.REPORTED_DOWN, "0 of 40 pods ready")


async def blind(attempt: Attempt) -> None:
    """Say that the cluster cannot be seen."""
    raise Failure(Stage.CONNECT, Reason.API_UNREACHABLE, "as the test says")


async def test_the_cluster_says_why_at_once_though_its_probe_is_rare_and_instances_are_many() -> None:
    async with running() as bench:
        await bench.configure(FLEET)
        await asyncio.sleep(30)
        bench.play, bench.plays = down, {"identity": loops}
        await asyncio.sleep(30)
        assert bench.lines('probe_service_up{service="identity"}') == ['probe_service_up{service="identity"} 0']
        [line] = bench.lines("probe_suspected_cause{")
        assert 'cause="crash_looping"' in line
        assert bench.defects() == {}


async def test_a_cluster_that_cannot_be_seen_makes_no_service_unknown_or_down() -> None:
    async with running() as bench:
        await bench.configure(FLEET)
        bench.plays = {"identity": blind}
        await asyncio.sleep(60)
        assert bench.lines('probe_service_up{service="identity"}') == ['probe_service_up{service="identity"} 1']
        [line] = bench.lines('probe_unknown{service="identity",probe="kubernetes"')
        assert 'reason="api_unreachable"' in line
