"""A day of services on Kubernetes, as an exporter outside of the cluster tells it: each event on all of its surfaces.

Each begins when all is well, and leaves it to the next to wait until it is so again. That a leader ends or freezes, and how
shards grow, is in tests/ownership.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from exporter.demo.cluster import NAMESPACE, REPLICAS, SCALED, workload_of
from exporter.demo.controlplane.client import ApiError
from tests.kubernetes.fleet import RIGHTS, SECRET, Day
from tests.probes.test_tls import dates

OOM_KILLS = "probe_kubernetes_oom_kills_total"
PODS_PATH = f"/api/v1/namespaces/{NAMESPACE}/pods"


def serving(day: Day, service: str) -> Callable[[], Iterator[str]]:
    """Return what complains unless a service is held to be up, at this moment."""

    def complaints() -> Iterator[str]:
        up = day.watched.value("probe_service_up", service=service)
        if up != 1:
            yield f"probe_service_up of {service} is {up}"

    return complaints


def probed_on(day: Day, service: str) -> Callable[[], Iterator[str]]:
    """Return what complains unless all pods that there are now are probed directly, and found up, at any later moment."""
    pods = day.pods(service)

    def complaints() -> Iterator[str]:
        for pod in pods:
            up = day.watched.value("probe_success", service=service, probe="actuator", target=pod)
            if up != 1:
                yield f"probe_success of {pod} is {up}"

    return complaints


def attempted(day: Day, service: str) -> float:
    """Return when the direct probe was last made whose last attempt is the oldest."""
    return min(float(each["last_run"]) for each in day.watched.targets(service, "actuator").values())


def without(*resources: str) -> list[dict[str, list[str]]]:
    """Return the exporter's rights but for those on some resources, written `group/resource`."""
    return [
        {name: list(values) for name, values in rule.items()}
        for rule in RIGHTS
        if f"{rule['apiGroups'][0]}/{rule['resources'][0]}" not in resources
    ]


def test_a_service_that_is_deployed_is_found_and_probed_without_a_reload(day: Day) -> None:
    day.run(day.plane.delete("deployment", workload_of("vault"), NAMESPACE))
    day.watched.until_told("vault", "down", "no_instances", "no pod")
    day.roll_out("vault")
    checked = day.watched.until_told("vault", "up")
    assert checked.up("actuator") == REPLICAS
    day.watched.until_metrics(
        {
            "probe_discovery_instances": REPLICAS,
            "probe_kubernetes_pods{phase=running}": REPLICAS,
            "probe_kubernetes_replicas{state=available}": REPLICAS,
            "probe_kubernetes_rollout_revision": 1,
        },
        "the new Deployment is told",
        service="vault",
    )
    for pod in day.pods("vault"):
        assert day.watched.value("probe_success", service="vault", probe="actuator", target=pod) == 1
        assert pod in day.watched.page("/services/vault")


def test_a_rollout_is_told_and_neither_its_surge_nor_its_old_pods_are_down(day: Day) -> None:
    old, watched = day.pods("identity"), day.watched
    revision = watched.value("probe_kubernetes_rollout_revision", service="identity")
    assert revision is not None

    def all_serve() -> Iterator[str]:
        yield from serving(day, "identity")()
        for name, each in watched.targets("identity", "actuator").items():
            if each["verdict"] == "down":
                yield f"{name} is down: {each['detail']}"

    with watched.throughout("identity serves while it is rolled out", all_serve):
        day.roll_out("identity", "1.1.0", ready_after=2.0, terminating=3.0)
        watched.until_metrics(
            {"probe_kubernetes_rollout_progressing": 1, "probe_kubernetes_replicas{state=current}": REPLICAS + 1},
            "the rollout is under way, with one pod more",
            service="identity",
        )
        assert watched.check("identity").found["verdict"] == "up"
        watched.until_metrics(
            {
                "probe_kubernetes_rollout_progressing": 0,
                "probe_kubernetes_rollout_revision": revision + 1,
                "probe_kubernetes_pods{phase=terminating}": 0,
                "probe_discovery_instances": REPLICAS,
            },
            "the rollout is done",
            30,
            service="identity",
        )
    assert not set(old) & set(watched.targets("identity", "actuator"))
    assert not [labels for _, labels in watched.daemon.metrics() if dict(labels).get("target") in old]
    assert watched.until_told("identity", "up").up("actuator") == REPLICAS


