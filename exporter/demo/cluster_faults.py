"""What may go wrong with the services on Kubernetes, as acts of faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from exporter.demo.cluster import NAMESPACE, SCALED, DemoCluster, workload_of
from exporter.demo.controlplane.kubelets import NODES
from exporter.demo.fleet import Fleet
from exporter.demo.processes import ServerError

__all__ = [
    "api_server", "certificate_renewed", "crash_loop", "hpa_limit", "image_pull", "node_pressure", "oom_kill",
    "pod_crash_loop", "rollout_stuck", "zero_pods",
]  # fmt: skip

Act = Callable[[Fleet, str], Awaitable[None]]
_LAST_WORDS = "Failed to configure a DataSource: 'url' is not specified"
_Do = Callable[[DemoCluster, str], Awaitable[None]]


def _acts(begin: _Do, end: _Do) -> tuple[Act, Act]:
    def act(do: _Do) -> Act:
        async def run(fleet: Fleet, service: str) -> None:
            await do(_cluster(fleet), service)

        return run

    return act(begin), act(end)


def _cluster(fleet: Fleet) -> DemoCluster:
    if fleet.cluster is None:
        raise ServerError("this fault is one of Kubernetes: run the demo with --kubernetes")
    return fleet.cluster


async def _reset(cluster: DemoCluster, service: str) -> None:
    await cluster.reset(service)


async def _nothing(_: DemoCluster, __: str) -> None:
    pass


async def _play(cluster: DemoCluster, service: str, **settings: str | float) -> None:
    for pod in await cluster.pods(service):
        await cluster.play(pod, **settings)


async def _crash(cluster: DemoCluster, service: str) -> None:
    await _play(cluster, service, state="crash-loop", message=_LAST_WORDS)


async def _crash_one(cluster: DemoCluster, service: str) -> None:
    await cluster.play((await cluster.pods(service))[0], state="crash-loop", message=_LAST_WORDS)


async def _kill(cluster: DemoCluster, service: str) -> None:
    await cluster.plane.kubelets.oom_kill(NAMESPACE, (await cluster.pods(service))[0])


async def _pull(cluster: DemoCluster, service: str) -> None:
    await cluster.roll_out(service, "1.0.1-typo", state="image-pull")


async def _stick(cluster: DemoCluster, service: str) -> None:
    await cluster.roll_out(service, "1.1.0", state="not-ready")


async def _load(cluster: DemoCluster, _: str) -> None:
    await _play(cluster, SCALED, cpu="900m")


async def _unload(cluster: DemoCluster, _: str) -> None:
    await _play(cluster, SCALED, cpu="50m")


async def _scale_to_zero(cluster: DemoCluster, service: str) -> None:
    await cluster.plane.kubelets.scale(NAMESPACE, workload_of(service), 0)


async def _kill_api_server(cluster: DemoCluster, _: str) -> None:
    await cluster.plane.stop_api_server(kill=True)


async def _start_api_server(cluster: DemoCluster, _: str) -> None:
    await cluster.plane.start_api_server()


def _pressure(*, on: bool) -> _Do:
    async def do(cluster: DemoCluster, _: str) -> None:
        await cluster.plane.kubelets.set_condition(next(iter(NODES)), "MemoryPressure", true=on)

    return do


async def _renew_certificate(fleet: Fleet, _: str) -> None:
    cluster = _cluster(fleet)
    await fleet.gateway.issue(90)
    await cluster.store(fleet.gateway.certificate, fleet.gateway.key)


async def _load_certificate(fleet: Fleet, _: str) -> None:
    await fleet.gateway.reload()


certificate_renewed = _renew_certificate, _load_certificate
crash_loop = _acts(_crash, _reset)
pod_crash_loop = _acts(_crash_one, _reset)
oom_kill = _acts(_kill, _nothing)
image_pull = _acts(_pull, _reset)
rollout_stuck = _acts(_stick, _reset)
hpa_limit = _acts(_load, _unload)
zero_pods = _acts(_scale_to_zero, _reset)
api_server = _acts(_kill_api_server, _start_api_server)
node_pressure = _acts(_pressure(on=True), _pressure(on=False))
