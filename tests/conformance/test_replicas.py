"""Several instances behind one service, in the middle of an upgrade from one Boot version to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.app.daemon import Daemon
from tests.fixtures.boot_applications import BootApplications
from tests.net.relay import Relay

OLD, NEW = "3.5", "4.1"


@pytest.fixture
async def relays(boot_fleet: dict[str, BootApplications]) -> AsyncIterator[dict[str, Relay]]:
    """What stands for each instance's address, and can refuse."""
    async with AsyncExitStack() as stack:
        yield {version: await stack.enter_async_context(Relay(boot_fleet[version].plain.port)) for version in (OLD, NEW)}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """The exporter."""
    with Daemon(tmp_path, {}) as running:
        yield running


async def test_a_service_is_up_while_enough_of_its_instances_are(
    boot_fleet: dict[str, BootApplications], relays: dict[str, Relay], daemon: Daemon
) -> None:
    """A rollout takes one instance away at a time; that is no outage, and the instance itself is told as it is."""
    instances = [f"127.0.0.1:{relay.port}" for relay in relays.values()]
    old, new = instances
    actuator = {"interval": "500ms", "timeout": "400ms", "metrics": False}
    daemon.write({"services": {"identity": {"instances": instances, "min_ready": 1, "probes": {"actuator": actuator}}}})

    async def wait(**verdicts: float) -> None:
        def seen() -> bool:
            return (
                daemon.value("probe_service_up", service="identity") == verdicts["service"]
                and daemon.value("probe_success", target=old) == verdicts["old"]
                and daemon.value("probe_success", target=new) == verdicts["new"]
            )

        await asyncio.to_thread(daemon.wait, seen)

    await asyncio.to_thread(daemon.start)
    await wait(service=1, old=1, new=1)
    await relays[OLD].refuse()
    await wait(service=1, old=0, new=1)
    boot_fleet[NEW].plain.switch("component", status="DOWN")
    try:
        await wait(service=0, old=0, new=0)
    finally:
        boot_fleet[NEW].plain.switch("component", status="UP")
    await wait(service=1, old=0, new=1)
    await relays[OLD].open()
    await wait(service=1, old=1, new=1)
    assert daemon.stop() == 0
