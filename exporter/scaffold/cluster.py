"""A namespace of a Kubernetes cluster, as what a configuration says of it: its workloads, and what their environment names.

A workload is taken for a Spring Boot application where its probes ask an actuator, or a port is named after one. What it
needs is read from the addresses in its plain environment variables; Secrets are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from yarl import URL

from exporter.clients.kubernetes.access import ClusterAccess, own_namespace
from exporter.clients.kubernetes.api import Api
from exporter.clients.kubernetes.incluster import InCluster
from exporter.clients.kubernetes.kubeconfig import Kubeconfig
from exporter.net.resolver import Resolver
from exporter.parsing import Address, parse_address
from exporter.scaffold.draft import Draft, Entry, Unusable
from exporter.scaffold.urls import name_of
from exporter.verdict import Failure, Reason
from exporter.visible import visible

__all__ = ["read_cluster"]

_KINDS = ("deployments", "statefulsets")
_MOST = 500
"""Workloads that are asked for: a person's namespace has fewer, and a file of more is nobody's to read."""

_PORT_NAMES = ("management", "actuator", "mgmt", "http-management", "http-mgmt", "admin")
_PATH = re.compile(r"(?P<base>(?:/[A-Za-z0-9._~-]+)*)/health(?:/(?:liveness|readiness))?")

_JDBC = re.compile(r"(?:jdbc:|r2dbc:)postgresql://(?P<hosts>[^/\s?]+)/(?P<database>[A-Za-z0-9_.-]+)")
_REDIS_URL = re.compile(r"rediss?://(?:[^@\s/]*@)?(?P<hosts>[^/\s?,]+)")
_REDIS_HOSTS = ("SPRING_DATA_REDIS_HOST", "SPRING_REDIS_HOST")
_REDIS_PORTS = ("SPRING_DATA_REDIS_PORT", "SPRING_REDIS_PORT")
_KAFKA = ("SPRING_KAFKA_BOOTSTRAP_SERVERS", "SPRING_CLOUD_STREAM_KAFKA_BINDER_BROKERS", "KAFKA_BOOTSTRAP_SERVERS")
_ISSUERS = (
    "SPRING_SECURITY_OAUTH2_RESOURCESERVER_JWT_ISSUER_URI", "SPRING_SECURITY_OAUTH2_RESOURCESERVER_JWT_ISSUERURI",
)  # fmt: skip
_ISSUER = re.compile(r"(?P<scheme>https?)://(?P<host>[^/:\s]+)(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9._~%-]+)*)/?")


async def read_cluster(kubeconfig: Path | None, context: str | None, namespace: str | None, selector: str | None) -> Draft:
    """Return the draft of a configuration for what a namespace runs.

    Args:
        kubeconfig: The file; None: the cluster that this process runs in.
        context: Its context; None: the current one.
        namespace: None: that of the context, or `default`.
        selector: Label selector of the workloads; None: all.

    Raises:
        Unusable: The cluster cannot be asked, or has nothing that fits.
    """
    access = ClusterAccess(kubeconfig=kubeconfig, context=context)
    place = namespace or own_namespace(access) or "default"
    resolver = Resolver()
    api = Api(Kubeconfig(kubeconfig, context) if kubeconfig is not None else InCluster(), resolver)
    try:
        workloads = [each async for each in _workloads(api, place, selector)]
    except Failure as failure:
        where = str(kubeconfig) if kubeconfig is not None else "the cluster that this runs in"
        told = failure.detail.removeprefix(f"{where}: ") or str(failure)
        server = await _server(api) if failure.reason is not Reason.CREDENTIALS else ""
        raise Unusable(f"{where}, namespace {visible(place)}: {server}{told}") from None
    finally:
        await api.close()
        await resolver.close()
    section = {"kubeconfig": str(kubeconfig) if kubeconfig is not None else None, "context": context, "namespace": place}
    draft = Draft(f"the namespace {place}", kubernetes={key: value for key, value in section.items() if value is not None})
    for workload in workloads:
        _take(draft, workload, place)
    if not draft.services:
        number = "1 workload" if len(workloads) == 1 else f"{len(workloads)} workloads"
        fits = f" that {selector} selects" if selector else ""
        raise Unusable(
            f"namespace {place} has {number}{fits}, and none shows an actuator: no probe of it asks one "
            f"and no port is named {_PORT_NAMES[0]}; give the URLs of services instead"
        )
    return draft


async def _server(api: Api) -> str:
    """Return which API server did not do, for the begin of a message; empty where not even that can be told."""
    try:
        return f"{URL(await api.server()).origin()}: "  # whose user and password are nobody's to read
    except (Failure, ValueError):
        return ""


async def _workloads(api: Api, namespace: str, selector: str | None) -> Any:
    params = {"limit": str(_MOST), **({"labelSelector": selector} if selector else {})}
    for kind in _KINDS:
        found = await api.get(f"/apis/apps/v1/namespaces/{namespace}/{kind}", params)
        for item in found.get("items") or ():
            yield item


def _take(draft: Draft, workload: Mapping[str, Any], namespace: str) -> None:
    name = _at(workload, "metadata", "name")
    labels = _at(workload, "spec", "selector", "matchLabels")
    actuator = _actuator(_containers(workload))
    if not isinstance(name, str) or not isinstance(labels, dict) or not labels:
        return
    if actuator is None:
        draft.remarks.append(f"{name} is left out: nothing says that it is a Spring Boot application.")
        return
    port, base = actuator
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    entry = Entry(
        {
            "instances": {"kubernetes": {"selector": selector, "port": port}},
            "probes": {"actuator": {} if base == "/actuator" else {"base_path": base}, "kubernetes": {}},
        }
    )
    entry.needs = tuple(_dependencies(draft, _environment(workload), namespace))
    draft.add(name_of(name.removesuffix("-service")) or "service", entry)


def _containers(workload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = _at(workload, "spec", "template", "spec", "containers")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _actuator(containers: list[Mapping[str, Any]]) -> tuple[int | str, str] | None:
    """Return port and path of the actuator, as the kubelet's probes ask it, or as a port is named; None for none."""
    for container in containers:
        for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
            port, path = _at(container, kind, "httpGet", "port"), _at(container, kind, "httpGet", "path")
            match = _PATH.fullmatch(path) if isinstance(path, str) else None
            if match is not None and isinstance(port, int | str):
                return port, match["base"] or "/"
    for container in containers:
        for each in container.get("ports") or ():
            if isinstance(each, dict) and each.get("name") in _PORT_NAMES:
                return str(each["name"]), "/actuator"
    return None


