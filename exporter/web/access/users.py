"""Basic auth: whether a user has given the right password, at a bounded cost to everybody else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial

import bcrypt
from pydantic import SecretStr

from exporter.net.pool import started_pool
from exporter.web.access.queue import Login, Queue, TurnedAway
from exporter.web.guard import client_of

__all__ = ["Busy", "Logins"]

_REMEMBERED = 128
"""Logins whose outcome is remembered, of each outcome; it takes no hash to find the one of before."""

_LONGEST = 72
"""Bytes of a password that bcrypt looks at."""


class Busy(Exception):  # noqa: N818 - it says what is the matter
    """Too many logins are waiting for their hash."""


class Logins:
    """Checks passwords against bcrypt hashes, one at a time, in a thread of its own.

    A login that was right is remembered, by a keyed digest and not as what it is, so that whoever is in stays in while
    strangers guess. Once a user's password has been right, any other is wrong. Names that do not exist cost as much as those
    that do, and so does what is known to be wrong.
    """

    def __init__(self) -> None:
        self._thread = started_pool(1, "web-login")
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._proved: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._under_way: dict[bytes, Login] = {}
        self._away = TurnedAway()
        self._queue = Queue(self._compare, self._away)

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
        given = password.encode("utf-8", "surrogatepass")[:_LONGEST]
        mark = self._digest("a user" if hashed is not None else "nobody", user, against, given)
        if mark in self._right:
            self._right.move_to_end(mark)
            return True
        if mark in self._wrong:
            return False
        login = self._under_way.get(mark)
        if login is None:
            whose = self._digest("hash", user, against) if hashed is not None else None
            hopeless, again = whose is None or whose in self._proved, mark in self._away
            login = Login(mark, against, given, client_of(host), hopeless=hopeless, again=again)
            self._begin(login, whose)
        fits = await asyncio.shield(login.outcome)
        if fits is None:
            raise Busy
        return fits and hashed is not None

    def _begin(self, login: Login, whose: bytes | None) -> None:
        """Have a login wait for its hash. What came of it is remembered also where whoever asked has left."""
        self._under_way[login.mark] = login
        login.outcome.add_done_callback(partial(self._ended, login.mark, whose))
        self._queue.add(login)

    def _ended(self, mark: bytes, whose: bytes | None, outcome: asyncio.Future[bool | None]) -> None:
        del self._under_way[mark]
        if outcome.cancelled() or outcome.exception() is not None or outcome.result() is None:
            return
        if outcome.result() and whose is not None:
            _keep(self._right, mark)
            _keep(self._proved, whose)
        else:
            _keep(self._wrong, mark)

    def close(self) -> None:
        """Drop what waits."""
        self._queue.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _compare(self, login: Login) -> asyncio.Future[bool]:
        return asyncio.get_running_loop().run_in_executor(self._thread, _matches, login.password, login.hashed)

    def _digest(self, *parts: str | bytes) -> bytes:
        """Return what a login is remembered by; another hash of the same user is another login."""
        encoded = (part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass") for part in parts)
        text = b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
        return hmac.digest(self._key, text, hashlib.sha256)


def _keep(outcomes: OrderedDict[bytes, None], mark: bytes) -> None:
    outcomes[mark] = None
    outcomes.move_to_end(mark)
    if len(outcomes) > _REMEMBERED:
        outcomes.popitem(last=False)


def _matches(password: bytes, hashed: str) -> bool:
    try:
        return bcrypt.checkpw(password, hashed.encode())
    except ValueError:
        return False
