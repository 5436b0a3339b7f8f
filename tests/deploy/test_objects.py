"""What must hold of the objects, whichever way they are made."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from exporter import __version__
from exporter.alerts.model import Options
from exporter.cli.main import cli
from exporter.metrics.core import CORE
from exporter.parsing import parse_duration
from tests.deploy.rendering import CLUSTER_WIDE, DEPLOY, Objects, of_kind, pods

ROOT = DEPLOY.parent
PORT = 9818


def container(objects: Objects) -> dict[str, Any]:
    """Return the one container of the one workload."""
    (pod,) = pods(objects)
    (found,) = pod["containers"]
    assert isinstance(found, dict)
    return found


def config(objects: Objects) -> str:
    """Return the configuration that the pod mounts."""
    (pod,) = pods(objects)
    (name,) = [volume["configMap"]["name"] for volume in pod["volumes"] if volume["name"] == "config"]
    return str(objects["ConfigMap", name]["data"]["exporter.yml"])


def test_the_pod_is_what_the_restricted_standard_asks_for(objects: Objects) -> None:
    (pod,) = pods(objects)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all({"configMap", "secret"} & volume.keys() for volume in pod["volumes"])
    security = container(objects)["securityContext"]
    assert security == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip
    assert all(mount["readOnly"] for mount in container(objects)["volumeMounts"])


def test_the_user_is_the_image_s(objects: Objects) -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    context = pods(objects)[0]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (int(user[0]), int(user[1]), int(user[1]))


def test_the_image_is_of_this_version(objects: Objects) -> None:
    assert container(objects)["image"] == f"hafnium-exporter:{__version__}"


def test_the_arguments_are_the_command_line_s(objects: Objects, tmp_path: Path) -> None:
    arguments = container(objects)["args"]
    missing = tmp_path / "missing.yml"
    path = arguments.index("--config") + 1
    assert arguments[path] == "/etc/hafnium-exporter/exporter.yml"
    # All else is accepted: only then is it said that there is no such file.
    done = CliRunner().invoke(cli, [*arguments[:path], str(missing), *arguments[path + 1 :]])
    assert str(missing) in f"{done.output}{done.exception}", done.output
    assert "No such option" not in done.output


def test_the_files_are_mounted_where_image_and_configuration_look(objects: Objects) -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in container(objects)["volumeMounts"]}
    assert f"{mounts['config']}/exporter.yml" in container(objects)["args"]
    assert f"HAFNIUM_EXPORTER_CONFIG={mounts['config']}/exporter.yml" in (ROOT / "Dockerfile").read_text()
    assert f"${{SECRETS:-{mounts['secrets']}}}/postgres-password" in config(objects)


def test_ports_are_one(objects: Objects) -> None:
    (port,) = container(objects)["ports"]
    assert port == {"name": "http", "containerPort": PORT, "protocol": "TCP"}
    document = yaml.safe_load(config(objects))
    assert document["server"]["listen"] == f"0.0.0.0:{PORT}"
    assert f"EXPOSE {PORT}" in (ROOT / "Dockerfile").read_text()
    for service in of_kind(objects, "Service"):
        assert service["spec"]["ports"] == [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}]
    for monitor in of_kind(objects, "ServiceMonitor"):
        assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == ["http"]


def test_probes_ask_what_is_served(objects: Objects) -> None:
    asked = {kind: container(objects)[kind] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    paths = {kind: probe["httpGet"] for kind, probe in asked.items()}
    assert paths == {
        "startupProbe": {"path": "/-/healthy", "port": "http"},
        "livenessProbe": {"path": "/-/healthy", "port": "http"},
        "readinessProbe": {"path": "/-/ready", "port": "http"},
    }
    served = (ROOT / "exporter" / "web" / "endpoints.py").read_text() + (ROOT / "exporter" / "web" / "server.py").read_text()
    assert all(f'"{probe["path"]}"' in served for probe in paths.values())


def test_it_may_take_longer_to_end_than_attempts_in_flight(objects: Objects) -> None:
    drain = parse_duration(yaml.safe_load(config(objects))["server"]["drain_timeout"])
    assert pods(objects)[0]["terminationGracePeriodSeconds"] >= drain + 10


def test_it_asks_for_what_it_needs_and_is_bounded(objects: Objects) -> None:
    resources = container(objects)["resources"]
    assert {kind: set(amounts) for kind, amounts in resources.items()} == {
        "requests": {"cpu", "memory"}, "limits": {"cpu", "memory"}
    }  # fmt: skip


def test_whoever_selects_pods_selects_these(objects: Objects) -> None:
    (workload,) = of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet")
    labels = workload["spec"]["template"]["metadata"]["labels"].items()
    assert ("app", "hafnium-exporter") in labels, "the runbook's kubectl commands select it"
    selectors = [workload["spec"]["selector"]["matchLabels"]]
    selectors += [service["spec"]["selector"] for service in of_kind(objects, "Service")]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in of_kind(objects, "PodDisruptionBudget")]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in of_kind(objects, "NetworkPolicy")]
    selectors += [
        spread["labelSelector"]["matchLabels"]
        for spread in workload["spec"]["template"]["spec"]["topologySpreadConstraints"]
    ]
    assert len(selectors) >= 6
    assert all(selector.items() <= labels for selector in selectors)


def test_one_service_is_scraped_and_its_job_is_the_rules(objects: Objects) -> None:
    for monitor in of_kind(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (scraped,) = [s for s in of_kind(objects, "Service") if wanted <= s["metadata"]["labels"].items()]
        assert scraped["metadata"]["labels"][monitor["spec"]["jobLabel"]] == Options().job
        (endpoint,) = monitor["spec"]["endpoints"]
        assert parse_duration(endpoint["interval"]) == Options().scrape_interval


def test_the_operator_s_labels_do_not_take_the_place_of_the_exporter_s(objects: Objects) -> None:
    theirs = {"service", "pod", "container", "endpoint", "node", "namespace", "job", "instance"}
    ours = {label for family in CORE for label in (*family.owner_labels, *family.labels)} | {"pod", "node", "zone"}
    for monitor in of_kind(objects, "ServiceMonitor"):
        (endpoint,) = monitor["spec"]["endpoints"]
        (drop,) = endpoint["relabelings"]
        left = {label for label in theirs if not re.fullmatch(drop["regex"], label)}
        assert drop["action"] == "labeldrop"
        assert endpoint["honorLabels"] is True
        assert left == {"namespace", "job", "instance"}
        assert not left & ours


def covers(ports: list[dict[str, Any]], port: int) -> bool:
    return any(rule["port"] <= port <= rule.get("endPort", rule["port"]) and rule["protocol"] == "TCP" for rule in ports)


def probed_ports(document: dict[str, Any]) -> set[int]:
    """Return the ports of every instance in a configuration; those of variables by their defaults."""
    text = json.dumps([m["instances"] for group in ("dependencies", "services") for m in document[group].values()])
    plain = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return {int(port) for port in re.findall(r'"port": (\d+)|:(\d+)"', plain) for port in port if port}


def test_the_policy_lets_through_what_is_probed_and_who_scrapes(objects: Objects) -> None:
    (policy,) = of_kind(objects, "NetworkPolicy")
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    (ingress,) = policy["spec"]["ingress"]
    assert [port["port"] for port in ingress["ports"]] == ["http"]
    dns, probed = policy["spec"]["egress"]
    assert {(rule["port"], rule["protocol"]) for rule in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    ports = probed_ports(yaml.safe_load(config(objects)))
    assert len(ports) >= 12
    assert ports >= {5432, 6379, 9092, 8443, 443, 8081, 8088}
    assert [port for port in sorted(ports | {443, 6443, PORT}) if not covers(probed["ports"], port)] == []


def test_names_and_namespaces_belong_together(objects: Objects) -> None:
    (account,) = of_kind(objects, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert pods(objects)[0]["serviceAccountName"] == account["metadata"]["name"]
    for (kind, name), item in objects.items():
        assert item["metadata"].get("namespace", "hafnium") == "hafnium", name
        assert ("namespace" in item["metadata"]) is (kind not in CLUSTER_WIDE), name
        assert item["metadata"]["labels"]["app.kubernetes.io/name"] == "hafnium-exporter", name
    for binding in of_kind(objects, "RoleBinding") + of_kind(objects, "ClusterRoleBinding"):
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in objects
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": "hafnium"}
        ]


def test_the_token_is_there_exactly_where_a_role_is(objects: Objects) -> None:
    assert pods(objects)[0]["automountServiceAccountToken"] is bool(of_kind(objects, "Role"))


def test_shards_and_replicas_are_one_number_and_peers_are_found(objects: Objects) -> None:
    document = yaml.safe_load(config(objects))
    (workload,) = of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet")
    replicas = workload["spec"]["replicas"]
    environment = {variable["name"]: variable.get("value") for variable in container(objects)["env"]}
    services = {service["metadata"]["name"]: service["spec"] for service in of_kind(objects, "Service")}
    sharing = document.get("sharing", {})
    if workload["kind"] == "StatefulSet":
        assert environment["SHARDS"] == str(replicas)
        assert sharing["shards"]["count"] == "${SHARDS}"
        assert services[workload["spec"]["serviceName"]]["clusterIP"] == "None"
    elif replicas > 1:
        peers = sharing["lease"]["peers"]["dns"].partition(".")[0]
        assert services[peers]["clusterIP"] == "None"
        assert services[peers]["publishNotReadyAddresses"] is True
    else:
        assert sharing == {}


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_no_pod_waits_for_another_to_go(objects: Objects, kind: str) -> None:
    for workload in of_kind(objects, kind):
        if kind == "Deployment":
            assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        else:
            assert workload["spec"]["podManagementPolicy"] == "Parallel"
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