def _environment(workload: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that are written out."""
    found: dict[str, str] = {}
    for container in _containers(workload):
        for each in container.get("env") or ():
            if isinstance(each, dict) and isinstance(each.get("value"), str) and "$(" not in each["value"]:
                found.setdefault(str(each.get("name")), each["value"])
    return found


def _dependencies(draft: Draft, environment: Mapping[str, str], namespace: str) -> Iterator[str]:
    """Put what a workload needs into the draft, and name it."""
    for kind, addresses, settings in _needed(environment):
        instances = [str(Address(_inside(each.host, namespace), each.port)) for each in addresses]
        yield _dependency(draft, kind, instances, settings)


def _dependency(draft: Draft, kind: str, instances: list[str], settings: dict[str, Any]) -> str:
    for name, there in draft.dependencies.items():
        if kind in there.settings["probes"] and there.settings["instances"] == instances:
            return name
    remarks = ["The role is a guess: give it one with pg_monitor, and its password file."] if kind == "postgres" else []
    name = "identity-provider" if kind == "oidc" else kind
    return draft.add(name, Entry({"instances": instances, "probes": {kind: settings}}, remarks))


def _needed(environment: Mapping[str, str]) -> Iterator[tuple[str, list[Address], dict[str, Any]]]:
    for value in environment.values():
        if (jdbc := _JDBC.match(value)) and (addresses := _addresses(jdbc["hosts"], 5432)):
            login = {"user": "hafnium_monitor", "password_file": "secrets/postgres-password"}
            yield "postgres", addresses[:1], {**login, "database": jdbc["database"]}
        elif (url := _REDIS_URL.match(value)) and (addresses := _addresses(url["hosts"], 6379)):
            yield "redis", addresses, {"tls": {}} if value.startswith("rediss") else {}
    host = next((environment[name] for name in _REDIS_HOSTS if name in environment), None)
    port = next((environment[name] for name in _REDIS_PORTS if name in environment), "6379")
    if host is not None and (addresses := _addresses(f"{host}:{port}", 6379)):
        yield "redis", addresses, {}
    for name in _KAFKA:
        if name in environment and (addresses := _addresses(environment[name], 9092)):
            yield "kafka", addresses, {}
            break
    issuer = next((match for name in _ISSUERS if (match := _ISSUER.fullmatch(environment.get(name, "")))), None)
    if issuer is not None:
        secure = issuer["scheme"] == "https"
        port = issuer["port"] or ("443" if secure else "80")
        settings = {"issuer_path": issuer["path"] or "/", **({} if secure else {"scheme": "http"})}
        yield "oidc", _addresses(f"{issuer['host']}:{port}", 443), settings


def _addresses(text: str, port: int) -> list[Address]:
    """Read a list of addresses; empty where any of it is none."""
    hosts = [host.strip() for host in text.split(",")]
    try:
        return [parse_address(host if ":" in host else f"{host}:{port}") for host in hosts]
    except ValueError:
        return []


def _inside(host: str, namespace: str) -> str:
    """Name a Service as it is known outside of its namespace too."""
    return host if "." in host or host == "localhost" or ":" in host else f"{host}.{namespace}.svc"


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
