"""Answers as Spring MVC writes them: media types, chunks, errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from aiohttp import web

__all__ = ["V2", "V3", "error_answer", "json_answer", "json_type", "no_answer", "whitelabel"]

V3 = "application/vnd.spring-boot.actuator.v3+json"
V2 = "application/vnd.spring-boot.actuator.v2+json"
_TYPES = (V3, V2, "application/json")
_WILD = ("*/*", "application/*", "application/*+json")


def json_type(accepts: list[str]) -> str:
    """Choose the media type of an actuator's answer by the Accept headers.

    Raises:
        web.HTTPNotAcceptable: Nothing that is accepted is JSON.
    """
    wanted = sorted(
        (_weighed(part) for header in accepts for part in header.split(",") if part.strip()), key=lambda item: -item[1]
    )
    if not wanted:
        return V3
    for name, weight in wanted:
        if weight > 0 and name in _WILD:
            return V3
        if weight > 0 and name in _TYPES:
            return name
    raise web.HTTPNotAcceptable


def json_answer(request: web.Request, answer: Any, status: int = 200) -> web.Response:
    """Write JSON in chunks, as a servlet does that does not know the length beforehand."""
    kind = json_type(request.headers.getall("Accept", []))
    body = json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()
    response = web.Response(body=body, status=status, headers={"Content-Type": kind})
    if request.version >= (1, 1):
        response.enable_chunked_encoding()
    return response


def no_answer() -> web.Response:
    """Answer for something that an endpoint does not have: 404 without a body."""
    return web.Response(status=404)


def error_answer(request: web.Request, status: int) -> web.Response:
    """Write the body that Boot's error controller writes, without a message, as by default."""
    answer = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status": status,
        "error": HTTPStatus(status).phrase,
        "path": request.path,
    }
    body = json.dumps(answer, separators=(",", ":")).encode()
    response = web.Response(body=body, status=status, headers={"Content-Type": "application/json"})
    if request.version >= (1, 1):
        response.enable_chunked_encoding()
    return response


def whitelabel(status: int) -> web.Response:
    """Write the page that Boot has for browsers."""
    what = f"(type={HTTPStatus(status).phrase}, status={status})"
    body = (
        "<html><body><h1>Whitelabel Error Page</h1>"
        "<p>This application has no explicit mapping for /error, so you are seeing this as a fallback.</p>"
        f"<div>There was an unexpected error {what}.</div></body></html>"
    )
    return web.Response(body=body.encode(), status=status, headers={"Content-Type": "text/html;charset=UTF-8"})


def _weighed(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.split(";"))
    weight = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                weight = float(parameter[2:])
            except ValueError:
                weight = 0.0
    return name.lower(), weight
