"""The fleet of a day: services on a control plane of their own, what may happen to them, and who watches from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import trustme

from exporter.clients.kubernetes.permissions import PERMISSIONS, Purpose
from exporter.demo.cluster import NAMESPACE, REPLICAS, DemoCluster, workload_of
from exporter.demo.controlplane.access import Identity, Rule
from tests.clients.kubernetes.raw import tls_secret
from tests.kubernetes.pods import Applications, Aside, Gateway
from tests.kubernetes.watched import Watched

SERVICES = ("identity", "screening", "vault")
SECRET = "gateway-tls"
USER = "watcher"
RIGHTS: tuple[Rule, ...] = tuple(one.rule for one in PERMISSIONS if one.purpose is not Purpose.LEADER)
"""What docs/kubernetes.md asks for, and no more."""

FAST = {
    "interval": "2s",
    "timeout": "2s",
    "recheck_interval": "500ms",
    "confirm": {"failures": 3},
}


class Day:
    """The fleet, and who watches it. Its methods block until what they ask for is under way.

    Attributes:
        cluster: The services on their control plane.
        applications: What runs in their pods.
        gateway: What serves the certificate of a Secret.
        watched: The exporter.
    """

    def __init__(self, folder: Path, aside: Aside) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        self._authority_file = folder / "ca.pem"
        self._aside = aside
        self.run = aside.run
        self.applications = Applications(SERVICES)
        self.gateway = Gateway(authority)
        self.cluster = DemoCluster(folder / "cluster", self.applications.ports)
        self.plane = self.cluster.plane
        self.reader: Identity | None = None
        self.watched: Watched

    def start(self) -> None:
        certificate = self.gateway.issue()
        self.run(self.applications.start())
        self.run(self.gateway.start(certificate))
        self.run(self.cluster.start())
        self.store(certificate)
        self.reader = self.run(self.plane.as_user(USER, RIGHTS, NAMESPACE, cluster=True))

    def stop(self) -> None:
        self.run(self.cluster.stop())
        self.run(self.gateway.stop())
        self.run(self.applications.stop())

    def config(self) -> dict[str, Any]:
        """Return the exporter's configuration."""
        services = {name: self.cluster.instances(name) for name in SERVICES}
        for settings in services.values():
            settings["probes"]["actuator"] = {"metrics": False}
        served = {"ca_file": str(self._authority_file), "secret": SECRET}
        return {
            "defaults": FAST,
            "kubernetes": {"kubeconfig": str(self.plane.kubeconfig_path(USER, NAMESPACE)), "namespace": NAMESPACE},
            "dependencies": {"gateway": {"instances": [f"127.0.0.1:{self.gateway.port}"], "probes": {"tls": served}}},
            "services": services,
        }

    # What happens.

    def roll_out(self, service: str, version: str = "1.0.0", **play: str | float) -> None:
        """Roll out a version whose pods play something."""
        self.run(self.cluster.roll_out(service, version, **play))

    def play(self, service: str, settings: Mapping[str, str | float], most: int | None = None) -> list[str]:
        """Have pods behave otherwise, all or so many; return their names."""
        pods = self.pods(service)[:most]
        for pod in pods:
            self.run(self.plane.kubelets.play(NAMESPACE, pod, **settings))
        return pods

    def pods(self, service: str) -> list[str]:
        """Return the names of the pods that are not on their way out."""
        return self.run(self.cluster.pods(service))

    def scale(self, service: str, replicas: int) -> None:
        """Have a service run so many pods."""
        self.run(self.plane.kubelets.scale(NAMESPACE, workload_of(service), replicas))

    def store(self, certificate: trustme.LeafCert) -> None:
        """Put a certificate into the Secret, as what renews it does."""
        raw = tls_secret(SECRET, certificate)
        made = {"apiVersion": "v1", "kind": "Secret", **raw, "metadata": {"name": SECRET}}
        self.run(self.plane.apply([made], NAMESPACE))

    def grant(self, rules: Sequence[Rule]) -> None:
        """Let the exporter do exactly this."""
        assert self.reader is not None
        self.run(self.plane.grant(self.reader, rules))

    def hand_out(self, token: str) -> None:
        """Put a token into the exporter's kubeconfig, in place of the one that it has, at once as a whole."""
        written = self.plane.kubeconfig(f"{USER}-next", token, NAMESPACE)
        written.replace(self.plane.kubeconfig_path(USER, NAMESPACE))

    # What is to be seen.

    def until_well(self) -> None:
        """Wait until all that there is is up, and everything is known."""

        def complaints() -> Iterator[str]:
            for name in (*SERVICES, "gateway"):
                told = self.watched.service(name)
                if told["state"] != "up":
                    yield f"{name} is {told['state']}: {[each['detail'] for each in told['targets']]}"
            for name in SERVICES:
                found, pods = set(self.watched.targets(name, "actuator")), set(self.pods(name))
                if found != pods or len(pods) != REPLICAS:
                    yield f"{name} is probed at {sorted(found)}, its pods are {sorted(pods)}"
                if self.watched.value("probe_kubernetes_pods_ready", service=name) != REPLICAS:
                    yield f"the pods of {name} are not known to be ready"

        self.watched.until(complaints, "all is well", seconds=30)
