"""The control plane of tests and demo: identities with exactly their rights, and what happens to it when it is broken."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.demo.controlplane import programs
from exporter.demo.controlplane.access import Access, Identity, KubectlError
from exporter.demo.controlplane.client import UNREACHABLE, ApiError
from exporter.demo.controlplane.plane import ControlPlane
from exporter.demo.processes import descendants
from tests.demo.watching import wait_until_gone
from tests.waiting import eventually

PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
ROOT = Path(__file__).parents[2]


async def status(plane: Access, identity: Identity, path: str) -> int:
    async with plane.client(identity) as client:
        try:
            await client.get(path)
        except ApiError as error:
            return error.status
        return 200


async def test_it_is_the_version_that_was_built(control_plane: Access) -> None:
    assert f"Server Version: {programs.VERSION}" in await control_plane.kubectl("version")


async def test_a_user_may_do_what_its_rules_say_and_nothing_else(control_plane: Access, namespace: str) -> None:
    reader = await control_plane.as_user("reader", [PODS], namespace)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    assert await status(control_plane, reader, pods) == 200
    assert await status(control_plane, reader, f"/api/v1/namespaces/{namespace}/secrets") == 403
    assert await status(control_plane, reader, "/api/v1/namespaces/default/pods") == 403
    assert "No resources found" not in await control_plane.kubectl("get", "pods", identity=reader)
    await control_plane.withdraw(reader)
    assert await status(control_plane, reader, pods) == 403
    with pytest.raises(KubectlError, match="forbidden"):
        await control_plane.kubectl("get", "pods", identity=reader)
    await control_plane.grant(reader, [PODS])
    assert await status(control_plane, reader, pods) == 200


async def test_tokens_end(control_plane: Access, namespace: str) -> None:
    """One by its time, one with the Secret that it is bound to; both within ten seconds."""
    reader = await control_plane.as_user("reader", [PODS], namespace)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bound"}}
    await control_plane.apply([secret], namespace)
    tokens = [
        await control_plane.short_token("reader", namespace, 1.0),
        await control_plane.request_token("reader", namespace, secret="bound"),
    ]
    path = f"/api/v1/namespaces/{namespace}/pods"
    users = [Identity("reader", namespace, token, reader.config) for token in tokens]
    assert [await status(control_plane, user, path) for user in users] == [200, 200]
    await control_plane.delete("secret", "bound", namespace)

    async def refused() -> bool:
        return [await status(control_plane, user, path) for user in users] == [401, 401]

    await eventually(refused, 15, "both are refused")
    assert await status(control_plane, reader, path) == 200


async def test_the_api_server_is_killed_and_comes_back_without_its_history(own_control_plane: ControlPlane) -> None:
    plane = own_control_plane
    path = "/api/v1/namespaces/default/configmaps"
    async with plane.client() as client:
        _, version = await client.list(path)

        async def watch() -> int:
            count = 0
            async for _ in client.watch(path, version):
                count += 1
            return count

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.2)
        await plane.expire()
        (ended,) = await asyncio.gather(watching, return_exceptions=True)
        assert isinstance(ended, UNREACHABLE), "the watch was cut off"
        with pytest.raises(ApiError) as error:
            await watch()
        assert error.value.status == 410
        items, _ = await client.list(path)
        assert "expired" in {item["metadata"]["name"] for item in items}, "what was written before is there"
    await plane.stop_api_server()
    with pytest.raises(KubectlError, match="refused"):
        await plane.kubectl("get", "pods")


@pytest.mark.usefixtures("control_plane_programs")
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "left"])
def test_nothing_of_it_outlives_who_holds_it_or_its_last_user(killed: bool, tmp_path: Path) -> None:
    name = f"hafnium-exporter/test/{os.getpid()}-{tmp_path.name}"
    process = subprocess.Popen([sys.executable, "-m", "tests.fixtures.holder", tmp_path, name], cwd=ROOT)
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(60)
            for _ in range(300):
                if line.connect_ex(f"\0{name}") == 0:
                    break
                assert process.poll() is None
                signal.sigtimedwait([], 0.1)
            assert b"https://127.0.0.1" in line.recv(4096)
            family = descendants(process.pid)
            assert len(family) >= 4
            if killed:
                process.kill()
        process.wait(30)
        wait_until_gone(*family)
    finally:
        process.kill()
        process.wait()