def test_of_a_crash_loop_the_end_is_told_and_down_is_what_has_no_pod_left(day: Day) -> None:
    words = "Failed to configure a DataSource"
    loop: dict[str, str | float] = {"state": "crash-loop", "lives": 0.1, "backoff": 4.0, "exit_code": 3, "message": words}
    before = day.watched.value("probe_kubernetes_container_restarts_total", service="vault") or 0
    (pod,) = day.play("vault", loop, most=1)
    day.watched.until_told("vault", "degraded", pod, "connect_refused")
    day.watched.until_metrics(
        {"probe_kubernetes_pod_problem{reason=CrashLoopBackOff}": 1, "probe_kubernetes_pods_ready": REPLICAS - 1},
        "one pod crashes",
        service="vault",
    )
    day.play("vault", loop)
    day.watched.until_told("vault", "down", "CrashLoopBackOff", words, "exit code 3", "reported_down", seconds=20)
    day.watched.until_metrics(
        {
            "probe_success{probe=kubernetes}": 0,
            "probe_kubernetes_containers_waiting{reason=CrashLoopBackOff}": REPLICAS,
            "probe_kubernetes_last_exit_code{reason=Error}": 3,
            "probe_suspected_cause{cause=crash_looping}": 1,
            "probe_incident{incident=vault}": 1,
        },
        "all pods crash",
        service="vault",
    )
    assert "crash_looping" in day.watched.page("/services/vault")

    def restarted() -> Iterator[str]:
        count = day.watched.value("probe_kubernetes_container_restarts_total", service="vault")
        if not count or count < before + REPLICAS:
            yield f"restarts are {count}, and were {before}"

    day.watched.until(restarted, "restarts are counted")
    day.run(day.cluster.reset("vault"))
    day.watched.until_told("vault", "up", seconds=30)


def test_kills_for_memory_are_counted_though_each_is_over_before_anyone_looks(day: Day) -> None:
    before = day.watched.value(OOM_KILLS, service="identity")
    assert before is not None
    pod = day.pods("identity")[0]
    with day.watched.throughout("identity serves", serving(day, "identity")):
        day.run(day.plane.kubelets.oom_kill(NAMESPACE, pod, times=3))
        day.watched.until_metrics(
            {
                OOM_KILLS: before + 3,
                "probe_kubernetes_containers_last_terminated{reason=OOMKilled}": 1,
                "probe_kubernetes_last_exit_code{reason=OOMKilled}": 137,
                "probe_kubernetes_pods_ready": REPLICAS,
            },
            "three kills",
            service="identity",
        )
        assert day.watched.until_told("identity", "up").up("actuator") == REPLICAS
    facts = day.watched.target("identity")["facts"]
    assert facts[f"{OOM_KILLS}{{container=app}}"] == before + 3
    assert OOM_KILLS in day.watched.page("/services/identity")
    time.sleep(3)
    assert day.watched.value(OOM_KILLS, service="identity") == before + 3  # each once, however often it is looked at


def test_a_service_that_is_scaled_to_zero_is_down_and_comes_back(day: Day) -> None:
    day.scale("vault", 0)
    words = f"{workload_of('vault')} is scaled to zero"
    checked = day.watched.until_told("vault", "down", words, "no_instances")
    assert checked.up("actuator") == 0
    day.watched.until_metrics(
        {
            "probe_success{probe=kubernetes}": 0,
            "probe_success{probe=actuator}": None,
            "probe_discovery_success": 1,
            "probe_discovery_instances": 0,
            "probe_kubernetes_replicas{state=desired}": 0,
            "probe_suspected_cause{cause=scaled_to_zero}": 1,
        },
        "nothing is left",
        service="vault",
    )
    assert "scaled_to_zero" in day.watched.page("/services/vault")
    day.scale("vault", REPLICAS)
    assert day.watched.until_told("vault", "up").up("actuator") == REPLICAS


