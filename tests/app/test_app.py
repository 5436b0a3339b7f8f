"""The composition root: what an essential task's death does, and what the web server is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession

from exporter.app import App, EssentialTaskEnded
from exporter.config.loader import load
from exporter.demo.ports import free_port
from exporter.engine.engine import Engine
from exporter.engine.lag import LoopLag
from exporter.web.backend import UnknownTarget


def app(folder: Path) -> App:
    path = folder / "exporter.yml"
    case = f"{{instances: [127.0.0.1:{free_port()}, 127.0.0.1:{free_port()}], probes: {{actuator: {{}}}}}}"
    path.write_text(f'server: {{listen: "127.0.0.1:{free_port()}"}}\nservices: {{case: {case}}}\n')
    return App(path, load(path))


async def test_the_death_of_an_essential_task_ends_the_process_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(_: Engine) -> None:
        await asyncio.sleep(0.05)
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Engine, "_sweep", die)
    with pytest.raises(EssentialTaskEnded, match="'staleness sweep' failed: ZeroDivisionError: a defect") as caught:
        await app(tmp_path).run()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_an_essential_task_must_not_even_end_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stop(_: LoopLag) -> None:
        await asyncio.sleep(0.05)

    monkeypatch.setattr(LoopLag, "run", stop)
    with pytest.raises(EssentialTaskEnded, match="essential task 'loop lag' ended"):
        await app(tmp_path).run()


async def test_it_runs_reloads_and_answers_until_it_is_asked_to_end(tmp_path: Path) -> None:
    daemon = app(tmp_path)
    assert daemon.healthy() == "the exporter is starting or stopping"
    running = asyncio.create_task(daemon.run())
    while daemon.healthy() is not None:
        await asyncio.sleep(0.01)
    await daemon._engine.settled()
    assert daemon.ready() == "2 targets have not been probed yet"
    with pytest.raises(UnknownTarget, match="no such target; configured: case/actuator"):
        await daemon.probe("case", "redis", None)
    with pytest.raises(UnknownTarget, match=r"choose one with target=: 127\.0\.0\.1:"):
        await daemon.probe("case", "actuator", None)
    path = tmp_path / "exporter.yml"
    good = path.read_text()
    path.write_text(good + "nonsense: 1\n")
    assert [problem.rpartition("/")[2] for problem in await daemon.reload()] == [
        "exporter.yml:3:1: nonsense: unknown key; " + KNOWN
    ]
    assert (await daemon.fleet()).config_error is not None
    path.write_text(good + "limits: {max_in_flight: 7}\n")
    assert await daemon.reload() == []
    assert (await daemon.fleet()).config_error is None
    daemon.stop()
    await running
    assert daemon.healthy() is not None


KNOWN = "known: server, links, limits, defaults, kubernetes, dependencies, services, sharing"


async def test_what_is_told_names_the_incident_its_cause_and_what_speaks_for_it(tmp_path: Path) -> None:
    """From attempts on closed ports to what the API and the pages are made of."""
    path = tmp_path / "exporter.yml"
    path.write_text(
        f'server: {{listen: "127.0.0.1:{free_port()}"}}\n'
        'links: {runbook: "https://runbooks.example/b.md"}\n'
        "defaults: {interval: 1s, timeout: 500ms}\n"
        f"dependencies: {{cache: {{instances: [127.0.0.1:{free_port()}], probes: {{redis: {{}}}}}}}}\n"
        f"services: {{case: {{instances: [127.0.0.1:{free_port()}], depends_on: [cache], probes: {{actuator: {{}}}}}}}}\n"
    )
    daemon = App(path, load(path))
    running = asyncio.create_task(daemon.run())
    async with asyncio.timeout(60):
        while [each.services for each in daemon.incidents()] != [["cache", "case"]]:
            await asyncio.sleep(0.05)
    [incident] = daemon.incidents()
    told = {each.name: each for each in (await daemon.fleet()).services}
    case = await daemon.service("case", 1)
    daemon.stop()
    await running
    assert incident.name == "cache"
    assert incident.since == min(each.since for each in told.values())
    assert [cause.cause for cause in incident.causes] == ["connect_refused"]
    assert incident.causes[0].evidence
    assert case is not None
    assert case.incident == told["case"].incident == "cache"
    [diagnosis] = case.diagnoses
    assert (diagnosis.causes[0].cause, diagnosis.causes[0].dependency) == ("dependency_down", "cache")
    assert told["cache"].diagnoses[0].takes_down == ["case"]
    assert daemon.about().runbook == "https://runbooks.example/b.md"


async def test_what_the_web_server_raises_is_counted_and_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = app(tmp_path)

    async def fail(_: App) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(App, "fleet", fail)
    running = asyncio.create_task(daemon.run())
    while daemon.healthy() is not None:
        await asyncio.sleep(0.01)
    async with ClientSession() as client:
        for _ in range(3):
            async with client.get(f"http://{daemon._listen}/api/v1/services") as answer:
                assert answer.status == 500
        async with client.get(f"http://{daemon._listen}/metrics") as answer:
            told = await answer.text()
    daemon.stop()
    await running
    assert '\nprobe_exporter_defects_total{where="web"} 3\n' in told
    assert caplog.text.count("defect: GET /api/v1/services failed") == 1
    assert "\nprobe_exporter_time_seconds " in told
