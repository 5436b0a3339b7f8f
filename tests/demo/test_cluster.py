"""The demo with `--kubernetes`: its services are Deployments on a real control plane; kubectl shows what breaks there."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from exporter.cli.main import cli
from exporter.demo.cluster import NAMESPACE, REPLICAS, SCALED, workload_of
from exporter.demo.fleet import Options
from exporter.demo.ports import listens
from tests.demo.running import RunningFleet, fetch, running
from tests.demo.test_fleet import ELSEWHERE, queries
from tests.waiting import until

Raw = dict[str, Any]


class Cluster:
    """The demo, and kubectl beside it."""

    def __init__(self, demo: RunningFleet) -> None:
        assert demo.fleet.cluster is not None
        self.demo = demo
        self._plane = demo.fleet.cluster.plane

    def kubectl(self, *arguments: str) -> str:
        config = f"--kubeconfig={self._plane.admin.config}"
        command = [str(self._plane.programs / "kubectl"), config, "-n", NAMESPACE, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=180).stdout

    def get(self, *arguments: str) -> Raw:
        found: Raw = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def pods(self, service: str) -> list[Raw]:
        found: list[Raw] = self.get("pods", "-l", f"app={workload_of(service)}")["items"]
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def waiting(self, service: str) -> list[str]:
        containers = [one for pod in self.pods(service) for one in pod["status"].get("containerStatuses", ())]
        return [one["state"]["waiting"]["reason"] for one in containers if "waiting" in one["state"]]

    def condition(self, kind: str, name: str, condition: str) -> tuple[str, str]:
        found = {one["type"]: (one["status"], one["reason"]) for one in self.get(kind, name)["status"]["conditions"]}
        return found[condition]

    def well(self, service: str) -> bool:
        pods, port = self.pods(service), self.demo.fleet.services[service]
        return len(pods) == REPLICAS and all(listens(pod["status"].get("podIP", "127.0.0.2"), port) for pod in pods)


@pytest.fixture(scope="module")
def cluster(control_plane_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    options = Options(tmp_path_factory.mktemp("demo"), free_ports=True, interval=1.0, kubernetes=True)
    with running(options) as demo:
        yield Cluster(demo)


def test_every_service_is_a_deployment_and_its_pods_answer(cluster: Cluster) -> None:
    services = cluster.demo.fleet.services
    assert {item["metadata"]["name"] for item in cluster.get("deployments")["items"]} == set(map(workload_of, services))
    addresses = set()
    for name, port in services.items():
        for pod in cluster.pods(name):
            addresses.add(pod["status"]["podIP"])
            assert json.loads(fetch(f"http://{pod['status']['podIP']}:{port}/actuator/health"))["status"] == "UP"
    assert len(addresses) == REPLICAS * len(services)


def _crashing(cluster: Cluster) -> bool:
    return "CrashLoopBackOff" in cluster.waiting("vault")


def _killed(cluster: Cluster) -> bool:
    containers = [one for pod in cluster.pods("vault") for one in pod["status"]["containerStatuses"]]
    return any(one["lastState"].get("terminated", {}).get("reason") == "OOMKilled" for one in containers)


def _not_pulled(cluster: Cluster) -> bool:
    return cluster.waiting("vault") == ["ImagePullBackOff"]


def _not_loaded(cluster: Cluster) -> bool:
    return cluster.demo.value("probe_tls_secret_served") == 0


def _stuck(cluster: Cluster) -> bool:
    return cluster.condition("deployment", workload_of("vault"), "Progressing") == ("False", "ProgressDeadlineExceeded")


def _limited(cluster: Cluster) -> bool:
    return cluster.condition("hpa", workload_of(SCALED), "ScalingLimited") == ("True", "TooManyReplicas")


def _empty(cluster: Cluster) -> bool:
    return cluster.pods("vault") == []


def _pressed(cluster: Cluster) -> bool:
    return cluster.condition("node", "node-1", "MemoryPressure")[0] == "True"


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ("crash-loop", _crashing),
        ("pod-crash-loop", _crashing),
        ("oom-kill", _killed),
        ("image-pull", _not_pulled),
        ("rollout-stuck", _stuck),
        ("hpa-limit", _limited),
        ("zero-pods", _empty),
        ("node-pressure", _pressed),
    ],
)
def test_a_fault_shows_and_is_mended(fault: str, shown: Callable[[Cluster], bool], cluster: Cluster) -> None:
    with cluster.demo.fault(fault, "vault"):
        until(lambda: shown(cluster), 30, fault)
    until(lambda: cluster.well("vault"), 20, f"{fault} is mended")


def test_one_pod_crashes_before_it_listens_and_the_other_serves(cluster: Cluster) -> None:
    port = cluster.demo.fleet.services["vault"]
    with cluster.demo.fault("pod-crash-loop", "vault"):
        until(lambda: _crashing(cluster), 30, "one crashes")
        addresses = [pod["status"]["podIP"] for pod in cluster.pods("vault")]
        deadline = time.monotonic() + 6  # more than two turns
        heard: set[str] = set()
        while time.monotonic() < deadline:
            heard |= {address for address in addresses if listens(address, port)}
            time.sleep(0.05)
        assert len(heard) == 1
    until(lambda: cluster.well("vault"), 20, "it is mended")


def test_the_gateways_certificate_is_that_of_its_secret_once_it_is_loaded(cluster: Cluster) -> None:
    until(lambda: cluster.demo.value("probe_tls_secret_served") == 1, 60, "served as stored")
    with cluster.demo.fault("certificate-renewed"):
        until(lambda: _not_loaded(cluster), 60, "renewed and not loaded")
    until(lambda: cluster.demo.value("probe_tls_secret_served") == 1, 60, "loaded")


NO_DATA_HERE = re.compile(r"probe_exporter_(shard|leader)")
"""One exporter runs here, alone."""


def autoscaler_without_metrics(workload: str) -> Raw:
    """An autoscaler by a metric that nobody provides."""
    metric = {"metric": {"name": "nobodys"}, "target": {"type": "Value", "value": "1"}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload},
        "minReplicas": REPLICAS,
        "maxReplicas": REPLICAS + 1,
        "metrics": [{"type": "External", "external": metric}],
    }
    kind = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
    return {**kind, "metadata": {"name": "blind", "namespace": NAMESPACE}, "spec": spec}


def test_every_query_of_the_panels_of_kubernetes_returns_data(cluster: Cluster, tmp_path: Path) -> None:
    asked = {
        name: query for name, (_, query) in queries().items() if ELSEWHERE.search(query) and not NO_DATA_HERE.search(query)
    }
    assert len(asked) > 15
    fault, workload = cluster.demo.fault, workload_of("vault")

    def empty() -> dict[str, str]:
        return {name: query for name, query in asked.items() if not cluster.demo.query(query)}

    blind = tmp_path / "autoscaler.json"
    blind.write_text(json.dumps(autoscaler_without_metrics(workload_of("monitoring"))))
    nowhere = json.dumps({"spec": {"nodeSelector": {"zone": "nowhere"}}})
    with fault("crash-loop", "case"), fault("oom-kill", "signals"), fault("hpa-limit"), fault("node-pressure", "case"):
        cluster.kubectl("run", "nowhere", "--image=none", f"--labels=app={workload},tier=backend", f"--overrides={nowhere}")
        pods = len(cluster.get("pods")["items"])
        cluster.kubectl("create", "quota", "full", f"--hard=pods={pods}")
        cluster.kubectl("scale", f"deployment/{workload}", "--replicas=4")
        cluster.kubectl("apply", "-f", str(blind))
        try:
            until(lambda: not empty(), 15, "every panel has data", why=empty)
        finally:
            cluster.kubectl("delete", "quota/full", "pod/nowhere", "hpa/blind", "--wait=false")
            cluster.kubectl("scale", f"deployment/{workload}", f"--replicas={REPLICAS}")
    until(lambda: cluster.well("vault"), 60, "all is as it was")


def test_a_pod_that_a_rollout_has_taken_away_plays_nothing(cluster: Cluster) -> None:
    assert cluster.demo.fleet.cluster is not None
    asyncio.run(cluster.demo.fleet.cluster.play("vault-service-gone", state="running"))


def test_the_services_live_on_while_the_api_server_is_gone(cluster: Cluster) -> None:
    (first, *_) = cluster.pods("vault")
    port = cluster.demo.fleet.services["vault"]
    with cluster.demo.fault("api-server-down"):
        with pytest.raises(subprocess.CalledProcessError):
            cluster.kubectl("get", "pods")
        assert listens(first["status"]["podIP"], port)
    assert cluster.well("vault")


def test_a_fault_of_kubernetes_needs_it() -> None:
    done = CliRunner().invoke(cli, ["demo", "--fault", "zero-pods"])
    assert done.exit_code != 0
    assert "add --kubernetes" in done.output
