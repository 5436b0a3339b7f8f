"""`/badge/NAME.svg` and `/embed/NAME`: how one service is, to be shown in a page of another site.

A picture can be had by every page that a person opens, whoever wrote it. So both are kept to pages of the exporter's own
site, unless `server.embed_in` names others; all badges of a name are of one size: what cannot be read cannot be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus

from aiohttp import hdrs, web

from exporter.web.backend import Backend
from exporter.web.refusal import Refusal, quoted
from exporter.web.templates import fill

__all__ = ["Badges"]

_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {}"

_REFRESH = "15"
"""Seconds after which a page in a frame is loaded anew: it has no script, and must not show what was."""

_LETTER = 7
"""Width of a letter, about; the text is fitted to it."""

_STATE = 76
"""Width of the half that says how it is."""

_LONGEST = 63
"""Letters that a name has at most; an address may have any."""


class Badges:
    """The endpoints.

    Args:
        backend: The daemon.
        sites: Returns the origins whose pages may show them, besides our own.
    """

    def __init__(self, backend: Backend, sites: Callable[[], tuple[str, ...]]) -> None:
        self._backend = backend
        self._sites = sites

    def routes(self) -> list[web.RouteDef]:
        """Return what is served here."""
        return [web.get("/badge/{name}.svg", self.badge), web.get("/embed/{name}", self.embed)]

    async def badge(self, request: web.Request) -> web.Response:
        """A service's name and how it is, as a picture; of one that is not watched too, which a page could not tell else."""
        name = request.match_info["name"]
        view = await self._backend.service(name, 0)
        shown = name[:_LONGEST]
        width = max(40, _LETTER * len(shown) + 16)
        state = view.state if view is not None else "not watched"
        values = {"name": shown, "state": state, "width": width, "whole": width + _STATE, "half": _STATE}
        status = HTTPStatus.OK if view is not None else HTTPStatus.NOT_FOUND
        text = fill("badge.svg", **values)
        return web.Response(text=text, status=status, content_type="image/svg+xml", headers=self._headers())

    async def embed(self, request: web.Request) -> web.Response:
        """The same and since when, as a page without links or forms."""
        name = request.match_info["name"]
        view = await self._backend.service(name, 0)
        if view is None:
            raise Refusal(HTTPStatus.NOT_FOUND, f"no service or dependency is called {quoted(name)}", self._framed())
        now = self._backend.about().generated_at
        page = fill("embed.html", view=view, state=view.state, now=now)
        return web.Response(text=page, content_type="text/html", headers=self._framed())

    def _framed(self) -> Mapping[str, str]:
        return {**self._headers(), "Refresh": _REFRESH}

    def _headers(self) -> Mapping[str, str]:
        sites = self._sites()
        return {
            hdrs.CACHE_CONTROL: "no-cache",
            "Content-Security-Policy": _POLICY.format(" ".join(("'self'", *sites))),
            "Cross-Origin-Resource-Policy": "cross-origin" if sites else "same-origin",
        }
