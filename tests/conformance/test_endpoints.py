"""The demo's simulated application answers as a real one does: status, headers and the shape of the body."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from tests.fixtures.boot_applications import BootApplications
from tests.fixtures.springboot import SpringFleet

V2 = "application/vnd.spring-boot.actuator.v2+json"
V3 = "application/vnd.spring-boot.actuator.v3+json"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

REQUESTS = [
    ("GET", "/actuator", None),
    ("GET", "/actuator/health", None),
    ("GET", "/actuator/health", V3),
    ("GET", "/actuator/health", V2),
    ("GET", "/actuator/health", "application/json"),
    ("GET", "/actuator/health", "text/html"),
    ("GET", "/actuator/health/db", None),
    ("GET", "/actuator/health/readiness", None),
    ("GET", "/actuator/health/liveness", None),
    ("GET", "/actuator/health/nothing", None),
    ("POST", "/actuator/health", None),
    ("GET", "/livez", None),
    ("GET", "/readyz", None),
    ("GET", "/actuator/prometheus", None),
    ("GET", "/actuator/prometheus", "text/plain;version=0.0.4"),
    ("GET", "/actuator/prometheus", OPENMETRICS),
    ("GET", "/actuator/metrics", None),
    ("GET", "/actuator/metrics/jvm.memory.max", None),
    ("GET", "/actuator/metrics/jvm.memory.max?tag=area:heap", None),
    ("GET", "/actuator/metrics/jvm.memory.max?tag=area:nowhere", None),
    ("GET", "/actuator/metrics/http.server.requests", None),
    ("GET", "/actuator/metrics/nothing", None),
    ("GET", "/actuator/flyway", None),
    ("GET", "/actuator/nothing", None),
    ("GET", "/nothing", None),
]


@pytest.mark.feature("Endpoints answer as those of Boot 3.5 do", version="demo")
def test_the_simulated_application_answers_as_a_real_one(
    boot_fleet: dict[str, BootApplications], spring_fleet: SpringFleet
) -> None:
    real, simulated = boot_fleet["3.5"].full.port, spring_fleet.ports["vault"]
    differences = {}
    for method, path, accept in REQUESTS:
        expected, found = _answer(real, method, path, accept), _answer(simulated, method, path, accept)
        if expected != found:
            differences[f"{method} {path} {accept}"] = {"Boot": expected, "simulated": found}
    assert differences == {}, json.dumps(differences, indent=1)


def _answer(port: int, method: str, path: str, accept: str | None) -> dict[str, Any]:
    """Ask, and keep of the answer what does not change from one application to another."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={} if accept is None else {"Accept": accept})
        answer = connection.getresponse()
        body = answer.read()
        kind = (answer.headers["Content-Type"] or "").lower().replace(" ", "")
        return {
            "status": answer.status,
            "type": kind,
            "chunked": answer.headers["Transfer-Encoding"] == "chunked",
            "encoding": answer.headers["Content-Encoding"],
            "body": _shape(json.loads(body)) if "json" in kind and body else _first_words(body),
        }
    finally:
        connection.close()


_OWN = {"components", "details", "contexts", "_links", "names", "availableTags", "measurements", "groups"}
"""Below these an application has what is its own; that they are there, and of what kind, is Boot's."""


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: type(item).__name__ if name in _OWN else "…" if name == "description" else _shape(item)
            for name, item in sorted(value.items())
            if name != "baseUnit"
        }
    return type(value).__name__


def _first_words(body: bytes) -> str:
    return " ".join(body.decode().split()[:2]) if body else ""
