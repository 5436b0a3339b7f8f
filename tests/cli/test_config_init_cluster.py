"""`config init --kubeconfig` against a real control plane: what it writes is valid, and `check` goes by it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from exporter.demo.controlplane.access import Access, Identity, Rule
from exporter.demo.controlplane.behaviour import annotations_of
from exporter.demo.ports import free_port
from tests.cli.test_config_init import run
from tests.scaffold.applications import application
from tests.waiting import eventually

PORT = 8081
WORKLOADS: Rule = {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets"], "verbs": ["list", "watch"]}
PODS: Rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
UP: dict[str, Any] = {"/actuator/health": {"status": "UP"}, "/actuator/metrics": {"names": []}}
READINESS = {"httpGet": {"path": "/actuator/health/readiness", "port": "management"}}


def deployment(name: str, tier: str, **container: Any) -> dict[str, Any]:
    """Build one whose single pod gets an address of this machine."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"tier": tier}},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations_of(address="loopback")},
                "spec": {"containers": [{"name": "app", "image": name, **container}]},
            },
        },
    }


def application_of(name: str, environment: dict[str, str]) -> dict[str, Any]:
    return deployment(
        name,
        "backend",
        ports=[{"name": "management", "containerPort": PORT}],
        readinessProbe=READINESS,
        env=[{"name": key, "value": value} for key, value in environment.items()],
    )


async def address_of(plane: Access, namespace: str, app: str) -> str:
    """Wait for the pod of a workload to run; return its address."""
    found: list[str] = []

    async def runs() -> bool:
        pods = await plane.kubelets.pods(namespace, f"app={app}")
        found[:] = [pod["status"]["podIP"] for pod in pods if pod["status"].get("podIP")]
        return bool(found)

    await eventually(runs, 60, f"a pod of {app} runs")
    return found[0]


@asynccontextmanager
async def fleet(plane: Access, namespace: str) -> AsyncIterator[Identity]:
    """Run two applications, and what is none, in a namespace; give who may read it."""
    await plane.kubelets.add_node(f"node-{namespace}", "zone-a")
    redis = {"SPRING_DATA_REDIS_HOST": "127.0.0.1", "SPRING_DATA_REDIS_PORT": str(free_port())}
    secret = {"SPRING_DATASOURCE_PASSWORD": "hunter2"}
    await plane.apply(
        [application_of("case-service", redis | secret), application_of("vault-service", {}), deployment("nginx", "edge")],
        namespace,
    )
    case, vault = [await address_of(plane, namespace, app) for app in ("case-service", "vault-service")]
    async with application(UP, host=case, port=PORT), application(UP, host=vault, port=PORT):
        yield await plane.as_user("reader", [WORKLOADS, PODS], namespace)
    await plane.kubelets.remove_node(f"node-{namespace}")


async def test_what_a_namespace_runs_becomes_a_configuration_by_which_check_goes(
    control_plane: Access, namespace: str, tmp_path: Path
) -> None:
    async with fleet(control_plane, namespace) as reader:
        written = await asyncio.to_thread(
            run, tmp_path, "config", "init", "--kubeconfig", str(reader.config), "--output", "exporter.yml"
        )
        assert (written.returncode, written.stderr) == (0, "")
        assert written.stdout.splitlines()[0] == "wrote exporter.yml: 2 services and 1 dependency"
        text = (tmp_path / "exporter.yml").read_text()
        assert "nginx is left out" in text
        assert "hunter2" not in text
        assert reader.token not in text
        config = yaml.safe_load(text)
        assert config["kubernetes"] == {"kubeconfig": str(reader.config), "namespace": namespace}
        places = {name: each["instances"]["kubernetes"] for name, each in config["services"].items()}
        assert places == {
            "case": {"selector": "app=case-service", "port": "management"},
            "vault": {"selector": "app=vault-service", "port": "management"},
        }
        assert config["services"]["case"]["depends_on"] == ["redis"]
        valid = await asyncio.to_thread(run, tmp_path, "config", "validate", "--config", "exporter.yml")
        assert valid.returncode == 0, valid.stderr
        done = await asyncio.to_thread(
            run, tmp_path, "check", "--config", "exporter.yml", "--probe", "actuator", "--output", "json", "--timeout", "10s"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert {each["name"]: each["state"] for each in json.loads(done.stdout)["services"]} == {"case": "up", "vault": "up"}
        whole = await asyncio.to_thread(
            run, tmp_path, "check", "--config", "exporter.yml", "--output", "json", "--timeout", "10s"
        )
        assert whole.returncode == 2, "redis is down"
        verdicts = {each["name"]: each["verdict"] for each in json.loads(whole.stdout)["services"]}
        assert verdicts == {"redis": "down", "case": "up", "vault": "up"}


async def test_what_fits_can_be_chosen_and_who_may_not_read_is_told_what_is_needed(
    control_plane: Access, namespace: str, tmp_path: Path
) -> None:
    await control_plane.apply([application_of("vault-service", {}), deployment("nginx", "edge")], namespace)
    ask = ("config", "init", "--output", "-", "--kubeconfig")
    edge = await asyncio.to_thread(
        run, tmp_path, *ask, str(control_plane.admin.config), "--namespace", namespace, "--selector", "tier=edge"
    )
    assert (edge.returncode, edge.stdout) == (3, "")
    assert f"namespace {namespace} has 1 workload that tier=edge selects, and none shows an actuator" in edge.stderr
    nobody = await control_plane.as_user("nobody", [PODS], namespace)
    refused = await asyncio.to_thread(run, tmp_path, *ask, str(nobody.config))
    assert (refused.returncode, refused.stdout) == (3, "")
    assert 'cannot list resource "deployments"' in refused.stderr
    assert nobody.token not in refused.stderr
