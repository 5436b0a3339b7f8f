"""Requests to the API server: raw JSON, bounded, each with a deadline, failures named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from exporter.verdict import Failure, Reason, Stage

__all__ = ["Api", "Conflict", "Expired"]


class Expired(Failure):
    """410: the resource version or the continue token is too old; list again."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(Stage.CHECK, Reason.HTTP_STATUS, detail)


class Conflict(Failure):
    """409: someone else has written meanwhile, or it is there already."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(Stage.CHECK, Reason.HTTP_STATUS, detail)


class Api(Protocol):
    """The API server of one cluster."""

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return an answer.

        Raises:
            Failure: In the words of the API server, or of the network.
            Expired: 410.
        """

    async def send(
        self, method: str, path: str, body: Mapping[str, Any], content_type: str = "application/json"
    ) -> dict[str, Any]:
        """Send a change and return the answer; raises as `get` does.

        Raises:
            Conflict: 409.
        """

    def stream(self, path: str, params: Mapping[str, str]) -> AsyncIterator[bytes]:
        """Yield the lines of an answer as they come; raises as `get` does."""
