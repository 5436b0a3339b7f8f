"""The `kubernetes` probe: how a service is by the words of its cluster, read from a view that all services share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from exporter.clients.kubernetes.access import ClusterAccess
from exporter.clients.kubernetes.answers import ApiFailure, blind
from exporter.clients.kubernetes.cluster import Cluster, Kind, Use
from exporter.clients.kubernetes.objects.pods import Pod
from exporter.clients.kubernetes.objects.reading import Malformed, items
from exporter.clients.kubernetes.objects.selector import Selector
from exporter.clients.kubernetes.objects.uses import PodUse
from exporter.probing.attempt import Attempt
from exporter.probing.cadence import Every
from exporter.probing.probe import Probe, ProbeSettings, Scope, SharedClients, Target
from exporter.verdict import Failure, Reason, Stage
from exporter.workloads import recording
from exporter.workloads.families import FAMILIES, RESTARTS
from exporter.workloads.judging import judge
from exporter.workloads.restarts import Restarts
from exporter.workloads.scope import Scaled
from exporter.workloads.scope import Scope as ServiceScope

__all__ = ["PROBE", "KubernetesProbe", "KubernetesSettings"]

_PATIENCE = 0.5
"""Share of the time left that the first lists of all kinds may take together."""

_NO_METRICS = (404, 503)
"""Statuses of an API server that has no metrics.k8s.io, or nobody who serves it."""

_ASK_AGAIN = 20
"""Attempts until a cluster without metrics.k8s.io is asked for it again."""

Part = Literal["workloads", "endpoints", "autoscalers", "quotas", "budgets", "nodes", "use"]

_KINDS: dict[Part, tuple[Kind, ...]] = {
    "workloads": (Kind.DEPLOYMENTS, Kind.STATEFUL_SETS),
    "endpoints": (Kind.ENDPOINT_SLICES,),
    "autoscalers": (Kind.AUTOSCALERS,),
    "quotas": (Kind.QUOTAS,),
    "budgets": (Kind.DISRUPTION_BUDGETS,),
    "nodes": (Kind.NODES,),
    "use": (),
}


def _check_selector(written: str) -> str:
    Selector.parse(written)
    return written


class KubernetesSettings(ProbeSettings):
    """Which cluster and namespace, and what of it is the service."""

    kubeconfig: Path | None = Field(
        None, description="Kubeconfig file; default: that of the section kubernetes, else the pod's own service account."
    )
    context: str | None = Field(None, min_length=1, max_length=500, description="Context in the kubeconfig.")
    namespace: str = Field("default", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", description="Namespace.")
    workload: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$",
        description="Name of the Deployment or StatefulSet; default: what makes the pods that the selector selects; without "
        "one, the service's name with -service.",
    )
    selector: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_check_selector)] | None = Field(
        None, description="Label selector of the pods, such as app=identity-service; default: the workload's pods."
    )
    skip: tuple[Part, ...] = Field(
        (), max_length=len(_KINDS), description="Parts that are not read, and need no rights: " + ", ".join(_KINDS) + "."
    )


class KubernetesProbe(Probe[KubernetesSettings]):
    """Reads the service's pods from the watched view of the cluster, which decides; then what stands around them."""

    kind = "kubernetes"
    settings_type = KubernetesSettings
    scope = Scope.SERVICE
    vital = False
    needs_instances = False
    phases = (Stage.QUERY,)
    metrics = FAMILIES

    def __init__(self, target: Target, settings: KubernetesSettings, shared: SharedClients) -> None:
        super().__init__(target, settings, shared)
        selector = Selector.parse(settings.selector) if settings.selector is not None else None
        workload = settings.workload
        if workload is None and selector is None:
            workload = f"{target.service}-service"
        access = ClusterAccess(kubeconfig=settings.kubeconfig, context=settings.context)
        self._cluster: Cluster = shared.clusters.of(access, settings.namespace)
        self._service = ServiceScope(self._cluster, workload, selector)
        self._parts = tuple(part for part in _KINDS if part not in settings.skip)
        self._kinds = (Kind.PODS, *(kind for part in self._parts for kind in _KINDS[part]))
        self._use: Use | None = None
        self._restarts = Restarts()
        self._without_use = Every(_ASK_AGAIN)

    async def check(self, attempt: Attempt) -> None:
        """Judge by the pods as they are known now, and record all that is known."""
        if self._use is None:
            self._use = self._cluster.use(*self._kinds)
            self._service.begin()
        with attempt.phase(Stage.QUERY):
            await self._first_lists(attempt.remaining * _PATIENCE)
        self._require(Kind.PODS)
        pods = self._service.pods()
        recording.record_pods(attempt, pods)
        for container, count in self._restarts.take(pods).items():
            attempt.record(RESTARTS, count, container)
        workloads = await self._workloads(attempt)
        await self._around(attempt, pods, workloads)
        failure = judge(pods, workloads)
        if failure is not None:
            raise failure

    def retarget(self, target: Target) -> bool:
        """Take in that there are other instances: nothing is connected to."""
        self.target = target
        return True

    async def close(self) -> None:
        """Let go of the view: what nobody else uses is watched no more."""
        if self._use is not None:
            self._service.end()
            self._use.close()
            self._use = None

    async def _workloads(self, attempt: Attempt) -> list[Scaled]:
        found: list[Scaled] = []
        if "workloads" in self._parts:
            async with attempt.part("workloads") as part:
                part.stage = Stage.QUERY
                found = self._service.workloads()
                recording.record_workloads(part, found)
                self._require(*_KINDS["workloads"])
        return found

    async def _around(self, attempt: Attempt, pods: list[Pod], workloads: list[Scaled]) -> None:
        """Record what decides nothing. What one part may not see takes nothing from the others."""
        service, owners = self._service, self._service.owners(pods, workloads)
        recording.record_oom_kills(attempt, self._cluster.oom_kills, owners, pods)
        steps: dict[Part, Callable[[Attempt], None]] = {
            "endpoints": lambda part: recording.record_endpoints(part, service.endpoints(pods)),
            "autoscalers": lambda part: recording.record_autoscalers(part, service.autoscalers(owners)),
            "quotas": lambda part: recording.record_quotas(part, self._cluster.objects(Kind.QUOTAS).values()),
            "budgets": lambda part: recording.record_budgets(part, service.budgets(pods, workloads)),
            "nodes": lambda part: recording.record_nodes(part, service.nodes(pods)),
        }
        for name, step in steps.items():
            if name in self._parts:
                async with attempt.part(name) as part:
                    part.stage = Stage.QUERY
                    self._require(*_KINDS[name])
                    step(part)
        if "use" in self._parts:
            async with attempt.part("use") as part:
                part.stage = Stage.QUERY
                await self._record_use(part, pods)

    async def _record_use(self, part: Attempt, pods: list[Pod]) -> None:
        """Ask metrics.k8s.io, which cannot be watched, where there is one."""
        if not self._without_use.due:
            self._without_use.passed()
            return
        params = {"labelSelector": self.settings.selector} if self.settings.selector is not None else {}
        try:
            answer = await self._cluster.api.get(
                f"/apis/metrics.k8s.io/v1beta1/namespaces/{self._cluster.namespace}/pods", params
            )
        except Failure as failure:
            if not isinstance(failure, ApiFailure) or failure.status not in _NO_METRICS:
                raise
            self._without_use.done()
            return
        recording.record_use(part, _uses(items(answer, "items")), pods)

    async def _first_lists(self, seconds: float) -> None:
        """Wait until every kind was listed once or could not be, at most so long."""
        if not self._unlisted():
            return
        changed = asyncio.Event()
        ends = [self._cluster.subscribe(kind, changed.set, objects=False) for kind in self._kinds]
        try:
            async with asyncio.timeout(seconds):
                while self._unlisted():
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            pass  # those that are there are read; the others say so themselves
        finally:
            for end in ends:
                end()

    def _unlisted(self) -> bool:
        failures = map(self._cluster.failure, self._kinds)
        return any(failure is not None and failure.reason is Reason.NOT_YET_PROBED for failure in failures)

    def _require(self, *kinds: Kind) -> None:
        """Refuse to say anything of kinds that are not known as they are now.

        Raises:
            Failure: Why they are not.
        """
        for kind in kinds:
            failure = self._cluster.failure(kind)
            if failure is not None:
                raise blind(failure)


def _uses(found: Iterable[object]) -> Iterable[PodUse]:
    for raw in found:
        try:
            yield PodUse.of(raw if isinstance(raw, dict) else {})
        except Malformed:
            continue


PROBE = KubernetesProbe
