"""What `/actuator/health` answers: real checks, in Boot's words."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from typing import Any

from exporter.demo.springboot.service import Service

__all__ = ["GROUPS", "code_of", "component_at", "group", "health"]

GROUPS = {"liveness": ("livenessState",), "readiness": ("readinessState",)}
_ORDER = ("DOWN", "OUT_OF_SERVICE", "UP", "UNKNOWN")


async def health(service: Service) -> dict[str, Any]:
    """Return the whole tree, details shown."""
    components = await _components(service)
    status = _worst(component["status"] for component in components.values())
    return {"status": status, "components": components, "groups": sorted(GROUPS)}


async def group(service: Service, name: str) -> dict[str, Any] | None:
    """Return a health group, or None where there is none."""
    if name not in GROUPS:
        return None
    components = {member: _states(service)[member] for member in GROUPS[name]}
    return {"status": _worst(component["status"] for component in components.values()), "components": components}


def component_at(tree: dict[str, Any], path: str) -> dict[str, Any] | None:
    """Return the component at a path such as `db` or `a/b`."""
    found: Any = tree
    for name in path.split("/"):
        found = found.get("components", {}).get(name)
        if found is None:
            return None
    return dict(found)


def code_of(answer: dict[str, Any]) -> int:
    """Map a status to HTTP as Boot does by default."""
    return 503 if answer["status"] in ("DOWN", "OUT_OF_SERVICE") else 200


async def _components(service: Service) -> dict[str, Any]:
    database, version = await asyncio.gather(service.pool.is_valid(), service.redis_version())
    if database is None:
        details: dict[str, Any] = {"database": "PostgreSQL", "validationQuery": "isValid()"}
    else:
        details = {"error": database}
    disk = shutil.disk_usage("/")
    screened = "DOWN" if "component-down" in service.faults else "UP"
    cause = {"error": "java.net.SocketTimeoutException: Read timed out"}
    if version is None:
        cache = _component("DOWN", error="org.springframework.data.redis.RedisConnectionFailureException: Unable to connect")
    else:
        cache = _component("UP", version=version)
    return {
        "db": {"status": "UP" if database is None else "DOWN", "details": details},
        "diskSpace": _component("UP", total=disk.total, free=disk.free, threshold=10_485_760, path="/app/.", exists=True),
        **_states(service),
        "ping": {"status": "UP"},
        "redis": cache,
        "ssl": _component("UP", validChains=[], invalidChains=[]),
        "upstreams": {
            "status": screened,
            "components": {"sanctionsList": {"status": screened, **({"details": cause} if screened == "DOWN" else {})}},
        },
    }


def _component(status: str, **details: Any) -> dict[str, Any]:
    return {"status": status, "details": details}


def _states(service: Service) -> dict[str, Any]:
    ready = "OUT_OF_SERVICE" if "readiness-down" in service.faults else "UP"
    return {"livenessState": {"status": "UP"}, "readinessState": {"status": ready}}


def _worst(statuses: Iterable[str]) -> str:
    return min(statuses, key=_ORDER.index)
