"""What `/actuator/health` answers: real checks, in Boot's words."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import redis.asyncio as redis

from exporter.demo.springboot.cache import CACHE_ERRORS
from exporter.demo.springboot.messaging import MESSAGING_ERRORS
from exporter.demo.springboot.pool import DATABASE_ERRORS
from exporter.demo.springboot.service import Service

__all__ = ["GROUPS", "as_v2", "code_of", "group_of", "health", "health_at"]

GROUPS = {"liveness": ("livenessState",), "readiness": ("readinessState",)}
_ORDER = ("DOWN", "OUT_OF_SERVICE", "UP", "UNKNOWN")


async def health(service: Service) -> dict[str, Any]:
    """Return the whole tree, details shown."""
    checked = await asyncio.gather(_database(service), _redis(service), _kafka(service))
    components = {"db": checked[0], "redis": checked[1], "kafka": checked[2], **_own(service)}
    return {**_composite(components), "groups": sorted(GROUPS)}


async def health_at(service: Service, path: str) -> dict[str, Any] | None:
    """Return a group, or the component at a path such as `db` or `a/b`; None without."""
    names = path.strip("/").split("/")
    if names[0] in GROUPS:
        return group_of(service, names[0]) if len(names) == 1 else None
    found: dict[str, Any] = await health(service)
    for name in names:
        child = found.get("components", {}).get(name)
        if child is None:
            return None
        found = child
    return found


def group_of(service: Service, group: str) -> dict[str, Any]:
    """Return a group that Boot makes by itself: these never show details."""
    own = _own(service)
    return {"status": _worst(own[member]["status"] for member in GROUPS[group])}


def code_of(answer: Mapping[str, Any]) -> int:
    """Map a status to HTTP as Boot does by default."""
    return 503 if answer["status"] in ("DOWN", "OUT_OF_SERVICE") else 200


def as_v2(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Rewrite an answer for those who ask for the media type v2: what a composite is made of is called `details`."""
    parts = answer.get("components")
    renamed = {"details" if name == "components" else name: value for name, value in answer.items()}
    if parts is not None:
        renamed["details"] = {name: as_v2(part) for name, part in parts.items()}
    return renamed


async def _database(service: Service) -> dict[str, Any]:
    try:
        await service.pool.validate()
    except DATABASE_ERRORS:
        return _failed("org.springframework.jdbc.CannotGetJdbcConnectionException: Failed to obtain JDBC Connection")
    return _component("UP", database="PostgreSQL", validationQuery="isValid()")


async def _redis(service: Service) -> dict[str, Any]:
    try:
        version = await service.cache.version()
    except (redis.TimeoutError, TimeoutError):
        return _failed("org.springframework.dao.QueryTimeoutException: Redis command timed out")
    except CACHE_ERRORS:
        return _failed("org.springframework.data.redis.RedisConnectionFailureException: Unable to connect to Redis")
    return _component("UP", version=version)


async def _kafka(service: Service) -> dict[str, Any]:
    """Boot has no indicator for Kafka; this is an application's own."""
    try:
        details = await service.messaging.describe()
    except MESSAGING_ERRORS:
        return _failed(
            "java.util.concurrent.TimeoutException: Timed out waiting for a node assignment. Call: describeCluster"
        )
    return _component("UP", **details)


def _own(service: Service) -> dict[str, Any]:
    """Return what needs no other server."""
    disk = shutil.disk_usage("/")
    ready = "OUT_OF_SERVICE" if "readiness-down" in service.faults else "UP"
    if "component-down" in service.faults:
        sanctions = _failed("java.net.SocketTimeoutException: Read timed out")
    else:
        sanctions = {"status": "UP"}
    return {
        "diskSpace": _component("UP", total=disk.total, free=disk.free, threshold=10_485_760, path="/app/.", exists=True),
        "livenessState": {"status": "UP"},
        "ping": {"status": "UP"},
        "readinessState": {"status": ready},
        "ssl": _component("UP", validChains=[], invalidChains=[]),
        "upstreams": _composite({"sanctionsList": sanctions}),
    }


def _component(status: str, **details: Any) -> dict[str, Any]:
    return {"status": status, "details": details}


def _failed(error: str) -> dict[str, Any]:
    return _component("DOWN", error=error)


def _composite(components: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Boot sorts the components by name."""
    ordered = dict(sorted(components.items()))
    return {"status": _worst(part["status"] for part in ordered.values()), "components": ordered}


def _worst(statuses: Iterable[str]) -> str:
    return min(statuses, key=_ORDER.index)
