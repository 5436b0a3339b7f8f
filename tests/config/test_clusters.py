"""The section `kubernetes`: what is asked of a cluster has it whole, and says where a mistake was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter.config.document import parse_document
from exporter.config.errors import ConfigError
from exporter.config.kubernetes import KubernetesInstances
from exporter.config.loader import validate
from exporter.config.models import Config
from exporter.probes.tls import TlsProbeSettings

ONE = "services: {identity: {instances: {kubernetes: {selector: app=identity, port: 8081%s}}, %s probes: {actuator: {}%s}}}"


def parse(section: str, instances: str = "", member: str = "", probes: str = "") -> Config:
    return validate(parse_document(f"{section}\n{ONE % (instances, member, probes)}", "exporter.yml", {}))


def instances(config: Config) -> KubernetesInstances:
    found = config.services["identity"].instances.kubernetes
    assert found is not None
    return found


def probe(config: Config) -> Any:
    return config.services["identity"].probe_settings["kubernetes"]


def test_the_section_is_put_where_nothing_is_said() -> None:
    config = parse("kubernetes: {kubeconfig: /a, context: x, namespace: hafnium}", probes=", kubernetes: {}")
    for found in (instances(config), probe(config)):
        assert (found.kubeconfig, found.context, found.namespace) == (Path("/a"), "x", "hafnium")


def test_what_is_said_wins_and_another_kubeconfig_has_no_context_of_the_section() -> None:
    config = parse("kubernetes: {kubeconfig: /a, context: x, namespace: hafnium}", ", kubeconfig: /b, namespace: other")
    found = instances(config)
    assert (found.kubeconfig, found.context, found.namespace) == (Path("/b"), None, "other")


def test_the_probe_selects_what_the_instances_are() -> None:
    assert probe(parse("kubernetes:", probes=", kubernetes: {}")).selector == "app=identity"
    assert probe(parse("kubernetes:", probes=", kubernetes: {selector: a=b}")).selector == "a=b"


@pytest.mark.parametrize("section", ["kubernetes:", "kubernetes: {}"])
def test_an_empty_section_is_the_cluster_that_this_runs_in(section: str) -> None:
    found = instances(parse(section))
    assert (found.kubeconfig, found.context, found.namespace) == (None, None, "default")


def test_the_namespace_is_that_of_the_context(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(
        "current-context: a\n"
        "contexts: [{name: a, context: {namespace: of-a}}, {name: b, context: {namespace: of-b}}, {name: c, context: {}}]\n"
    )
    assert instances(parse(f"kubernetes: {{kubeconfig: {file}}}")).namespace == "of-a"
    assert instances(parse(f"kubernetes: {{kubeconfig: {file}, context: b}}")).namespace == "of-b"
    assert instances(parse(f"kubernetes: {{kubeconfig: {file}, context: c}}")).namespace == "default"
    file.write_text("[" * 10_000)
    assert instances(parse(f"kubernetes: {{kubeconfig: {file}}}")).namespace == "of-a"  # as it was read last
    assert instances(parse(f"kubernetes: {{kubeconfig: {file}, context: d}}")).namespace == "default"


def test_equal_files_make_equal_settings() -> None:
    assert parse("kubernetes: {namespace: hafnium}") == parse("kubernetes: {namespace: hafnium}")


def test_workloads_are_asked_where_the_floor_needs_them() -> None:
    assert not instances(parse("kubernetes:", member="min_ready: 2,")).desired
    assert instances(parse("kubernetes:", member="min_ready: desired,")).desired
    assert instances(parse("kubernetes:", member="min_ready: 50%,")).desired
    assert not instances(parse("kubernetes:", ", desired: false", member="min_ready: 50%,")).desired


def test_a_mistake_in_the_section_is_told_once_and_there() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("kubernetes: {namespace: A, context: 5}", probes=", kubernetes: {}")
    assert [problem.key for problem in caught.value.problems] == ["kubernetes.namespace", "kubernetes.context"]
    assert {problem.line for problem in caught.value.problems} == {1}


def test_the_secret_of_a_tls_probe_is_in_the_same_cluster() -> None:
    config = parse("kubernetes: {kubeconfig: /a, namespace: hafnium}", probes=", tls: {secret: api-tls}")
    tls = config.services["identity"].probe_settings["tls"]
    assert isinstance(tls, TlsProbeSettings)
    assert tls.secret is not None
    assert (tls.secret.name, tls.secret.namespace, tls.secret.kubeconfig) == ("api-tls", "hafnium", Path("/a"))
