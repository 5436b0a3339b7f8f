"""The player of kubelets: what kubectl sees of pods and nodes that nothing runs."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any

import pytest

from exporter.demo.controlplane.access import Access
from exporter.demo.controlplane.behaviour import Behaviour, State, annotations_of, behaviour_of
from exporter.demo.controlplane.client import STRATEGIC
from exporter.demo.controlplane.kubelets import LOOPBACK
from exporter.demo.controlplane.workloads import autoscaler, deployment, pod_template, service
from tests.waiting import eventually

Seen = tuple[str, str, str, int, bool]
"""A pod as people see it: phase, why it waits, how it ended last, restarts, whether it is ready."""


def pod(name: str, **play: str | float) -> dict[str, Any]:
    template = pod_template("identity-service", play=play)
    return {
        "apiVersion": "v1", "kind": "Pod", "spec": {**template["spec"], "restartPolicy": "Always"},
        "metadata": {**template["metadata"], "name": name},
    }  # fmt: skip


def seen(raw: dict[str, Any]) -> Seen | None:
    statuses = raw["status"].get("containerStatuses")
    if not statuses:
        return None
    (container,) = statuses
    ended = container["lastState"].get("terminated") or container["state"].get("terminated") or {}
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in raw["status"]["conditions"])
    waiting = container["state"].get("waiting", {}).get("reason", "")
    return raw["status"]["phase"], waiting, ended.get("reason", ""), container["restartCount"], ready


async def look(plane: Access, namespace: str, name: str) -> Seen | None:
    return seen(await plane.get("pod", name, "--namespace", namespace))


@pytest.mark.parametrize(
    ("play", "expected"),
    [
        ({}, ("Running", "", "", 0, True)),
        ({"state": "not-ready"}, ("Running", "", "", 0, False)),
        ({"ready_after": 60}, ("Running", "", "", 0, False)),
        ({"state": "creating"}, ("Pending", "ContainerCreating", "", 0, False)),
        ({"state": "crash-loop", "backoff": 60}, ("Running", "CrashLoopBackOff", "Error", 0, False)),
        ({"state": "oom-loop", "backoff": 60}, ("Running", "CrashLoopBackOff", "OOMKilled", 0, False)),
        ({"state": "image-pull"}, ("Pending", "ImagePullBackOff", "", 0, False)),
        ({"state": "config-error"}, ("Pending", "CreateContainerConfigError", "", 0, False)),
        ({"state": "succeeded"}, ("Succeeded", "", "Completed", 0, False)),
        ({"state": "failed"}, ("Failed", "", "Error", 0, False)),
        ({"oom_kills": 2}, ("Running", "", "OOMKilled", 2, True)),
    ],
    ids=str,
)
async def test_a_pod_gets_what_it_asks_for(
    play: dict[str, str | float], expected: Seen, control_plane: Access, namespace: str
) -> None:
    await control_plane.apply([pod("one", **play)], namespace)

    async def arrived() -> bool:
        return await look(control_plane, namespace, "one") == expected

    await eventually(arrived, 8, str(expected))


async def test_a_crash_loop_goes_on_and_tells_why(control_plane: Access, namespace: str) -> None:
    play: dict[str, str | float] = {
        "state": "crash-loop",
        "lives": 0.1,
        "backoff": 0.3,
        "exit_code": 3,
        "message": "no DataSource",
    }
    await control_plane.apply([pod("one", **play)], namespace)

    async def restarted() -> dict[str, Any]:
        raw = await control_plane.get("pod", "one", "--namespace", namespace)
        container: dict[str, Any] = (raw["status"].get("containerStatuses") or [{"restartCount": 0}])[0]
        return container if container["restartCount"] >= 2 else {}

    container = await eventually(restarted, 10, "two restarts")
    ended = container["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"], ended["message"]) == ("Error", 3, "no DataSource")
    await control_plane.kubelets.play(namespace, "one", state="running")

    async def well() -> bool:
        found = await look(control_plane, namespace, "one")
        return found is not None and found[:2] == ("Running", "") and found[4]

    await eventually(well, 8, "it runs")


async def test_a_kill_for_want_of_memory_is_over_at_once(control_plane: Access, namespace: str) -> None:
    await control_plane.apply([pod("one")], namespace)

    async def restarts(count: int) -> bool:
        return await look(control_plane, namespace, "one") == ("Running", "", "OOMKilled" if count else "", count, True)

    await eventually(lambda: restarts(0), 8, "it runs")
    await control_plane.kubelets.oom_kill(namespace, "one")
    await eventually(lambda: restarts(1), 5, "one kill")
    await control_plane.kubelets.oom_kill(namespace, "one", times=2)
    await eventually(lambda: restarts(3), 5, "two more")


async def test_deployments_and_endpoints_follow(control_plane: Access, namespace: str) -> None:
    name = "identity-service"
    await control_plane.apply([deployment(name, 2), service(name)], namespace)
    await control_plane.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=30s")
    pods = await control_plane.kubelets.pods(namespace, f"app={name},tier=backend")
    assert all(one["spec"]["nodeName"] for one in pods)  # of the demo's nodes, or one that another test has added
    addresses = {one["status"]["podIP"] for one in pods}
    assert len(addresses) == 2

    async def published() -> bool:
        slices = await control_plane.get("endpointslices", "-n", namespace)
        found = [one for item in slices["items"] for one in item["endpoints"] or ()]
        return {one["addresses"][0] for one in found if one["conditions"]["ready"]} == addresses

    await eventually(published, 8, "both pods are in an EndpointSlice")


async def test_a_pod_takes_its_time_to_go(control_plane: Access, namespace: str) -> None:
    await control_plane.apply([pod("one", terminating=1.5, address="loopback")], namespace)

    async def runs() -> bool:
        return (await look(control_plane, namespace, "one") or ("",))[0] == "Running"

    await eventually(runs, 8, "it runs")
    (raw,) = await control_plane.kubelets.pods(namespace)
    assert ip_address(raw["status"]["podIP"]) in LOOPBACK
    await control_plane.delete("pod", "one", namespace)
    (raw,) = await control_plane.kubelets.pods(namespace)
    assert raw["metadata"]["deletionTimestamp"]

    async def gone() -> bool:
        return not await control_plane.kubelets.pods(namespace)

    began = asyncio.get_running_loop().time()
    await eventually(gone, 8, "it has gone")
    assert asyncio.get_running_loop().time() - began > 0.5


async def test_a_node_is_under_pressure_until_it_is_not(control_plane: Access, namespace: str) -> None:
    name = f"node-of-{namespace}"
    await control_plane.kubelets.add_node(name, "zone-x")

    async def tainted() -> list[str]:
        raw = await control_plane.get("node", name)
        return sorted(one["key"].rpartition("/")[2] for one in raw["spec"].get("taints", ()))

    async def settled() -> bool:
        return not await tainted()

    try:
        await eventually(settled, 10, "it is ready")
        await control_plane.kubelets.set_condition(name, "MemoryPressure", true=True)
        assert await eventually(tainted, 10, "nothing is scheduled to it") == ["memory-pressure"]
        await control_plane.kubelets.set_condition(name, "MemoryPressure", true=False)
        await eventually(settled, 10, "it is well")
    finally:
        await control_plane.kubelets.remove_node(name)


async def test_a_node_that_was_given_up_returns_with_its_pods(control_plane: Access, namespace: str) -> None:
    node, raw = f"{namespace}-node", pod("one")
    raw["spec"]["nodeName"] = node
    await control_plane.kubelets.add_node(node, "zone-a")
    await control_plane.apply([raw], namespace)
    running = ("Running", "", "", 0, True)

    async def well() -> bool:
        told = (await control_plane.get("node", node))["status"]["conditions"]
        ready = [one["status"] for one in told if one["type"] == "Ready"]
        return ready == ["True"] and await look(control_plane, namespace, "one") == running

    await eventually(well, 20, "the node and its pod are ready")
    async with control_plane.client() as client:  # what the controllers do when they have heard nothing for a while
        for path, status in ((f"/api/v1/nodes/{node}", "Unknown"), (f"/api/v1/namespaces/{namespace}/pods/one", "False")):
            given_up = {"status": {"conditions": [{"type": "Ready", "status": status}]}}
            told = await client.send("PATCH", f"{path}/status", given_up, STRATEGIC)
            assert status in {one["status"] for one in told["status"]["conditions"] if one["type"] == "Ready"}
    await eventually(well, 40, "they are ready again")
    await control_plane.kubelets.remove_node(node)


async def test_an_autoscaler_reaches_its_limit(control_plane: Access, namespace: str) -> None:
    """By what pods use, as metrics.k8s.io tells it."""
    await control_plane.apply([deployment("busy", 1, play={"cpu": "900m"}), autoscaler("busy", 1, 2)], namespace)

    async def limited() -> bool:
        raw = await control_plane.get("hpa", "busy", "-n", namespace)
        conditions = {one["type"]: one.get("reason") for one in raw["status"].get("conditions") or ()}
        return raw["status"].get("currentReplicas") == 2 and conditions.get("ScalingLimited") == "TooManyReplicas"

    await eventually(limited, 20, "it wants more than two")
    assert "900m" in await control_plane.kubectl("top", "pods", "-n", namespace)


def test_behaviour_is_read_from_labels_and_annotations() -> None:
    said = {"labels": {"kubelets.demo/state": "crash-loop"}, "annotations": annotations_of(exit_code=3, lives=0.5)}
    assert behaviour_of(said) == Behaviour(State.CRASH_LOOP, exit_code=3, lives=0.5)


def test_what_is_not_understood_is_not_said() -> None:
    assert behaviour_of({"annotations": {"kubelets.demo/state": "on fire", "kubelets.demo/lives": "long"}}) == Behaviour()


@pytest.mark.parametrize("settings", [{"state": "on fire"}, {"colour": "red"}])
def test_what_would_not_be_understood_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"on fire|colour"):
        annotations_of(**settings)


async def test_a_node_of_which_the_controllers_lost_sight_is_ready_again(control_plane: Access, namespace: str) -> None:
    name = f"lost-of-{namespace}"
    await control_plane.kubelets.add_node(name, "zone-x")
    lost = [{"type": kind, "status": "Unknown", "reason": "NodeStatusUnknown"} for kind in ("Ready", "MemoryPressure")]

    async def conditions() -> dict[str, str]:
        raw = await control_plane.get("node", name)
        return {one["type"]: one["status"] for one in raw["status"].get("conditions", ())}

    async def well() -> bool:
        found = await conditions()
        return found.get("Ready") == "True" and found.get("MemoryPressure") == "False"

    try:
        await eventually(well, 20, "it is ready")
        async with control_plane.client() as client:
            for _ in range(2):
                path = f"/api/v1/nodes/{name}/status"
                told = await client.send("PATCH", path, {"status": {"conditions": lost}}, STRATEGIC)
                assert "Unknown" in {one["status"] for one in told["status"]["conditions"]}
                await eventually(well, 20, "it is ready again")
    finally:
        await control_plane.kubelets.remove_node(name)
