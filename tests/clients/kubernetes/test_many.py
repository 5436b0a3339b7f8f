"""Five hundred pods of many services that change all the time, from an API server in a process of its own."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import aiohttp
import uvloop

from bench.apiserver import PODS
from bench.pods import NAMESPACE
from bench.processes import started, wait_for
from exporter.clients.kubernetes.api import Api
from exporter.clients.kubernetes.cluster import Cluster, Kind
from exporter.clients.kubernetes.objects.selector import Selector
from exporter.clients.kubernetes.watch import PAGE
from exporter.config.kubernetes import KubernetesInstances
from exporter.demo.ports import free_port
from exporter.discovery.kubernetes import source_in
from exporter.discovery.source import Discovered
from exporter.net.resolver import Resolver
from exporter.workloads.scope import Scope
from tests.clients.kubernetes.fake import Fixed

COUNT, SERVICES = 500, 250

RATIO = 1.5
"""Calls that an event costs, from the socket to the instances, by those of a cluster with a tenth of the services. It is 1;
were each of the services asked about each event, it would be more than 5."""

PER_POD = 3_000
"""Bytes that one pod may take, with all that is known by it: its instances, and what its service keeps of it."""


class Fleet:
    """What every service of a cluster keeps of its pods, and the server that has them."""

    def __init__(self, cluster: Cluster, session: aiohttp.ClientSession) -> None:
        self.cluster = cluster
        self.reports: dict[str, list[Discovered]] = {}
        self.scopes: dict[str, Scope] = {}
        self._session = session

    async def ask(self, path: str) -> Any:
        """Ask the server by POST."""
        async with self._session.post(path) as answer:
            return await answer.json()

    async def told(self) -> dict[str, int]:
        """Return what the server counts."""
        return dict(await self.ask("/told"))

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for something."""
        deadline = time.monotonic() + 60
        while not await condition():
            assert time.monotonic() < deadline, f"not in time: {what}"
            await asyncio.sleep(0.1)

    async def changes(self, rate: int, seconds: float, mix: str = "all") -> None:
        """Have pods change for a while."""
        await self.ask(f"/churn?rate={rate}&mix={mix}")
        await asyncio.sleep(seconds)
        await self.ask("/churn?rate=0")

    async def is_right(self) -> bool:
        """Say whether everything is known as the server has it: each pod, by its service, its instance and its readiness."""
        items = (await self.ask(PODS))["items"]
        there = {raw["metadata"]["uid"]: _facts(raw) for raw in items}
        pods = {pod.uid: (pod.name, pod.ip, pod.ready, _restarts(pod)) for pod in self.cluster.objects(Kind.PODS).values()}
        kept = {pod.uid: name for name, scope in self.scopes.items() for pod in scope.pods()}
        found = {each.uid: (each.name, each.address.host) for said in self.reports.values() for each in said[-1].instances}
        return (
            pods == there
            and kept == {raw["metadata"]["uid"]: raw["metadata"]["labels"]["app"] for raw in items}
            and found == {uid: facts[:2] for uid, facts in there.items()}
        )


def _facts(raw: dict[str, Any]) -> tuple[str, str, bool, int]:
    status = raw["status"]
    container = status["containerStatuses"][0]
    return raw["metadata"]["name"], status["podIP"], container["ready"], container["restartCount"]


def _restarts(pod: Any) -> int:
    return sum(each.restarts for each in pod.containers)


@asynccontextmanager
async def following(url: str, services: int) -> AsyncIterator[Fleet]:
    """Follow the pods of every service, as the exporter does: its instances, and what its probe reads."""
    async with AsyncExitStack() as stack:
        resolver = Resolver()
        stack.push_async_callback(resolver.close)
        api = Api(Fixed(url), resolver)
        stack.push_async_callback(api.close)
        cluster = Cluster(api, NAMESPACE)
        stack.push_async_callback(cluster.close)
        fleet = Fleet(cluster, await stack.enter_async_context(aiohttp.ClientSession(url)))
        stack.enter_context(cluster.use(Kind.PODS))
        for name in (f"service-{n}" for n in range(services)):
            selector = f"app={name},tier=backend"
            settings = KubernetesInstances.model_validate({"selector": selector, "port": "management"})
            reports = fleet.reports[name] = []
            task = asyncio.create_task(source_in(cluster, settings).run(reports.append))
            stack.push_async_callback(_ended, task)
            scope = fleet.scopes[name] = Scope(cluster, None, Selector.parse(selector))
            scope.begin()
        await fleet.until(lambda: _all(fleet.reports.values()), "every service has been told of")
        yield fleet


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _all(found: Any) -> bool:
    return all(found)


