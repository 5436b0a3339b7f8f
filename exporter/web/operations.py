"""`/-/healthy`, `/-/ready`, `/-/reload` and `/-/lease`: what operators and their platforms ask."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from aiohttp import web

from exporter.ownership.peers import PATH
from exporter.web.backend import Backend
from exporter.web.refusal import Refusal

__all__ = ["Operations"]


class Operations:
    """The endpoints for operators.

    Args:
        backend: The daemon.
        lifecycle: Whether the configuration may be reloaded over HTTP.
    """

    def __init__(self, backend: Backend, *, lifecycle: bool) -> None:
        self._backend = backend
        self._lifecycle = lifecycle

    def routes(self) -> list[web.RouteDef]:
        """Return what is served here."""
        return [
            *self.health(),
            web.post("/-/reload", self.reload),
        ]

    def health(self) -> list[web.RouteDef]:
        """Return what is served to a platform and to other exporters."""
        return [
            web.get("/-/healthy", self.healthy),
            web.get("/-/ready", self.ready),
            web.get(PATH, self.lease),
        ]

    async def healthy(self, _request: web.Request) -> web.Response:
        """Tell whether the exporter is alive: when it is not, it wants a restart."""
        return _state("healthy", self._backend.healthy())

    async def ready(self, _request: web.Request) -> web.Response:
        """Tell whether what the exporter exports is complete."""
        sharing = self._backend.about().sharing
        return _state("ready", self._backend.ready(), sharing.text if sharing is not None else "")

    async def lease(self, _request: web.Request) -> web.Response:
        """Tell the other exporters that share a lease what this one is, and whether it can take over."""
        said = self._backend.to_others()
        if said is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "this exporter shares no lease")
        return web.json_response(said)

    async def reload(self, _request: web.Request) -> web.Response:
        """Read the configuration anew. Once begun it is carried through, whether or not the client waits for it."""
        if not self._lifecycle:
            text = "reloading over HTTP is off; start with --web.enable-lifecycle, or send SIGHUP"
            raise Refusal(HTTPStatus.FORBIDDEN, text)
        problems = await asyncio.shield(asyncio.ensure_future(self._backend.reload()))
        if problems:
            lines = ["the configuration was not reloaded, the old one is kept:", *(f"  {problem}" for problem in problems)]
            raise Refusal(HTTPStatus.BAD_REQUEST, "\n".join(lines))
        return web.Response(text="the configuration was reloaded\n")


def _state(name: str, reason: str | None, more: str = "") -> web.Response:
    if reason is not None:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"not {name}: {reason}")
    return web.Response(text=f"{name}\n{more}\n" if more else f"{name}\n")
