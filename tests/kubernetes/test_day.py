"""A day of a service on Kubernetes, hour by hour, on a control plane of its own: what kubectl sees of it.

Each hour is a step of one test, since it starts where the one before it ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from exporter.demo.controlplane.access import Identity
from exporter.demo.controlplane.client import UNREACHABLE, ApiError
from exporter.demo.controlplane.plane import ControlPlane
from exporter.demo.controlplane.workloads import deployment, service
from tests.waiting import eventually

NAME, NAMESPACE = "identity-service", "hafnium"
READS = [
    {"apiGroups": ["", "apps"], "resources": ["pods", "deployments", "replicasets"], "verbs": ["get", "list", "watch"]},
]


class Day:
    """One service, and what is known of it.

    Args:
        plane: Where it runs.
        reader: Who looks.
    """

    def __init__(self, plane: ControlPlane, reader: Identity) -> None:
        self.plane = plane
        self.reader = reader

    async def deploy(self, version: str = "1.0.0", replicas: int = 2, **play: str | float) -> None:
        image = f"registry.example/{NAME}:{version}"
        made = deployment(NAME, replicas, progress_deadline=3, image=image, play=play)
        await self.plane.apply([made, service(NAME)], NAMESPACE)

    async def rolled_out(self) -> None:
        await self.plane.kubectl("rollout", "status", f"deployment/{NAME}", "-n", NAMESPACE, "--timeout=60s")

    async def pods(self) -> list[dict[str, Any]]:
        """Return those that are not on their way out."""
        found = await self.plane.kubelets.pods(NAMESPACE, f"app={NAME}")
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    async def containers(self) -> list[dict[str, Any]]:
        return [one for pod in await self.pods() for one in pod["status"].get("containerStatuses", ())]

    async def ready(self) -> int:
        return sum(one["ready"] for one in await self.containers())

    async def conditions(self) -> dict[str, tuple[str, str]]:
        raw = await self.plane.get("deployment", NAME, "-n", NAMESPACE)
        return {one["type"]: (one["status"], one["reason"]) for one in raw["status"].get("conditions", ())}

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 10.0) -> None:
        await eventually(condition, seconds, what)

    async def until_ready(self, count: int) -> None:
        async def arrived() -> bool:
            return await self.ready() == count == len(await self.pods())

        await self.until(arrived, f"{count} pods are ready and there are no others")

    async def status(self, identity: Identity | None = None) -> int:
        """Return what the API server says to who asks for the pods."""
        async with self.plane.client(identity or self.reader) as client:
            try:
                await client.get(f"/api/v1/namespaces/{NAMESPACE}/pods")
            except ApiError as error:
                return error.status
            return 200


@pytest.fixture
async def day(own_control_plane: ControlPlane) -> Day:
    plane = own_control_plane
    await plane.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    return Day(plane, await plane.as_user("hafnium-exporter", READS, NAMESPACE))


async def test_a_day(day: Day) -> None:
    for hour in (
        _deployed, _rolled_out, _crashing, _out_of_memory, _stuck, _undone, _scaled_to_zero, _node_under_pressure,
        _api_server_gone, _history_forgotten, _token_ended, _rights_withdrawn,
    ):  # fmt: skip
        await hour(day)


async def _deployed(day: Day) -> None:
    await day.deploy()
    await day.rolled_out()
    await day.until_ready(2)


async def _rolled_out(day: Day) -> None:
    before = {pod["metadata"]["uid"] for pod in await day.pods()}
    await day.deploy("1.1.0")
    await day.rolled_out()
    await day.until_ready(2)
    assert not before & {pod["metadata"]["uid"] for pod in await day.pods()}
    assert "2" in await day.plane.kubectl("rollout", "history", f"deployment/{NAME}", "-n", NAMESPACE)


async def _crashing(day: Day) -> None:
    pod = (await day.pods())[0]["metadata"]["name"]
    await day.plane.kubelets.play(NAMESPACE, pod, state="crash-loop", lives=0.1, backoff=0.5, exit_code=3)

    async def crashing() -> bool:
        return any(one["restartCount"] and one["lastState"]["terminated"]["exitCode"] == 3 for one in await day.containers())

    await day.until(crashing, "a container was started again")
    assert await day.ready() == 1
    await day.plane.kubelets.play(NAMESPACE, pod, state="running")
    await day.until_ready(2)


async def _out_of_memory(day: Day) -> None:
    pod = (await day.pods())[1]
    before = pod["status"]["containerStatuses"][0]["restartCount"]
    await day.plane.kubelets.oom_kill(NAMESPACE, pod["metadata"]["name"], times=2)

    async def killed() -> bool:
        return any(
            one["restartCount"] == before + 2 and one["lastState"]["terminated"]["reason"] == "OOMKilled"
            for one in await day.containers()
        )

    await day.until(killed, "two kills")
    assert await day.ready() == 2


async def _stuck(day: Day) -> None:
    await day.deploy("1.2.0-typo", state="image-pull")

    async def stuck() -> bool:
        return (await day.conditions()).get("Progressing") == ("False", "ProgressDeadlineExceeded")

    await day.until(stuck, "the rollout is stuck")
    assert await day.ready() == 2
    waiting = [one["state"]["waiting"]["reason"] for one in await day.containers() if "waiting" in one["state"]]
    assert waiting == ["ImagePullBackOff"]


async def _undone(day: Day) -> None:
    await day.plane.kubectl("rollout", "undo", f"deployment/{NAME}", "-n", NAMESPACE)
    await day.rolled_out()
    await day.until_ready(2)


async def _scaled_to_zero(day: Day) -> None:
    await day.plane.kubelets.scale(NAMESPACE, NAME, 0)

    async def empty() -> bool:
        return not await day.pods()

    await day.until(empty, "no pod is left")
    await day.plane.kubelets.scale(NAMESPACE, NAME, 2)
    await day.until_ready(2)


async def _node_under_pressure(day: Day) -> None:
    node = (await day.pods())[0]["spec"]["nodeName"]
    await day.plane.kubelets.set_condition(node, "MemoryPressure", true=True)

    async def tainted() -> bool:
        raw = await day.plane.get("node", node)
        return any(one["key"] == "node.kubernetes.io/memory-pressure" for one in raw["spec"].get("taints", ()))

    await day.until(tainted, "nothing is scheduled there")
    assert await day.ready() == 2
    await day.plane.kubelets.set_condition(node, "MemoryPressure", true=False)


async def _api_server_gone(day: Day) -> None:
    await day.plane.stop_api_server(kill=True)
    with pytest.raises(UNREACHABLE):
        await day.status()
    await day.plane.start_api_server()
    assert await day.status() == 200
    await day.until_ready(2)


async def _history_forgotten(day: Day) -> None:
    async with day.plane.client(day.reader) as client:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods"
        _, version = await client.list(path)
        await day.plane.expire()
        with pytest.raises(ApiError) as error:
            async for _ in client.watch(path, version):
                pass
        assert error.value.status == 410


async def _token_ended(day: Day) -> None:
    token = await day.plane.short_token(day.reader.name, NAMESPACE, 1.0)
    brief = Identity(day.reader.name, NAMESPACE, token, day.reader.config)
    assert await day.status(brief) == 200

    async def refused() -> bool:
        return await day.status(brief) == 401

    await day.until(refused, "the token has ended", 15)


async def _rights_withdrawn(day: Day) -> None:
    await day.plane.withdraw(day.reader)
    assert await day.status() == 403
    await day.plane.grant(day.reader, READS)
    assert await day.status() == 200
