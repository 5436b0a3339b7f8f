"""docs/kubernetes.md: what it tells people to write works, and every series it names exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from exporter import __version__
from tests.deploy.rendering import COMPONENTS, DEPLOY, kustomized, of_kind, pods
from tests.deploy.rendering import Objects as Rendered
from tests.fixtures.deployers import Deployers

ROOT = DEPLOY.parent
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
REFERENCE = (ROOT / "docs" / "metrics.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
OVERLAYS = [block for block in BLOCKS if block.startswith("# overlay/kustomization.yaml")]
SERIES = sorted(set(re.findall(r"`(probe_[a-z_]+)`", PAGE)))
RUNBOOK_VERBS = ("get pods", "get endpoints", "describe pod", "logs", "get hpa", "scale", "patch hpa", "rollout restart",
                 "rollout status", "rollout history", "rollout undo", "top pods", "get events", "describe hpa",
                 "describe replicaset", "describe resourcequota", "get nodes", "describe nodes", "get secret", "get lease",
                 "get statefulset")  # fmt: skip


@pytest.mark.parametrize("number", range(len(OVERLAYS)))
def test_an_overlay_of_the_page_is_one(deployers: Deployers, tmp_path: Path, number: int) -> None:
    (tmp_path / "deploy").symlink_to(DEPLOY)
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(OVERLAYS[number])
    (overlay / "exporter.yml").write_text("services: {}\n")
    done = subprocess.run(
        [str(deployers.kustomize), "build", str(overlay)], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    objects: Rendered = {(item["kind"], item["metadata"]["name"]): item for item in yaml.safe_load_all(done.stdout)}
    (container,) = pods(objects)[0]["containers"]
    if "StatefulSet" in OVERLAYS[number]:
        (workload,) = of_kind(objects, "StatefulSet")
        assert workload["spec"]["replicas"] == 3
        assert {"name": "SHARDS", "value": "3"} in container["env"]
    else:
        assert container["image"] == f"registry.example/hafnium-exporter:{__version__}"
        assert [config["data"] for config in of_kind(objects, "ConfigMap") if "exporter.yml" in config["data"]] == [
            {"exporter.yml": "services: {}\n"}
        ]


def test_an_image_can_be_named_by_digest(deployers: Deployers, tmp_path: Path) -> None:
    digest = f"sha256:{'0' * 64}"
    more = f"images: [{{name: hafnium-exporter, newName: registry.example/hafnium-exporter, digest: '{digest}'}}]\n"
    for components in ((), ("shards",)):
        (container,) = pods(kustomized(deployers, tmp_path, *components, more=more))[0]["containers"]
        assert container["image"] == f"registry.example/hafnium-exporter@{digest}"


def test_the_page_has_the_overlays_that_are_tested() -> None:
    assert len(OVERLAYS) == 2
    assert all(f"| `{component}` |" in PAGE for component in COMPONENTS)


def test_the_patch_of_the_page_names_the_secrets(deployers: Deployers, tmp_path: Path) -> None:
    (patch,) = [block for block in BLOCKS if block.startswith("# patches of an overlay")]
    objects = kustomized(deployers, tmp_path, "certificates", more=f"patches:\n{patch}")
    assert objects["Role", "hafnium-exporter-certificates"]["rules"][0]["resourceNames"] == ["api-tls"]


def test_every_series_of_the_page_is_exported() -> None:
    assert len(SERIES) > 20
    assert [name for name in SERIES if f"| `{name}` |" not in REFERENCE] == []


@pytest.mark.parametrize("verb", RUNBOOK_VERBS)
def test_the_runbook_s_commands_have_their_line(verb: str) -> None:
    assert f"kubectl {verb}" in (ROOT / "docs" / "runbook.md").read_text()
    assert f"| `kubectl {verb} " in PAGE


def test_no_command_of_the_runbook_is_left_out() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    used = set(re.findall(r"kubectl ((?:get|describe|rollout|top|patch) [a-z]+|logs|scale)\b", runbook))
    others = {"get certificates", "describe certificate"}  # cert-manager's, and answered by what is served
    assert {verb for verb in used - others if not any(known.startswith(verb) for known in RUNBOOK_VERBS)} == set()