def test_an_autoscaler_at_its_limit_is_told_and_what_it_has_started_is_probed(day: Day) -> None:
    name = workload_of(SCALED)
    with day.watched.throughout("it serves", serving(day, SCALED)):
        day.play(SCALED, {"cpu": "900m"})
        day.watched.until_metrics(
            {
                "probe_kubernetes_autoscaler_at_limit": 1,
                "probe_kubernetes_autoscaler_replicas{state=current}": REPLICAS + 1,
                "probe_kubernetes_autoscaler_replicas{state=max}": REPLICAS + 1,
                "probe_kubernetes_cpu_used_cores": 0.9,
                "probe_discovery_instances": REPLICAS + 1,
            },
            "it wants more than it may",
            30,
            service=SCALED,
        )
        assert day.watched.until_told(SCALED, "up").up("actuator") == REPLICAS + 1
        facts = day.watched.target(SCALED)["facts"]
        assert facts[f"probe_kubernetes_autoscaler_at_limit{{autoscaler={name}}}"] == 1
        assert f"probe_kubernetes_autoscaler_at_limit{{autoscaler={name}}}" in day.watched.page(f"/services/{SCALED}")
        day.play(SCALED, {"cpu": "10m"})
        day.watched.until_metrics(
            {"probe_kubernetes_autoscaler_at_limit": 0, "probe_discovery_instances": REPLICAS},
            "it has had enough",
            45,
            service=SCALED,
        )


def test_a_certificate_that_was_renewed_and_not_reloaded_is_told_from_one_that_was(day: Day) -> None:
    renewed = day.gateway.issue()
    day.store(renewed)
    labels = {"service": "gateway", "secret": SECRET}
    day.watched.until_metrics({"probe_tls_secret_served": 0}, "another one is served", 20, **labels)
    assert day.watched.value("probe_tls_secret_not_after_timestamp_seconds", **labels) == dates(renewed)[1]
    day.watched.until_told("gateway", "up")  # it serves everyone, with what it has
    assert day.watched.target("gateway", "tls")["facts"][f"probe_tls_secret_served{{secret={SECRET}}}"] == 0
    assert f"probe_tls_secret_served{{secret={SECRET}}}" in day.watched.page("/services/gateway")
    day.gateway.load(renewed)
    day.watched.until_metrics({"probe_tls_secret_served": 1}, "it is served", 20, **labels)


def test_a_compaction_makes_a_watch_begin_anew_and_nothing_is_lost_or_taken_away(day: Day) -> None:
    kills = day.watched.value(OOM_KILLS, service="identity")

    async def version() -> str:
        async with day.plane.client(day.reader) as client:
            return (await client.list(PODS_PATH))[1]

    async def resumed(version: str) -> int:
        async with day.plane.client(day.reader) as client:
            try:
                async for _ in client.watch(PODS_PATH, version):
                    pass
            except ApiError as error:
                return error.status
        return 200

    before = day.run(version())
    with day.watched.throughout("it is probed on", probed_on(day, "identity")):
        day.run(day.plane.expire())
        assert day.run(resumed(before)) == 410  # so it is to whoever goes on from what the exporter knows
        day.watched.until_told("identity", "up", seconds=30)
        pod = day.pods("identity")[0]
        day.run(day.plane.kubelets.oom_kill(NAMESPACE, pod))
        day.watched.until_metrics(
            {OOM_KILLS: (kills or 0) + 1, "probe_discovery_success": 1},
            "what happens after it is seen",
            30,
            service="identity",
        )


