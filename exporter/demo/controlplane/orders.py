"""What anyone may tell the kubelets that are played, from any process: it goes through the API server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.demo.controlplane.behaviour import annotations_of, behaviour_of
from exporter.demo.controlplane.client import MERGE, STRATEGIC, Client, Raw
from exporter.demo.controlplane.nodes import condition, node

__all__ = ["Orders"]


class Orders:
    """Changes what is played.

    Args:
        client: Makes a client that is not open yet, of someone who may do everything.
    """

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    async def pods(self, namespace: str, selector: str = "") -> list[Raw]:
        """Return the pods of a namespace, or those with certain labels (`app=identity-service,tier=backend`).

        Raises:
            ApiError: It is refused.
        """
        async with self._client() as client:
            return (await client.list(f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": selector}))[0]

    async def play(self, namespace: str, pod: str, **settings: str | float) -> None:
        """Let a pod behave otherwise from now on: `play("test-x", "identity-1", state="crash-loop", exit_code=3)`.

        Args:
            namespace: Its namespace.
            pod: Its name.
            settings: See `Behaviour`; those that are not named stay.

        Raises:
            ValueError: There is no such setting, or no such state.
            ApiError: It is refused.
        """
        await self._patch(
            f"/api/v1/namespaces/{namespace}/pods/{pod}", {"metadata": {"annotations": annotations_of(**settings)}}
        )

    async def play_workload(self, namespace: str, name: str, kind: str = "deployments", **settings: str | float) -> None:
        """Let the pods that a Deployment makes from now on behave otherwise: a rollout.

        Raises:
            ValueError: There is no such setting, or no such state.
            ApiError: It is refused.
        """
        template = {"metadata": {"annotations": annotations_of(**settings)}}
        await self._patch(f"/apis/apps/v1/namespaces/{namespace}/{kind}/{name}", {"spec": {"template": template}})

    async def oom_kill(self, namespace: str, pod: str, times: int = 1) -> None:
        """Kill its container for want of memory, so often in a row, each time over before anyone looks.

        Raises:
            ApiError: It is refused.
        """
        async with self._client() as client:
            raw = await client.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")
        await self.play(namespace, pod, oom_kills=behaviour_of(raw["metadata"]).oom_kills + times)

    async def scale(self, namespace: str, name: str, replicas: int, kind: str = "deployments") -> None:
        """Set how many replicas a workload is to have.

        Raises:
            ApiError: It is refused.
        """
        await self._patch(f"/apis/apps/v1/namespaces/{namespace}/{kind}/{name}", {"spec": {"replicas": replicas}})

    async def add_node(self, name: str, zone: str) -> None:
        """Add a node, which gets ready within a second.

        Raises:
            ApiError: It is refused, or is there.
        """
        async with self._client() as client:
            await client.send("POST", "/api/v1/nodes", node(name, zone))

    async def remove_node(self, name: str) -> None:
        """Take a node away; its pods go with it in a while.

        Raises:
            ApiError: It is refused.
        """
        async with self._client() as client:
            await client.send("DELETE", f"/api/v1/nodes/{name}")

    async def set_condition(self, name: str, kind: str, *, true: bool) -> None:
        """Set a condition of a node: Ready, MemoryPressure, DiskPressure or PIDPressure.

        Raises:
            ApiError: It is refused.
        """
        body = {"status": {"conditions": [condition(kind, true=true)]}}
        await self._patch(f"/api/v1/nodes/{name}/status", body, STRATEGIC)

    async def _patch(self, path: str, body: dict[str, Any], content_type: str = MERGE) -> None:
        async with self._client() as client:
            await client.send("PATCH", path, body, content_type)
