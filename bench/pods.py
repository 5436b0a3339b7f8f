"""Pods as an API server sends them, with all that nobody reads: managed fields, volumes, tolerations, conditions."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["NAMESPACE", "SimulatedPod"]

NAMESPACE = "hafnium"

_CREATED = "2026-01-02T03:04:05Z"
_ENVIRONMENT = ("SPRING_PROFILES_ACTIVE", "JAVA_TOOL_OPTIONS", "POSTGRES_HOST", "KAFKA_BOOTSTRAP_SERVERS", "REDIS_HOST")
_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True, slots=True)
class SimulatedPod:
    """One pod of a Deployment of many services.

    Attributes:
        number: Which of all.
        services: Among how many services pods are dealt out.
        generation: How often it was replaced by another.
        ready: Whether it is ready.
        restarts: How often its container was restarted.
    """

    number: int
    services: int
    generation: int = 0
    ready: bool = True
    restarts: int = 0

    @property
    def service(self) -> str:
        """Name of its service."""
        return f"service-{self.number % self.services}"

    @property
    def name(self) -> str:
        """Its name."""
        return f"{self.service}-7d9f8c6b5d-{self.number:04x}{self.generation:x}"

    @property
    def uid(self) -> str:
        """Its uid."""
        return f"5f0c8f5e-{self.generation:04x}-4d3a-9c1b-{self.number:012x}"

    @property
    def ip(self) -> str:
        """Its address."""
        return f"10.{self.generation % 200}.{self.number // 250}.{1 + self.number % 250}"

    def flipped(self) -> SimulatedPod:
        """Return it as it is after its readiness has changed."""
        return replace(self, ready=not self.ready)

    def restarted(self) -> SimulatedPod:
        """Return it as it is when its container runs again."""
        return replace(self, ready=True, restarts=self.restarts + 1)

    def replaced(self) -> SimulatedPod:
        """Return the one that comes in its place."""
        return replace(self, generation=self.generation + 1, ready=True, restarts=0)

    def written(self, version: int) -> str:
        """Write it as JSON, as long as an API server's: 6 to 7 kB."""
        return json.dumps(self._object(version), separators=(",", ":"))

    def _object(self, version: int) -> dict[str, Any]:
        return {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": self._metadata(version),
            "spec": self._spec(),
            "status": self._status(),
        }

    def _metadata(self, version: int) -> dict[str, Any]:
        return {
            "name": self.name,
            "generateName": f"{self.service}-7d9f8c6b5d-",
            "namespace": NAMESPACE,
            "uid": self.uid,
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": _CREATED,
            "labels": {
                "app": self.service,
                "app.kubernetes.io/name": self.service,
                "app.kubernetes.io/part-of": "hafnium",
                "pod-template-hash": "7d9f8c6b5d",
                "tier": "backend",
            },
            "annotations": {"checksum/config": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{self.service}-7d9f8c6b5d",
                "uid": "0b2a6f1e-0d5f-4a8e-8b57-3c1b9b4f7a10", "controller": True, "blockOwnerDeletion": True,
            }],
            "managedFields": [_controller_fields(), _kubelet_fields(self.ip)],
        }  # fmt: skip

    def _spec(self) -> dict[str, Any]:
        def probe(path: str) -> dict[str, Any]:
            get = {"path": f"/actuator/health/{path}", "port": "management", "scheme": "HTTP"}
            return {"httpGet": get, "timeoutSeconds": 2, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}

        app = {
            "name": "app",
            "image": f"registry.example/hafnium/{self.service}:1.42.0",
            "ports": [
                {"name": "http", "containerPort": 8080, "protocol": "TCP"},
                {"name": "management", "containerPort": 8081, "protocol": "TCP"},
            ],
            "env": [{"name": name, "value": f"{name.lower()}.hafnium.svc"} for name in _ENVIRONMENT],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "250m", "memory": "768Mi"}},
            "volumeMounts": [_mount("config", "/config"), _mount("kube-api-access-x7k2p", "/var/run/secrets/kubernetes.io")],
            "livenessProbe": probe("liveness"),
            "readinessProbe": probe("readiness"),
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "imagePullPolicy": "IfNotPresent",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        outlived = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        return {
            "volumes": [
                {"name": "config", "configMap": {"name": self.service, "defaultMode": 420}},
                {"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                ]}},
            ],
            "containers": [app],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": self.service,
            "serviceAccount": self.service,
            "nodeName": f"node-{self.number % 100}",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "schedulerName": "default-scheduler",
            "tolerations": [{"key": f"node.kubernetes.io/{key}", **outlived} for key in ("not-ready", "unreachable")],
            "priority": 0,
            "enableServiceLinks": True,
            "preemptionPolicy": "PreemptLowerPriority",
        }  # fmt: skip

    def _status(self) -> dict[str, Any]:
        started = {"running": {"startedAt": f"2026-01-02T03:{self.restarts % 60:02}:10Z"}}
        before = _container(self.number, self.restarts - 1)
        ended = {
            "exitCode": 1,
            "reason": "Error",
            "startedAt": _CREATED,
            "finishedAt": f"2026-01-02T04:00:{self.restarts % 60:02}Z",
        }
        return {
            "phase": "Running",
            "conditions": [self._condition(kind) for kind in _CONDITIONS],
            "hostIP": f"10.250.0.{1 + self.number % 100}",
            "hostIPs": [{"ip": f"10.250.0.{1 + self.number % 100}"}],
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "startTime": _CREATED,
            "containerStatuses": [{
                "name": "app",
                "state": started,
                "lastState": {"terminated": {**ended, "containerID": before}} if self.restarts else {},
                "ready": self.ready,
                "restartCount": self.restarts,
                "image": f"registry.example/hafnium/{self.service}:1.42.0",
                "imageID": f"registry.example/hafnium/{self.service}@sha256:{self.number % self.services:064x}",
                "containerID": _container(self.number, self.restarts),
                "started": True,
            }],
            "qosClass": "Burstable",
        }  # fmt: skip

    def _condition(self, kind: str) -> dict[str, Any]:
        found = {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": _CREATED}
        if kind in ("Ready", "ContainersReady") and not self.ready:
            words = {"reason": "ContainersNotReady", "message": "containers with unready status: [app]"}
            found = {**found, "status": "False", **words}
        return found


def _mount(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "readOnly": True, "mountPath": path}


def _container(number: int, start: int) -> str:
    return f"containerd://{number:056x}{start:08x}"


def _fields(*names: str) -> dict[str, Any]:
    return {f"f:{name}": {} for name in names}


def _controller_fields() -> dict[str, Any]:
    probe = {
        ".": {}, "f:httpGet": {".": {}, **_fields("path", "port", "scheme")},
        **_fields("failureThreshold", "periodSeconds", "successThreshold", "timeoutSeconds"),
    }  # fmt: skip
    app = {
        ".": {},
        "f:env": {".": {}, **{f'k:{{"name":"{name}"}}': {".": {}, **_fields("name", "value")} for name in _ENVIRONMENT}},
        **_fields("image", "imagePullPolicy", "name", "terminationMessagePath", "terminationMessagePolicy"),
        "f:livenessProbe": probe,
        "f:readinessProbe": probe,
        "f:ports": {".": {}, **{
            f'k:{{"containerPort":{port},"protocol":"TCP"}}': {".": {}, **_fields("containerPort", "name", "protocol")}
            for port in (8080, 8081)
        }},
        "f:resources": {".": {}, "f:limits": {".": {}, **_fields("cpu", "memory")},
                        "f:requests": {".": {}, **_fields("cpu", "memory")}},
        "f:securityContext": {".": {}, "f:allowPrivilegeEscalation": {}, "f:capabilities": {".": {}, "f:drop": {}}},
        "f:volumeMounts": {".": {}, 'k:{"mountPath":"/config"}': {".": {}, **_fields("mountPath", "name", "readOnly")}},
    }  # fmt: skip
    labels = _fields("app", "app.kubernetes.io/name", "app.kubernetes.io/part-of", "pod-template-hash", "tier")
    owners: dict[str, Any] = {".": {}, 'k:{"uid":"0b2a6f1e-0d5f-4a8e-8b57-3c1b9b4f7a10"}': {}}
    metadata = {
        "f:annotations": {".": {}, "f:checksum/config": {}}, "f:generateName": {}, "f:labels": {".": {}, **labels},
        "f:ownerReferences": owners,
    }  # fmt: skip
    volumes = {
        ".": {},
        'k:{"name":"config"}': {".": {}, "f:configMap": {".": {}, **_fields("defaultMode", "name")}, "f:name": {}},
    }
    spec = {
        "f:containers": {'k:{"name":"app"}': app},
        **_fields("dnsPolicy", "enableServiceLinks", "restartPolicy", "schedulerName", "serviceAccountName"),
        "f:securityContext": {".": {}, "f:runAsNonRoot": {}, "f:seccompProfile": {".": {}, "f:type": {}}},
        "f:terminationGracePeriodSeconds": {},
        "f:volumes": volumes,
    }  # fmt: skip
    return _managed("kube-controller-manager", {"f:metadata": metadata, "f:spec": spec})


def _kubelet_fields(ip: str) -> dict[str, Any]:
    said = _fields("lastProbeTime", "lastTransitionTime", "status", "type")
    conditions = {f'k:{{"type":"{kind}"}}': {".": {}, **said} for kind in _CONDITIONS}
    status = {
        "f:conditions": conditions,
        **_fields("containerStatuses", "hostIP", "hostIPs", "phase", "podIP", "startTime"),
        "f:podIPs": {".": {}, f'k:{{"ip":"{ip}"}}': {".": {}, "f:ip": {}}},
    }  # fmt: skip
    return {**_managed("kubelet", {"f:status": status}), "subresource": "status"}


def _managed(manager: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "manager": manager, "operation": "Update", "apiVersion": "v1", "time": _CREATED, "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }  # fmt: skip
