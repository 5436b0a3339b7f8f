"""A diagnosis made once, for a person at a terminal: real probes over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from exporter.config.models import Config
from exporter.demo.processes import free_port
from exporter.demo.servers.valkey import ValkeyServer
from exporter.engine.oneshot import diagnose_fleet
from exporter.verdict import Verdict

pytestmark = pytest.mark.asyncio

DOWN = {"status": "DOWN", "components": {"redis": {"status": "DOWN"}, "ping": {"status": "UP"}}}
UP = {"status": "UP"}


@pytest.fixture
async def actuators() -> AsyncIterator[dict[str, str]]:
    """Serve two applications: one that says that it is down, one that is up."""

    async def health(request: web.Request) -> web.Response:
        down = request.match_info["which"] == "down"
        return web.json_response(DOWN if down else UP, status=503 if down else 200)

    app = web.Application()
    app.router.add_get("/{which}/health", health)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield dict.fromkeys(("down", "up"), f"127.0.0.1:{port}")
    await runner.cleanup()


def config(actuators: dict[str, str], cache: str) -> Config:
    def service(which: str, *needs: str) -> dict[str, object]:
        probe = {"base_path": f"/{which}", "metrics": False}
        return {"instances": [actuators[which]], "depends_on": list(needs), "probes": {"actuator": probe}}

    return Config.model_validate({
        "dependencies": {
            "cache": {"instances": [cache], "probes": {"redis": {}}},
            "apart": {"instances": [f"127.0.0.1:{free_port()}"], "probes": {"redis": {}}},
        },
        "services": {
            "case": service("down", "cache"),
            "facade": service("down", "case"),
            "vault": service("up", "cache"),
            "else": service("up", "apart"),
        },
    })  # fmt: skip


async def test_what_it_needs_is_down_over_two_steps(actuators: dict[str, str]) -> None:
    found = await diagnose_fleet(config(actuators, f"127.0.0.1:{free_port()}"), "facade", 3.0)
    assert found.incident == "cache"
    (own,) = found.diagnoses["facade"]
    assert [(each.cause.name, each.dependency) for each in own.causes] == [("dependency_down", "cache")]
    assert {each.name for each in found.result.services} == {"facade", "case", "cache"}
    of_cache = await diagnose_fleet(config(actuators, f"127.0.0.1:{free_port()}"), "cache", 3.0)
    (own,) = of_cache.diagnoses["cache"]
    assert [each.cause.name for each in own.causes] == ["connect_refused"]
    assert own.takes_down == ("case", "facade")
    assert {each.name for each in of_cache.result.services} == {"facade", "case", "cache", "vault"}


async def test_what_it_needs_answers(actuators: dict[str, str], valkey_server: ValkeyServer) -> None:
    found = await diagnose_fleet(config(actuators, valkey_server.address), "case", 3.0)
    assert found.incident == "case"
    (own,) = found.diagnoses["case"]
    assert [(each.cause.name, each.dependency) for each in own.causes] == [("dependency_unreachable", "cache")]
    assert {each.text for each in own.causes[0].evidence} == {"health component redis"}


async def test_what_is_up_has_no_diagnosis(actuators: dict[str, str], valkey_server: ValkeyServer) -> None:
    found = await diagnose_fleet(config(actuators, valkey_server.address), "vault", 3.0)
    assert (found.incident, found.diagnoses) == (None, {})
    assert found.result.verdict is Verdict.UP
    with pytest.raises(KeyError):
        await diagnose_fleet(config(actuators, valkey_server.address), "unheard-of", 3.0)