def test_while_the_api_server_is_gone_its_facts_are_unknown_and_services_are_probed_on(day: Day) -> None:
    kills = day.watched.value(OOM_KILLS, service="identity")
    probes, vault = probed_on(day, "identity"), day.pods("vault")
    with day.watched.throughout("it is probed on", probes):
        day.run(day.plane.stop_api_server(kill=True))
        day.watched.until_metrics(
            {
                "probe_success{probe=kubernetes}": None,
                "probe_unknown{probe=kubernetes,reason=api_unreachable}": 1,
                "probe_kubernetes_pods_ready": None,
                OOM_KILLS: None,
                "probe_discovery_success": 0,
                "probe_discovery_instances": REPLICAS,
            },
            "Kubernetes' facts are unknown, and its pods stay",
            service="identity",
        )
        since = attempted(day, "identity")
        day.watched.until_told("identity", "degraded", "api_unreachable", check="unknown")
        day.watched.until(
            lambda: [] if attempted(day, "identity") > since else ["no attempt"], "direct probes go on", seconds=10
        )
    day.applications.say("vault", "DOWN")
    try:
        # Known pods are found down. Whether others have come meanwhile, nobody can tell.
        assert "instances not known" in day.watched.until_told("vault", "unknown", "api_unreachable").notes
        day.watched.until_metrics(
            {f"probe_success{{target={pod}}}": 0 for pod in vault} | {"probe_service_unknown{reason=api_unreachable}": 1},
            "its pods are found down directly",
            service="vault",
        )
        assert "reported_down" in day.watched.page("/services/vault")
    finally:
        day.applications.say("vault", "UP")
        day.run(day.plane.start_api_server())
    with day.watched.throughout("it is probed on", probes):
        day.watched.until_told("identity", "up", seconds=45)
        assert day.watched.value(OOM_KILLS, service="identity") == kills


def test_a_token_that_has_ended_is_told_and_the_next_one_is_taken_without_a_reload(day: Day) -> None:
    brief = day.run(day.plane.short_token("watcher", NAMESPACE, 15.0))
    day.hand_out(brief)
    with day.watched.throughout("it is probed on", probed_on(day, "identity")):
        try:
            day.watched.until_metrics({"probe_part_success{part=use}": 0}, "it has ended", 60, service="identity")
            day.watched.until_told("identity", "degraded", "401", check="unknown")
            day.run(day.plane.restart_api_server())  # a watch that is open goes on with a token that was good when it began
            words = "does not accept the credentials"
            day.watched.until_told("identity", "degraded", words, "auth", seconds=30, check="unknown")
            day.watched.until_metrics(
                {"probe_unknown{probe=kubernetes,reason=auth}": 1, "probe_kubernetes_pods_ready": None},
                "nothing is known without a token",
                service="identity",
            )
        finally:
            day.hand_out(day.run(day.plane.request_token("watcher", NAMESPACE)))
        day.watched.until_told("identity", "up", seconds=45)
    assert brief not in day.watched.page("/services/identity") + day.watched.daemon.log


def test_a_right_that_is_withdrawn_is_named_and_takes_nothing_from_the_others(day: Day) -> None:
    day.grant(without("metrics.k8s.io/pods", "autoscaling/horizontalpodautoscalers", "/secrets"))
    try:
        day.run(day.plane.restart_api_server())  # a watch that is open lasts for minutes more, with or without the right
        day.watched.until_metrics(
            {
                "probe_part_success{part=use}": 0,
                "probe_part_success{part=autoscalers}": 0,
                "probe_part_success{part=workloads}": 1,
                "probe_success{probe=kubernetes}": 1,
                "probe_kubernetes_pods_ready": REPLICAS,
                "probe_kubernetes_cpu_used_cores": None,
                "probe_kubernetes_autoscaler_replicas": None,
            },
            "two parts are forbidden",
            45,
            service="identity",
        )
        names = ("forbidden", "horizontalpodautoscalers", "metrics.k8s.io")
        day.watched.until_told("identity", "degraded", *names)
        day.watched.until_told("gateway", "degraded", "forbidden", SECRET)
        day.grant(without("/pods"))
        day.run(day.plane.restart_api_server())
        with day.watched.throughout("it is probed on", probed_on(day, "identity")):
            words = f"forbidden: pods in {NAMESPACE}"
            day.watched.until_told("identity", "degraded", words, "auth", seconds=45, check="unknown")
            day.watched.until_metrics(
                {"probe_unknown{probe=kubernetes,reason=auth}": 1, "probe_kubernetes_pods_ready": None},
                "pods are forbidden",
                service="identity",
            )
            day.watched.until_told("gateway", "up", seconds=30)
    finally:
        day.grant(RIGHTS)
    day.watched.until_told("identity", "up", seconds=45)
