"""Applications that answer as a test has them: paths and what they say, on ports of loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

__all__ = ["application"]


@asynccontextmanager
async def application(
    answers: Mapping[str, Any], *, login: str | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[int]:
    """Serve JSON by path, 404 elsewhere, for as long as the block lasts; give the port.

    Args:
        answers: By path: what is answered, or a status and that.
        login: Value of the header Authorization without which everything is 401.
        host: Address of this machine.
        port: On it; 0: any that is free.
    """

    async def answer(request: web.Request) -> web.Response:
        if login is not None and request.headers.get("Authorization") != login:
            return web.Response(status=401)
        if request.path not in answers:
            return web.Response(status=404)
        said = answers[request.path]
        status, body = said if isinstance(said, tuple) else (200, said)
        return web.Response(status=status, text=json.dumps(body), content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
