"""The chart: the same objects as the Kustomize base, and values that are refused with a clear message."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.deploy.rendering import CHART, Objects, RenderError, chart, kustomized, of_kind, pods
from tests.fixtures.deployers import Deployers

OWN_LABELS = {"app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"}
"""What Helm's charts have on their objects, and Kustomize's have not."""


def in_substance(objects: Objects) -> dict[tuple[str, str], dict[str, Any]]:
    """Return objects without what only says who made them: such labels, digests of the configuration."""
    made = {}
    hashed = {name: re.sub(r"-[a-z0-9]{10}$", "", name) for kind, name in objects if kind == "ConfigMap"}
    text = json.dumps([copy.deepcopy(item) for item in objects.values()])
    for name, plain in hashed.items():
        text = text.replace(f'"{name}"', f'"{plain}"')
    for item in json.loads(text):
        metadata = item["metadata"]
        metadata["labels"] = {key: value for key, value in metadata["labels"].items() if key not in OWN_LABELS}
        template = item["spec"].get("template", {}) if item["kind"] in ("Deployment", "StatefulSet") else {}
        template.get("metadata", {}).pop("annotations", None)
        if item["kind"].startswith("ClusterRole"):  # in no namespace, so the chart has the release's in their names
            metadata["name"] = metadata["name"].replace("hafnium-hafnium", "hafnium")
            item["roleRef"] = {**item.get("roleRef", {}), "name": metadata["name"]}
        made[item["kind"], metadata["name"]] = item
    return made


@pytest.mark.parametrize(
    ("components", "values"),
    [
        ((), ()),
        (("nodes", "certificates"), ("--set=kubernetes.nodes=true", "--set=kubernetes.certificates=true")),
        (("shards",), ("--set=mode=shards",)),
        (("leader",), ("--set=mode=leader",)),
        (("without-operator",), ("--set=serviceMonitor.enabled=false", "--set=prometheusRule.enabled=false")),
    ],
    ids=lambda value: "+".join(value) or "base",
)
def test_it_is_what_kustomize_makes(
    deployers: Deployers, tmp_path: Path, components: tuple[str, ...], values: tuple[str, ...]
) -> None:
    theirs = in_substance(kustomized(deployers, tmp_path, *components))
    ours = in_substance(chart(deployers, *values))
    assert ours.keys() == theirs.keys()
    for key, item in theirs.items():
        assert _with_config_read(ours[key]) == _with_config_read(item), key


def _with_config_read(item: dict[str, Any]) -> dict[str, Any]:
    """Replace the text of the configuration by what it says: the name of the Lease is the default's in the one."""
    if item["kind"] == "ConfigMap" and "exporter.yml" in item["data"]:
        read = yaml.safe_load(item["data"]["exporter.yml"])
        read["defaults"]["probes"].pop("kubernetes", None)  # the chart leaves `skip: [nodes]` out where nodes may be read
        read.get("sharing", {}).get("lease", {}).setdefault("name", "hafnium-exporter")
        return {**item, "data": read}
    return item


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set=mode=both"], "/mode"),
        (["--set=replicas=0"], "/replicas"),
        (["--set=replicas=two"], "/replicas"),
        (["--set=replica=2"], "'replica'"),
        (["--set=image.tag=a b"], "/image/tag"),
        (["--set=image.digest=latest"], "/image/digest"),
        (["--set=image.repository=example.org/exporter:1"], "/image/repository"),
        (["--set=terminationGracePeriodSeconds=5"], "/terminationGracePeriodSeconds"),
        (["--set=kubernetes.enabled=maybe"], "/kubernetes/enabled"),
        (["--set=resources.limits.memory=much"], "/resources/limits/memory"),
        (["--set=serviceMonitor.interval=15"], "/serviceMonitor/interval"),
        (["--set=networkPolicy.ports[0].port=70000"], "/networkPolicy/ports/0/port"),
        (["--set-json=networkPolicy.from=[]"], "/networkPolicy/from"),
        (["--set=logLevel=loud"], "/logLevel"),
        (["--set=name=Upper"], "/name"),
        (["--set=kubernetes.enabled=false"], "bring one without, as config"),
        (
            ["--set=kubernetes.certificateSecrets={Api}", "--set=kubernetes.certificates=true"],
            "/kubernetes/certificateSecrets/0",
        ),
        (["--set=kubernetes.certificateSecrets={api-tls}"], "kubernetes.certificates is false"),
        (["--set=mode=leader", "--set=config=sharing: {}"], "the chart writes it, as mode and replicas say"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_values_are_refused_and_named(deployers: Deployers, arguments: list[str], said: str) -> None:
    with pytest.raises(RenderError) as told:
        chart(deployers, *arguments)
    assert said in str(told.value)


def test_the_schema_knows_every_value_and_is_one() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    Draft7Validator.check_schema(schema)
    Draft7Validator(schema).validate(values)
    assert _paths(values, schema) == []


def _paths(values: dict[str, Any], schema: dict[str, Any], at: str = "") -> list[str]:
    """Return values that the schema does not name, and properties that have no default."""
    known = schema["properties"]
    wrong = [f"{at}{name}" for name in values.keys() ^ known.keys() if name != "global"]
    for name in values.keys() & known.keys():
        if isinstance(values[name], dict) and "properties" in known[name]:
            wrong += _paths(values[name], known[name], f"{at}{name}.")
    return [path for path in wrong if not path.startswith("resources.")]


def test_two_releases_share_no_name(deployers: Deployers) -> None:
    values = ("--set=mode=leader", "--set=kubernetes.nodes=true")
    one, other = (set(chart(deployers, *values, release=name)) for name in ("one", "other"))
    assert not one & other
    elsewhere = set(chart(deployers, *values, release="one", namespace="elsewhere"))
    cluster_wide = {key for key in one & elsewhere if key[0].startswith("Cluster")}
    assert not cluster_wide


def test_a_lease_is_named_as_the_role_grants(deployers: Deployers) -> None:
    objects = chart(deployers, "--set=mode=leader", "--set=name=other")
    rules = objects["Role", "other-leader"]["rules"]
    lease = yaml.safe_load(objects["ConfigMap", "other-config"]["data"]["exporter.yml"])["sharing"]["lease"]
    assert [rule.get("resourceNames") for rule in rules] == [None, [lease["name"]]]
    assert lease["peers"]["dns"].startswith("other-peers.")


@pytest.mark.parametrize("nodes", [True, False])
def test_nodes_are_read_exactly_where_they_may_be(deployers: Deployers, nodes: bool) -> None:
    objects = chart(deployers, f"--set=kubernetes.nodes={str(nodes).lower()}")
    read = yaml.safe_load(objects["ConfigMap", "hafnium-exporter-config"]["data"]["exporter.yml"])
    assert bool(of_kind(objects, "ClusterRole")) is nodes
    assert read["defaults"]["probes"].get("kubernetes") == (None if nodes else {"skip": ["nodes"]})


def test_values_arrive(deployers: Deployers, tmp_path: Path) -> None:
    digest = f"sha256:{'0' * 64}"
    (tmp_path / "own.yml").write_text("services: {}\n# mine\n")
    objects = chart(
        deployers, f"--set=image.digest={digest}", "--set=image.repository=example.org:5000/exporter",
        "--set=logLevel=debug", f"--set-file=config={tmp_path / 'own.yml'}", "--set=mode=shards", "--set=replicas=5",
        "--set=podLabels.colour=green", "--set=kubernetes.enabled=false", "--set=dashboards.enabled=false",
        "--set=networkPolicy.enabled=false", "--set=podDisruptionBudget.enabled=false",
    )  # fmt: skip
    (pod,) = pods(objects)
    (container,) = pod["containers"]
    assert container["image"] == f"example.org:5000/exporter@{digest}"
    assert container["args"][-2:] == ["--log-level", "debug"]
    own = objects["ConfigMap", "hafnium-exporter-config"]["data"]["exporter.yml"]
    assert own.startswith("services: {}\n# mine\n")
    assert yaml.safe_load(own)["sharing"] == {"shards": {"count": "${SHARDS}"}}
    assert not of_kind(objects, "NetworkPolicy") + of_kind(objects, "PodDisruptionBudget") + of_kind(objects, "Role")
    assert ("ConfigMap", "hafnium-exporter-dashboards") not in objects
    (workload,) = of_kind(objects, "StatefulSet")
    assert workload["spec"]["template"]["metadata"]["labels"]["colour"] == "green"


def test_another_configuration_starts_other_pods(deployers: Deployers) -> None:
    def mark(*arguments: str) -> str:
        (workload,) = of_kind(chart(deployers, *arguments), "Deployment")
        return str(workload["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert mark() == mark()
    assert mark() != mark("--set=config=services: {}")
