"""What is shipped in deploy/, rendered by the tools that people have."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.fixtures.deployers import Deployers

__all__ = [
    "CHART",
    "CLUSTER_WIDE",
    "COMPONENTS",
    "DEPLOY",
    "Objects",
    "RenderError",
    "chart",
    "kustomized",
    "of_kind",
    "pods",
]

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "hafnium-exporter"
COMPONENTS = ("nodes", "certificates", "leader", "shards", "without-api", "without-operator")
"""Components that people name; `peers` is part of two of them."""
CLUSTER_WIDE = frozenset({"ClusterRole", "ClusterRoleBinding"})

Objects = dict[tuple[str, str], dict[str, Any]]
"""Rendered objects by kind and name."""


class RenderError(Exception):
    """The tool refuses; the text is what it said."""


def kustomized(deployers: Deployers, folder: Path, *components: str, more: str = "") -> Objects:
    """Render the base with components, as an overlay in a folder of its own does."""
    shutil.copytree(DEPLOY / "kustomize", folder / "kustomize", dirs_exist_ok=True)
    overlay = folder / "overlay"
    overlay.mkdir(exist_ok=True)
    lines = [
        "resources: [../kustomize/base]",
        f"components: [{', '.join(f'../kustomize/components/{c}' for c in components)}]",
    ]
    (overlay / "kustomization.yaml").write_text("\n".join(lines) + f"\n{more}")
    return _objects(_run([str(deployers.kustomize), "build", str(overlay)]))


def chart(deployers: Deployers, *arguments: str, release: str = "hafnium-exporter", namespace: str = "hafnium") -> Objects:
    """Render the chart."""
    command = [str(deployers.helm), "template", release, str(CHART), "--namespace", namespace, *arguments]
    return _objects(_run(command))


def of_kind(objects: Objects, kind: str) -> list[dict[str, Any]]:
    """Return the objects of a kind."""
    return [item for (found, _), item in objects.items() if found == kind]


def pods(objects: Objects) -> list[dict[str, Any]]:
    """Return the specifications of pods in the workloads."""
    workloads = of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet")
    return [item["spec"]["template"]["spec"] for item in workloads]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode != 0:
        raise RenderError(done.stderr)
    return done.stdout


def _objects(text: str) -> Objects:
    found: Iterable[Mapping[str, Any] | None] = yaml.safe_load_all(text)
    made: Objects = {}
    for item in found:
        if item:
            key = item["kind"], item["metadata"]["name"]
            assert key not in made, f"{key} is there twice"
            made[key] = dict(item)
    return made
