"""Probes that are run for whoever asks: so many at once, within a deadline, and none once the exporter is ending."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

from aiohttp import hdrs

from exporter.web.backend import Backend, UnknownTarget
from exporter.web.limits import ServerLimits
from exporter.web.refusal import Refusal

__all__ = ["OnDemand"]

T = TypeVar("T")


class OnDemand:
    """What all who ask for probes share.

    Args:
        backend: The daemon.
        limits: What clients may use.
    """

    def __init__(self, backend: Backend, limits: ServerLimits) -> None:
        self._backend = backend
        self._limits = limits
        self._running = 0

    async def run(self, probe: Callable[[], Awaitable[T]]) -> T:
        """Run a probe.

        Raises:
            Refusal: There is no such target, too many are being run, or it did not end in time.
        """
        ending = self._backend.healthy()
        if ending is not None:
            raise _busy(ending)
        if self._running >= self._limits.probes:
            raise _busy("too many probes are being run on demand")
        self._running += 1
        try:
            async with asyncio.timeout(self._limits.probe):
                return await probe()
        except UnknownTarget as error:
            raise Refusal(HTTPStatus.NOT_FOUND, str(error)) from error
        except TimeoutError as error:
            raise _busy(f"the probe did not end within {self._limits.probe:g} s") from error
        finally:
            self._running -= 1


def _busy(text: str) -> Refusal:
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, text, {hdrs.RETRY_AFTER: "5"})
