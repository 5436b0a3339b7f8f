"""The other exporters of a lease, asked while the API server cannot be reached: can one of them take over?"""

from __future__ import annotations

import asyncio
import json

from yarl import URL

from exporter.net.http import HttpClient
from exporter.net.phases import NoPhases
from exporter.net.resolver import Resolver
from exporter.ownership.settings import Peers
from exporter.verdict import Failure, Reason, Stage

__all__ = ["PATH", "OtherExporters"]

PATH = "/-/lease"
"""Where an exporter says what it is to the others."""

_MOST = 16
"""Addresses that are asked; of more, the lease is not for this."""

_LARGEST = 4096


class OtherExporters:
    """All that are found under a name, without oneself.

    Args:
        settings: Where they are.
        identity: Of this process.
        http: Asks them.
        resolver: Finds them.
    """

    def __init__(self, settings: Peers, identity: str, http: HttpClient, resolver: Resolver) -> None:
        self._settings = settings
        self._identity = identity
        self._http = http
        self._resolver = resolver

    async def wait(self) -> bool:
        """Ask whether every one of them says that it cannot take over for now. Nobody there is no answer: who has been cut
        off from everything must not go on leading.

        Raises:
            Failure: They cannot be found, or one cannot be asked.
        """
        found = await self._resolver.resolve(self._settings.dns, fresh=True)
        if len(found) > _MOST:
            raise Failure(Stage.RESOLVE, Reason.PROTOCOL, f"{self._settings.dns} has {len(found)} addresses")
        said = await asyncio.gather(*(self._ask(address) for address in found))
        others = [waits for identity, waits in said if identity != self._identity]
        return bool(others) and all(others)

    async def _ask(self, host: str) -> tuple[str, bool]:
        url = URL.build(scheme="http", host=host, port=self._settings.port, path=PATH)
        answer = await self._http.get(url, NoPhases(), max_bytes=_LARGEST, fresh=True)
        try:
            said = json.loads(answer.body)
        except (ValueError, RecursionError):
            said = None
        if answer.status != 200 or not isinstance(said, dict) or not isinstance(said.get("identity"), str):
            raise Failure(Stage.CHECK, Reason.PROTOCOL, f"{host} does not say what it is to the others")
        return said["identity"], said.get("waits") is True
