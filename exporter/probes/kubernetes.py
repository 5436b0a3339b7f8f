"""The `kubernetes` probe: its place in the configuration. Its discovery and its check are not built yet."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, Scope
from exporter.verdict import Failure, Reason, Stage

__all__ = ["PROBE", "KubernetesProbe", "KubernetesSettings"]


class KubernetesSettings(ProbeSettings):
    """Where the cluster is and which workloads belong to the fleet."""

    namespace: str = Field("default", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", description="Namespace.")
    selector: str = Field("", max_length=500, description="Label selector of the workloads, such as tier=backend.")
    kubeconfig: Path | None = Field(None, description="Kubeconfig file; default: the pod's own service account.")


class KubernetesProbe(Probe[KubernetesSettings]):
    """Accepted in the configuration; makes no target until it is built."""

    kind = "kubernetes"
    settings_type = KubernetesSettings
    scope = Scope.SERVICE
    vital = False
    planned = "Kubernetes state is not probed yet; the section is checked and otherwise ignored"

    async def check(self, attempt: Attempt) -> None:
        """Refuse to pretend: nothing creates a target of this kind."""
        raise Failure(Stage.INTERNAL, Reason.INTERNAL, "the kubernetes probe is not built yet")


PROBE = KubernetesProbe
