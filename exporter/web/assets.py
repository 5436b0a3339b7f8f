"""The pages' style sheet, script and icons: read once, served from memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from aiohttp import hdrs, web

__all__ = ["Assets", "assets_version"]

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_KEEP = "public, max-age=86400"


class Assets:
    """The endpoint `/static/`. The pages add a version to its addresses, so browsers may keep what they got."""

    def __init__(self) -> None:
        self._files = _read()

    def routes(self) -> list[web.RouteDef]:
        """Return what is served here."""
        return [web.get("/static/{name}", self.file)]

    async def file(self, request: web.Request) -> web.Response:
        """Return one file."""
        name = request.match_info["name"]
        if name not in self._files:
            raise web.HTTPNotFound
        headers = {hdrs.CONTENT_TYPE: _TYPES[name.rpartition(".")[2]], hdrs.CACHE_CONTROL: _KEEP}
        return web.Response(body=self._files[name], headers=headers)


@cache
def assets_version() -> str:
    """Return a text that changes with the content of the files."""
    return hashlib.sha256(b"".join(content for _, content in sorted(_read().items()))).hexdigest()[:12]


@cache
def _read() -> Mapping[str, bytes]:
    folder = files("exporter.web") / "static"
    return {item.name: item.read_bytes() for item in folder.iterdir() if item.name.rpartition(".")[2] in _TYPES}
