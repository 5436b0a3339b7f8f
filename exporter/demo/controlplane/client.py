"""A small client of the API server for those who set it up and play on it. The exporter's own is another."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

__all__ = ["APPLY", "MERGE", "STRATEGIC", "UNREACHABLE", "ApiError", "Client", "Raw"]

Raw = dict[str, Any]
"""An object as the API server has it."""

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

_LINE = 16 * 2**20
"""Longest event of a watch, in bytes: no object is larger than what etcd takes."""


class ApiError(Exception):
    """The API server refuses.

    Attributes:
        status: HTTP status, or the one inside of a watch.
        reason: Its word for it, such as `AlreadyExists`.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class Client:
    """Speaks as one identity, for as long as the context lasts.

    Args:
        server: URL of the API server.
        ca_file: Authority of its certificate; read when the context is entered.
        token: Of whom it speaks for.
    """

    def __init__(self, server: str, ca_file: Path, token: str) -> None:
        self._server = server
        self._ca_file = ca_file
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context(cafile=self._ca_file)
        connector = aiohttp.TCPConnector(ssl=context, limit=50)
        timeout = aiohttp.ClientTimeout(total=30)
        self._session = aiohttp.ClientSession(
            connector=connector, headers=self._headers, timeout=timeout, read_bufsize=_LINE
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Raw:
        """Get an object or a list.

        Raises:
            ApiError: It refuses.
            OSError: It cannot be reached; aiohttp's errors, and TimeoutError.
        """
        return await self.send("GET", path, params=params)

    async def send(
        self,
        method: str,
        path: str,
        body: Raw | None = None,
        content_type: str = "application/json",
        params: Mapping[str, str] | None = None,
    ) -> Raw:
        """Send a request.

        Raises:
            ApiError: It refuses.
            OSError: It cannot be reached; aiohttp's errors, and TimeoutError.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type}
        assert self._session is not None, "the client is not open"  # noqa: S101 - a mistake of ours
        async with self._session.request(method, self._server + path, data=data, headers=headers, params=params) as answer:
            text = await answer.text()
            try:
                raw: Raw = json.loads(text)
            except ValueError:
                raise ApiError(answer.status, "", text[:500]) from None  # not ready yet, or a proxy
            if answer.status >= 400:
                raise ApiError(answer.status, str(raw.get("reason", "")), str(raw.get("message", raw)))
            return raw

    async def list(self, path: str, params: Mapping[str, str] | None = None) -> tuple[list[Raw], str]:
        """List objects in pages; return them and the version that a watch may go on from."""
        found: list[Raw] = []
        cursor = ""
        while True:
            page = {**(params or {}), "limit": "500"} | ({"continue": cursor} if cursor else {})
            raw = await self.get(path, page)
            found += raw["items"]
            cursor = raw["metadata"].get("continue", "")
            if not cursor:
                return found, str(raw["metadata"]["resourceVersion"])

    async def watch(
        self, path: str, version: str, params: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[str, Raw]]:
        """Yield what happens after a version, as (type, object), until the API server ends it after five minutes.

        Raises:
            ApiError: It refuses, also when the version is too old (410).
        """
        asked = {**(params or {}), "watch": "1", "resourceVersion": version, "timeoutSeconds": "300"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=330)
        assert self._session is not None, "the client is not open"  # noqa: S101 - a mistake of ours
        async with self._session.get(self._server + path, params=asked, timeout=timeout) as answer:
            if answer.status >= 400:
                raise ApiError(answer.status, "", (await answer.text())[:500])
            while line := await answer.content.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(
                        event["object"].get("code", 0), event["object"].get("reason", ""), event["object"].get("message", "")
                    )
                yield event["type"], event["object"]


UNREACHABLE = (aiohttp.ClientError, OSError, asyncio.TimeoutError)
"""What is raised where the API server is away."""
