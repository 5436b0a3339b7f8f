"""Basic auth: whether a user has given the right password, at a bounded cost to everybody else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping

import bcrypt
from pydantic import SecretStr

from exporter.net.pool import started_pool
from exporter.web.guard import client_of

__all__ = ["Busy", "Logins"]

_REMEMBERED = 128
"""Logins whose outcome is remembered, of each outcome; it takes no hash to find the one of before."""

_WAITING, _WAITING_OF_CLIENT = 32, 2
"""Logins that wait for their hash, and of one client: at 70 ms a hash, more would be an attack."""

_LONGEST = 72
"""Bytes of a password that bcrypt looks at."""


class Busy(Exception):  # noqa: N818 - it says what is the matter
    """Too many logins are waiting for their hash."""


class Logins:
    """Checks passwords against bcrypt hashes, one at a time, in a thread of its own.

    A login that was right is remembered, by a keyed digest and not as what it is, so that whoever is in stays in while
    strangers guess. Names that do not exist cost as much as those that do.
    """

    def __init__(self) -> None:
        self._thread = started_pool(1, "web-login")
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Future[bool]] = {}
        self._of_clients: Counter[Hashable] = Counter()

    async def right(self, users: Mapping[str, SecretStr], user: str, password: str, host: str) -> bool:
        """Tell whether a password is a user's.

        Args:
            users: The hash of each user.
            user: Who it is said to be.
            password: What was given.
            host: The address it comes from.

        Raises:
            Busy: Too many wait, over all or of this client.
        """
        hashed = users.get(user)
        against = (hashed or next(iter(users.values()))).get_secret_value()
        mark = self._digest(user, against, password, known=hashed is not None)
        if mark in self._right:
            self._right.move_to_end(mark)
            return True
        if mark in self._wrong:
            return False
        found, client = self._under_way.get(mark), client_of(host)
        if found is None:
            if len(self._under_way) >= _WAITING or self._of_clients[client] >= _WAITING_OF_CLIENT:
                raise Busy
            self._of_clients[client] += 1
            found = self._under_way[mark] = asyncio.ensure_future(self._compare(mark, against, password, client))
        return await asyncio.shield(found) and hashed is not None

    def close(self) -> None:
        """Drop what waits."""
        for check in self._under_way.values():
            check.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _compare(self, mark: bytes, hashed: str, password: str, client: Hashable) -> bool:
        try:
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._thread, _matches, password, hashed)
        finally:
            del self._under_way[mark]
            self._of_clients[client] -= 1
            if not self._of_clients[client]:
                del self._of_clients[client]
        outcome = self._right if right and mark[:1] == b"k" else self._wrong
        outcome[mark] = None
        if len(outcome) > _REMEMBERED:
            outcome.popitem(last=False)
        return right

    def _digest(self, user: str, hashed: str, password: str, *, known: bool) -> bytes:
        """Return what a login is remembered by; another hash of the same user is another login."""
        parts = (part.encode("utf-8", "surrogatepass") for part in (user, hashed, password))
        text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return (b"k" if known else b"u") + hmac.digest(self._key, text, hashlib.sha256)


def _matches(password: str, hashed: str) -> bool:
    given = password.encode("utf-8", "surrogatepass")[:_LONGEST]
    try:
        return bcrypt.checkpw(given, hashed.encode())
    except ValueError:
        return False
