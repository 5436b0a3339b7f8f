"""Everything below deploy/ that is made from code, as files; the rest of deploy/ is written by hand."""

from __future__ import annotations

import json
from typing import Any

from exporter import __version__
from exporter.alerts import build as alerts
from exporter.alerts import kubernetes
from exporter.alerts.model import Options
from exporter.alerts.text import commented, dump
from exporter.clients.kubernetes.permissions import Purpose
from exporter.dashboards import build as dashboards
from exporter.deployment.configuration import Mode, in_cluster, sharing
from exporter.deployment.roles import NAME, role, rules

__all__ = ["render"]

_MADE = "Made from the code by `make generate`: change it there."
_COMPONENTS = "kustomize/components"
_CHART = "helm/hafnium-exporter"


def render(config: str) -> dict[str, str]:
    """Return every file by its path below deploy/.

    Args:
        config: The text of config/exporter.yml.
    """
    text = in_cluster(config)
    made = {
        "kustomize/base/role.yaml": _objects(role(Purpose.STATE), _binding(Purpose.STATE)),
        f"{_COMPONENTS}/nodes/role.yaml": _objects(role(Purpose.NODES), _binding(Purpose.NODES)),
        f"{_COMPONENTS}/certificates/role.yaml": _objects(role(Purpose.CERTIFICATES), _binding(Purpose.CERTIFICATES)),
        f"{_COMPONENTS}/leader/role.yaml": _objects(role(Purpose.LEADER), _binding(Purpose.LEADER)),
        "kustomize/base/exporter.yml": text,
        "kustomize/base/prometheusrule.yaml": alerts.render()["kubernetes/prometheusrule.yaml"],
        f"{_CHART}/files/exporter.yml": text,
        f"{_CHART}/files/rules.yaml": commented(_MADE) + dump(kubernetes.prometheus_rule(Options())["spec"]),
        f"{_CHART}/files/permissions.yaml": commented(_MADE) + dump({purpose.value: rules(purpose) for purpose in Purpose}),
        f"{_CHART}/Chart.yaml": _chart(),
    }
    for mode in (Mode.LEADER, Mode.SHARDS):
        made[f"{_COMPONENTS}/{mode}/exporter.yml"] = text + sharing(mode)
    for name, board in dashboards.render().items():
        # Without the spaces: an object of 256 KiB is too large for `kubectl apply`.
        compact = json.dumps(json.loads(board), separators=(",", ":"), ensure_ascii=False) + "\n"
        made |= {f"kustomize/base/{name}": compact, f"{_CHART}/files/dashboards/{name}": compact}
    return made


def _objects(*objects: dict[str, Any]) -> str:
    return commented(_MADE) + "---\n".join(dump(each) for each in objects)


def _binding(purpose: Purpose) -> dict[str, Any]:
    granted = role(purpose)
    return {
        "apiVersion": granted["apiVersion"],
        "kind": f"{granted['kind']}Binding",
        "metadata": granted["metadata"],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": granted["kind"], "name": granted["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": "hafnium"}],
    }


def _chart() -> str:
    return commented(_MADE) + dump(
        {
            "apiVersion": "v2",
            "name": NAME,
            "description": "Health-probe exporter for a Spring Boot fleet and what it depends on",
            "type": "application",
            "version": __version__,
            "appVersion": __version__,
            "kubeVersion": ">=1.27.0-0",
        }
    )
