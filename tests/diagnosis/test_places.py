"""The steps of every cause name what is configured or seen, and nothing else: in a cluster, beside one, and in none."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from exporter.config.document import parse_document
from exporter.config.loader import validate
from exporter.config.models import MemberSettings
from exporter.deployment.configuration import in_cluster
from exporter.diagnosis.causes import CAUSES
from exporter.diagnosis.cluster_words import named
from exporter.diagnosis.model import Diagnosis, Suspicion, Symptom
from exporter.diagnosis.places import kubectl_names, names_of
from exporter.engine.diagnosis_views import diagnosis_views, incident_view
from tests.diagnosis.snapshots import DOWN, facts, found, service

ROOT = Path(__file__).parents[2]
CLUSTER = {"kubeconfig": "/etc/kube/config", "context": "arn:aws:eks:eu:1:cluster/blue", "namespace": "shop"}
PODS = {"kubernetes": {"selector": "app=orders,tier in (backend,edge)", "port": 8080}}
SLICES = {"kubernetes": {"selector": "app=orders", "port": 8080, "source": "endpointslices"}}
DNS = {"dns": "orders.shop.svc.cluster.local", "port": 8080}
ACTUATOR: dict[str, Any] = {"actuator": {}}
SELECTOR = "'app=orders,tier in (backend,edge)'"
CONTEXT = "kubectl --context arn:aws:eks:eu:1:cluster/blue"

ASK = ("{ask}", "")
SEEN = {"workload": "deployment/orders", "autoscaler": "orders"}


def member(instances: Any, probes: dict[str, Any] = ACTUATOR, cluster: Mapping[str, Any] | None = None) -> MemberSettings:
    """Return a service as the loader makes it."""
    text: dict[str, Any] = {"services": {"orders": {"instances": instances, "probes": probes}}}
    if cluster is not None:
        text["kubernetes"] = dict(cluster)
    return validate(parse_document(json.dumps(text), "exporter.yml", {})).services["orders"]


PLACES: dict[str, tuple[MemberSettings, dict[str, str]]] = {
    "none": (member(["db:5432"]), {}),
    "a name of no cluster": (member({"dns": "orders.svc.example.com", "port": 1}), {}),
    "a cluster, but not for it": (member(["db:5432"], cluster=CLUSTER), {}),
    "pods": (
        member(PODS, cluster=CLUSTER),
        {"kubectl": CONTEXT, "namespace": "shop", "selector": SELECTOR},
    ),
    "a namespace of its own": (
        member({"kubernetes": {**PODS["kubernetes"], "namespace": "other"}}, cluster={"namespace": "shop"}),
        {"kubectl": "kubectl", "namespace": "other", "selector": SELECTOR},
    ),
    "EndpointSlices": (
        member(SLICES, cluster={"namespace": "shop"}),
        {"kubectl": "kubectl", "namespace": "shop", "slices": "app=orders"},
    ),
    "a probe": (
        member(PODS, {"actuator": {}, "kubernetes": {}}, CLUSTER),
        {"kubectl": CONTEXT, "namespace": "shop", "selector": SELECTOR},
    ),
    "a probe by workload": (
        member(["10.0.0.1:1"], {"actuator": {}, "kubernetes": {"workload": "orders"}}, {"namespace": "shop"}),
        {"kubectl": "kubectl", "namespace": "shop"},
    ),
    "a Service's name": (
        member(DNS),
        {
            "kubectl": "kubectl",
            "namespace": "shop",
            "slices": "kubernetes.io/service-name=orders",
            "balancer": "service/orders",
        },
    ),
    "a Service's address": (
        member(["orders.shop.svc:5432"]),
        {
            "kubectl": "kubectl",
            "namespace": "shop",
            "slices": "kubernetes.io/service-name=orders",
            "balancer": "service/orders",
        },
    ),
    "two Services": (member(["a.shop.svc:1", "b.shop.svc:1"]), {}),
    "a probe and a Service elsewhere": (
        member(DNS, {"actuator": {}, "kubernetes": {"selector": "a=b"}}, {"namespace": "other"}),
        {"kubectl": "kubectl", "namespace": "other", "selector": "a=b"},
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_kubectl_calls_a_service_is_what_is_configured(place: str) -> None:
    settings, names = PLACES[place]
    assert kubectl_names(settings) == names


@pytest.mark.parametrize("seen", [{}, SEEN], ids=["blind", "seen"])
@pytest.mark.parametrize("place", PLACES)
def test_no_step_names_what_is_not_there(place: str, seen: dict[str, str]) -> None:
    settings, names = PLACES[place]
    for cause in CAUSES.values():
        diagnosis = Diagnosis("orders", cause.symptoms[0], (Suspicion(cause),), names=seen if names else {})
        [view] = diagnosis_views("orders", [diagnosis], settings)
        steps = view.causes[0].steps
        left_out = sum(step == ASK for step in cause.steps) if settings.instances.kubernetes is not None else 0
        assert len(steps) == len(cause.steps) - left_out
        assert all(steps)
        for step in steps:
            assert not re.search(r"\{\w+\}|hafnium ", step)
            command = re.search(r"kubectl[^:]*(?::[^ ][^:]*)*", step)
            if command is not None:
                assert names, f"kubectl of what is in no cluster: {step}"
                check_command(shlex.split(command[0]), names, seen)


def check_command(words: list[str], names: dict[str, str], seen: dict[str, str]) -> None:
    """Hold what a command names against what is configured, and what the cluster was seen to have."""
    options = dict(pairwise(words))
    assert options.get("--context") == ("arn:aws:eks:eu:1:cluster/blue" if names["kubectl"] == CONTEXT else None)
    assert options.get("-n") == (None if "nodes" in words else names["namespace"])
    selectors = {shlex.split(names[kind])[0] for kind in ("selector", "slices") if kind in names}
    assert "-l" not in options or options["-l"] in selectors
    told = {word for word in words if "/" in word} - {options.get("--context"), options.get("-l")}
    assert told <= {names.get("balancer"), seen.get("workload")}


def test_a_dependency_that_nobody_runs_in_a_cluster_is_told_of_in_words() -> None:
    """`app=postgres-service` is in no cluster."""
    settings = member(["postgres:5432"], {"postgres": {"user": "monitor", "password": "marked-secret", "database": "shop"}})
    assert Suspicion(CAUSES["connect_refused"]).steps("postgres", names_of(settings)) == (
        "psql -h postgres -p 5432 -U monitor -d shop -c 'SELECT 1'",
        "Look whether its instances run, and since when",
        "Read the log of the process before",
    )


def test_what_is_shipped_is_told_by_the_names_of_the_runbook() -> None:
    text = (ROOT / "config/exporter.yml").read_text("utf-8")
    beside = validate(parse_document(text, "exporter.yml", {}))
    within = validate(parse_document(in_cluster(text), "exporter.yml", {}))
    for name, settings in beside.services.items():
        assert kubectl_names(settings)["namespace"] == "hafnium"
        assert kubectl_names(settings)["balancer"] == f"service/{name}-service"
        assert kubectl_names(within.services[name])["selector"] == f"app={name}-service,tier=backend"
    assert not any(map(kubectl_names, beside.dependencies.values()))
    assert "kubectl get pods -n hafnium -l app=identity-service\n" in (ROOT / "docs/runbook.md").read_text("utf-8")


def test_an_incident_is_told_by_the_names_of_its_root() -> None:
    settings, _ = PLACES["pods"]
    why = Diagnosis("orders", Symptom.DOWN, (Suspicion(CAUSES["connect_refused"]),))
    told = incident_view("orders", ["orders"], {}, {"orders": (why,)}, {"orders": settings})
    assert told.causes[0].steps[0] == f"{CONTEXT} get pods -n shop -l {SELECTOR}"


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({}, {}),
        ({"replicas": {("orders", "desired"): 2}, "stuck": {"orders": 0}}, {"workload": "deployment/orders"}),
        ({"replicas": {("orders", "desired"): 2}}, {"workload": "statefulset/orders"}),
        ({"replicas": {("a", "desired"): 2, ("b", "desired"): 2}, "stuck": {"a": 0, "b": 0}}, {}),
        ({"replicas": {("a", "desired"): 2, ("b", "desired"): 2}, "stuck": {"a": 0, "b": 1}}, {"workload": "deployment/b"}),
        ({"replicas": {("$(reboot)", "desired"): 2}}, {}),
        ({"autoscaler": {("orders", "max"): 4, ("orders", "min"): 1}}, {"autoscaler": "orders"}),
        ({"autoscaler": {("a", "max"): 4, ("b", "max"): 1}, "at_limit": {"b": 1, "a": 0}}, {"autoscaler": "b"}),
    ],
)
def test_workload_and_autoscaler_are_called_what_the_cluster_calls_them(
    seen: dict[str, Any], expected: dict[str, str]
) -> None:
    down = service("orders", DOWN, facts=facts(ready=0, **seen))
    assert named(down) == expected
    assert found(down)["orders"][0].names == expected
