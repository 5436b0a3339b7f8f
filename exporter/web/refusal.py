"""Answers that are not what was asked for: plain text for programs, JSON under /api/, a page for browsers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import hdrs, web

from exporter.web.endpoints import ENDPOINTS, Endpoint
from exporter.web.templates import fill

__all__ = ["Refusal", "quoted", "refuse"]


class Refusal(Exception):  # noqa: N818 - it is an answer, not an error of the program
    """An answer with a status other than 200.

    Args:
        status: The HTTP status.
        text: Why, for people; may have several lines.
        headers: Further headers of the answer.
        lost: Whether there is no such address, so that the list of endpoints helps.
    """

    def __init__(
        self, status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None, *, lost: bool = False
    ) -> None:
        super().__init__(text)
        self.lost = lost
        self.status = status
        self.text = text
        self.headers = headers or {}


def quoted(text: str) -> str:
    """Repeat what a client sent, short and on one line."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def refuse(request: web.Request, refusal: Refusal) -> web.Response:
    """Put a refusal into the form that the client reads."""
    if request.path.startswith("/api/"):
        body, content_type = json.dumps({"error": refusal.text}, ensure_ascii=False), "application/json"
    elif "text/html" in request.headers.get(hdrs.ACCEPT, ""):
        body, content_type = (
            fill("refusal.html", status=refusal.status, text=refusal.text, endpoints=_endpoints(refusal)),
            "text/html",
        )
    else:
        lines = [refusal.text, *(f"  {item.method:4} {item.path:24} {item.says}" for item in _endpoints(refusal))]
        body, content_type = "\n".join(lines) + "\n", "text/plain"
    headers = {**refusal.headers, hdrs.VARY: hdrs.ACCEPT}
    return web.Response(text=body, content_type=content_type, charset="utf-8", status=refusal.status, headers=headers)


def _endpoints(refusal: Refusal) -> tuple[Endpoint, ...]:
    return ENDPOINTS if refusal.lost else ()
