"""The rows of Kubernetes: what breaks in a cluster, and what goes on there that nobody is to hear of."""

from __future__ import annotations

from dataclasses import replace

from exporter.demo.cluster import SCALED, DemoCluster
from tests.e2e.row import Owed, Row, Step
from tests.e2e.scene import Scene, act, begin, end, paged, resolved, stay, usual
from tests.e2e.stack import Stack

__all__ = ["CLUSTER"]

TOLD = 75.0
"""Seconds to an incident of low urgency beside the rule's own wait: attempt, scrape, evaluation, and the wait for more."""
STUCK = 20.0 + 20.0 + 60.0 + TOLD
"""Seconds to RolloutStuck: the deadline of the demo's Deployments, a moment for the controllers, and the rule's wait."""
LONG = 900.0
"""Seconds in which everything that waits for a quarter of an hour would have been told."""
LINGERS = 360.0
"""Seconds after which windows of five minutes have told all that they hold of what was mended."""


async def restart_api_server(stack: Stack) -> None:
    """End the API server as an upgrade does, and start it again."""
    await cluster_of(stack).plane.restart_api_server()


async def crash_api_server(stack: Stack) -> None:
    """Kill the API server, which is started again at once."""
    await cluster_of(stack).plane.restart_api_server(kill=True)


def cluster_of(stack: Stack) -> DemoCluster:
    """Return the cluster of a stack that has one."""
    assert stack.fleet.cluster is not None
    return stack.fleet.cluster


def roll_out(version: str) -> Step:
    """Roll out a version whose pods take their time to start and to end."""

    async def step(scene: Scene) -> None:
        await cluster_of(scene.stack).roll_out(scene.service(0), version, ready_after=10, terminating=5)

    return step


def _down(cause: str, words: str = "") -> Owed:
    """Build what is owed for a service of which nothing is left."""
    return Owed("ServiceDown", "{0}", rf"^{{0}} is down: {cause}", words)


def _low(alert: str, incident: str, title: str, cause: str, within: float) -> Owed:
    """Build what is owed where nobody is to be woken up."""
    return Owed(alert, incident, title, cause, within, low=True)


_STUCK = _low("RolloutStuck", "{0}", "rollout of {0}-service is stuck", "", STUCK)

_BLIND = Owed(
    "KubernetesBlind",
    "hafnium-exporter",
    "cannot see the cluster",
    "api.unreachable",
    180 + 30 + TOLD,
    low=True,
    while_broken=("api-server-down",),
)

PODS = (
    Row(
        "crash-loop",
        "{0}: its pods crash as often as they start",
        (*usual("crash-loop", 60), stay(LINGERS)),
        [_down("crash looping", "exit code")],
        services=1,
    ),
    Row(
        "pod-crash-loop",
        "{0}: one of its two pods crashes as often as it starts",
        usual("pod-crash-loop", LONG),
        [_low("PodCrashLooping", "{0}", "{0} crash loops", "exit code 1", 300 + TOLD)],
        services=1,
        patience=600,
    ),
    Row(
        "oom-kill",
        "{0}: a container is killed for its memory, once, and runs again at once",
        usual("oom-kill", 60),
        [_low("PodOomKilled", "{0}", "of {0} is killed for its memory", "limit of 512MiB", 60 + TOLD)],
        services=1,
        patience=1200,
    ),
    Row(
        "zero-pods",
        "{0} is scaled to zero",
        usual("zero-pods"),
        [_down("scaled to zero")],
        services=1,
        quick=True,
    ),
)

ROLLOUTS = (
    Row(
        "image-pull",
        "{0}: a version is rolled out that the registry does not have",
        usual("image-pull", LONG),
        [
            _low("RolloutStuck", "{0}", "rollout of {0}-service is stuck: ImagePullBackOff", "ImagePullBackOff", STUCK),
            _low("PodNotStarting", "{0}", "{0} .* cannot start: ImagePullBackOff", "ImagePullBackOff", 300 + TOLD),
        ],
        services=1,
        patience=360,
    ),
    Row(
        "rollout-stuck",
        "{0}: a version is rolled out that never gets ready",
        usual("rollout-stuck", LONG),
        [_STUCK],
        services=1,
        patience=360,
    ),
    Row(
        "rollout-well",
        "{0}: a version is rolled out, and another one; pods come and go",
        (roll_out("1.1.0"), stay(120), roll_out("1.2.0"), stay(LINGERS)),
        services=1,
    ),
    Row(
        "hpa-limit",
        f"{SCALED} needs more replicas than its autoscaler may make",
        usual("hpa-limit", 60),
        [_low("AutoscalerAtLimit", SCALED, f"Autoscaler .* of {SCALED} is at its limit", "", 900 + 30 + TOLD)],
        patience=600,
        parts=frozenset({SCALED}),
    ),
)

AROUND = (
    Row(
        "api-server-down",
        "the API server is killed, and stays down for a quarter of an hour",
        usual("api-server-down", LONG),
        [_BLIND],
        patience=300,
    ),
    Row(
        "api-server-down-meanwhile",
        "{0} is killed while the API server is down",
        (
            begin("api-server-down"),
            stay(60),
            begin("service-down"),
            paged(),
            stay(420),
            end("service-down"),
            stay(60),
            end("api-server-down"),
            resolved(),
            stay(60),
        ),
        # Its pods may be elsewhere by now: it is unknown, which is told, and nobody is woken for what is not seen.
        [replace(_BLIND, title="")],
        services=1,
        alone=True,
        patience=300,
        may=frozenset({"ServiceUnknown"}),
    ),
    Row(
        "api-server-restarted",
        "the API server is restarted, and crashes once",
        (act(restart_api_server), stay(120), act(crash_api_server), stay(300)),
    ),
    Row(
        "node-pressure",
        "a node under the fleet is short of memory",
        usual("node-pressure", 60),
        [_low("NodePressure", "kubernetes", "^Node node-1 .* memory.pressure", r"run there: \w+", 180 + TOLD)],
        patience=300,
    ),
    Row(
        "certificate-renewed",
        "the Secret of the gateway's certificate is renewed, and the gateway does not load it",
        usual("certificate-renewed", 60),
        [_low("CertificateNotReloaded", "gateway", "^gateway does not serve .* Secret gateway-tls", "", 900 + 60 + TOLD)],
        patience=600,
        parts=frozenset({"gateway"}),
    ),
)  # fmt: skip

CLUSTER = tuple(replace(row, kubernetes=True) for row in (*PODS, *ROLLOUTS, *AROUND))
"""All of them."""