def run(steps: Callable[[Fleet], Awaitable[None]], folder: Path, pods: int = COUNT, services: int = SERVICES) -> None:
    """Run steps on the loop that the exporter runs on, beside a server."""
    port, log = free_port(), folder / "apiserver.log"
    command = [
        sys.executable, "-m", "bench.apiserver", str(port), "--pods", str(pods), "--services", str(services)
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    async def main() -> None:
        async with asyncio.timeout(180), following(url, services) as fleet:
            await steps(fleet)

    with started(command, log) as process:
        wait_for(f"{url}/version", process, log)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())


def test_all_are_right_after_thousands_of_changes_and_a_version_that_was_too_old(tmp_path: Path) -> None:
    async def steps(fleet: Fleet) -> None:
        told = await fleet.told()
        assert (told["lists"], told["pages"], len(fleet.cluster.objects(Kind.PODS))) == (1, COUNT / PAGE, COUNT)
        assert await fleet.is_right()
        await fleet.ask("/churn?rate=400&mix=all")
        await asyncio.sleep(2)
        await fleet.ask("/compact")
        await asyncio.sleep(2)
        await fleet.ask("/churn?rate=0")
        await fleet.until(fleet.is_right, "all are known as they are")
        told = await fleet.told()
        assert told["events"] > 500
        assert told["lists"] >= 2 + 1  # at the start, after it was too old, and the one here that found all to be right
        assert told["watches"] >= 3  # at the start, the one that was too old, and after the list
        assert fleet.cluster.failure(Kind.PODS) is None
        assert fleet.cluster.skipped(Kind.PODS) == 0

    run(steps, tmp_path)


def test_what_is_kept_is_little_and_does_not_grow_with_changes(tmp_path: Path) -> None:
    async def steps(fleet: Fleet) -> None:
        await fleet.changes(200, 2)  # every kind of change has been seen
        await fleet.until(fleet.is_right, "all are known as they are")
        before = _kept(fleet)
        assert before < COUNT * PER_POD
        told = await fleet.told()
        await fleet.changes(200, 6)
        await fleet.until(fleet.is_right, "all are known as they are")
        assert (await fleet.told())["events"] - told["events"] > COUNT
        assert _kept(fleet) < 1.3 * before

    run(steps, tmp_path)


def _kept(fleet: Fleet) -> int:
    """Return the bytes of all that the fleet's pods have made to be kept, each object once."""
    watched = fleet.cluster._watched[Kind.PODS]
    last = [said[-1] for said in fleet.reports.values()]
    scopes = [scope._pods for scope in fleet.scopes.values()]
    todo: list[Any] = [watched.objects, watched.oom.__dict__, scopes, last]
    seen: set[int] = set()
    size = 0
    while todo:
        each = todo.pop()
        if id(each) not in seen and not isinstance(each, type | ModuleType | FunctionType):
            seen.add(id(each))
            size += sys.getsizeof(each)
            todo += gc.get_referents(each)
    return size


def test_an_event_costs_as_many_calls_however_many_services_there_are(tmp_path: Path) -> None:
    # Calls and not CPU: what an event costs of that depends on how many come at once, and on what the machine does besides.
    costs: list[float] = []

    async def steps(fleet: Fleet) -> None:
        await fleet.changes(300, 1, "status")
        await fleet.until(fleet.is_right, "what comes first has come")
        told, seen, calls = await fleet.told(), 0, 0

        def count(*_: object) -> None:
            nonlocal seen
            seen += 1

        def called(_frame: object, what: str, _arg: object) -> None:
            nonlocal calls
            calls += what in ("call", "c_call")

        end = fleet.cluster.follow(Kind.PODS, count)
        sys.setprofile(called)
        try:
            await fleet.changes(300, 2, "status")  # each changes something
            events = (await fleet.told())["events"] - told["events"]
            assert events > 100
            async with asyncio.timeout(30):
                while seen < events:
                    await asyncio.sleep(0.1)
        finally:
            sys.setprofile(None)
            end()
        costs.append(calls / events)

    run(steps, tmp_path, COUNT // 10, SERVICES // 10)
    run(steps, tmp_path)
    few, many = costs
    assert many < RATIO * few
