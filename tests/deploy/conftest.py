"""Every way in which deploy/ may be used."""

from __future__ import annotations

from textwrap import indent

import pytest

from tests.deploy.rendering import DEPLOY, Objects, chart, kustomized
from tests.fixtures.deployers import Deployers
from tests.leftovers import pytest_runtest_teardown  # noqa: F401 - a hook

ROOT = DEPLOY.parent
OWN = f"""\
configMapGenerator:
  - name: hafnium-exporter-config
    behavior: merge
    literals:
      - |-
        exporter.yml={indent((ROOT / "config" / "exporter.yml").read_text(), "        ").lstrip()}
"""
"""What an overlay has that brings a configuration of its own."""

WAYS = {
    "kustomize": (),
    "kustomize-nodes-certificates": ("nodes", "certificates"),
    "kustomize-leader": ("leader",),
    "kustomize-leader-nodes-certificates": ("leader", "nodes", "certificates"),
    "kustomize-shards": ("shards",),
    "kustomize-without-api": ("without-api",),
    "kustomize-without-operator": ("without-operator",),
    "helm": (),
    "helm-all": (
        "--set=mode=leader",
        "--set=replicas=3",
        "--set=kubernetes.nodes=true",
        "--set=kubernetes.certificates=true",
    ),
    "helm-shards": ("--set=mode=shards", "--set=replicas=3"),
    "helm-without-api": ("--set=kubernetes.enabled=false", f"--set-file=config={ROOT / 'config' / 'exporter.yml'}"),
    "helm-other-name": ("--set=name=other", "--set=mode=leader"),
}
"""Arguments of what renders them, by a name."""


@pytest.fixture(scope="session", params=WAYS)
def objects(request: pytest.FixtureRequest, deployers: Deployers, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """What one way renders."""
    name: str = request.param
    if name.startswith("helm"):
        return chart(deployers, *WAYS[name])
    return kustomized(
        deployers, tmp_path_factory.mktemp(name), *WAYS[name], more=OWN if name == "kustomize-without-api" else ""
    )
