"""Logins that wait for their hash: whose turn it is, and who gives way where too many wait.

A right login that nobody has seen before looks like a guess until it is hashed, which costs a second of a core where an
operator wants it to. So guesses are put behind it by what tells them apart beforehand:

- what is known to be wrong already is hashed for appearances, and only while nothing else waits;
- a client of which guesses have been wrong, or that has others waiting, waits for those that have fewer;
- within a client, one that was turned away and has come again goes before one that is new: a scraper asks with the one
  password that it has, and a guess that comes again is one guess less.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

__all__ = ["Login", "Queue", "TurnedAway"]

_WAITING, _WAITING_OF_CLIENT = 32, 2
"""Logins that wait or are being hashed, and of one client, of either kind: those known to be wrong, and the others."""

_CLIENTS = 1024
"""Clients whose wrong guesses are counted while somebody waits."""

_BITS = 1 << 20
_REMEMBERED = 60.0
"""Seconds for which those who were turned away are remembered at least, and half of those for which they are at most."""

_clock = time.monotonic


@dataclass(eq=False, slots=True)
class Login:
    """One that waits for its hash, or is being hashed.

    Attributes:
        mark: What it is known by, which tells nothing of the password.
        hashed: What it is held against.
        password: What was given.
        client: Whom it comes from.
        hopeless: Whether it is known to be wrong.
        again: Whether it was turned away lately.
        ahead: How many of its client, and of its kind, were there before.
        outcome: Whether the password is that of the hash; None where it was turned away.
    """

    mark: bytes
    hashed: str
    password: bytes
    client: Hashable
    hopeless: bool
    again: bool
    ahead: int = 0
    outcome: asyncio.Future[bool | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Queue:
    """Gives each login its turn, one at a time.

    Args:
        check: Tells whether a password is that of a hash; takes as long as it takes.
        away: Who was turned away.
    """

    def __init__(self, check: Callable[[Login], asyncio.Future[bool]], away: TurnedAway) -> None:
        self._check = check
        self._away = away
        self._waiting: dict[Login, int] = {}
        self._under_way: Login | None = None
        self._task: asyncio.Task[None] | None = None
        self._of_clients: Counter[Hashable] = Counter()
        self._number = 0

    def add(self, login: Login) -> None:
        """Let a login wait. Where too many do, the one whose turn would come last is turned away, this one or another."""

        def is_like_it(each: Login) -> bool:
            return (each.hopeless, each.client) == (login.hopeless, login.client)

        login.ahead = sum(map(is_like_it, self._all()))
        self._number += 1
        self._waiting[login] = self._number
        self._make_room(_WAITING_OF_CLIENT, is_like_it)
        self._make_room(_WAITING, lambda each: each.hopeless == login.hopeless)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="web: logins")

    def close(self) -> None:
        """Turn away all that wait."""
        if self._task is not None:
            self._task.cancel()
        for login in self._all():
            login.outcome.cancel()
        self._waiting.clear()

    def _all(self) -> list[Login]:
        return [*self._waiting, *([self._under_way] if self._under_way is not None else ())]

    def _make_room(self, most: int, counts: Callable[[Login], bool]) -> None:
        if sum(map(counts, self._all())) > most:
            self._turn_away(max(filter(counts, self._waiting), key=self._order))

    def _order(self, login: Login) -> tuple[bool, int, bool, int]:
        before = self._of_clients[login.client] + (0 if login.again else login.ahead)
        return login.hopeless, before, not login.again, self._waiting[login]

    def _turn_away(self, login: Login) -> None:
        del self._waiting[login]
        self._away.note(login.mark)
        login.outcome.set_result(None)

    async def _run(self) -> None:
        while self._waiting:
            login = self._under_way = min(self._waiting, key=self._order)
            del self._waiting[login]
            try:
                self._tell(login, await self._check(login))
            except Exception as error:
                login.outcome.set_exception(error)
            finally:
                self._under_way = None
        self._of_clients.clear()
        self._task = None

    def _tell(self, login: Login, right: bool) -> None:
        if not right and (login.client in self._of_clients or len(self._of_clients) < _CLIENTS):
            self._of_clients[login.client] += 1
        login.outcome.set_result(right)


class TurnedAway:
    """Which logins were turned away in the last minute or two, in a fixed amount of memory: a Bloom filter.

    Another login is now and then taken for one of them; that gains it a place, and nothing else.
    """

    def __init__(self) -> None:
        self._now, self._before = bytearray(), bytearray()
        self._until = 0.0

    def note(self, mark: bytes) -> None:
        """Remember one."""
        self._age()
        self._now = self._now or bytearray(_BITS // 8)
        for bit in _bits(mark):
            self._now[bit // 8] |= 1 << bit % 8

    def __contains__(self, mark: bytes) -> bool:
        self._age()
        bits = _bits(mark)
        return any(all(each[bit // 8] >> bit % 8 & 1 for bit in bits) for each in (self._now, self._before) if each)

    def _age(self) -> None:
        now = _clock()
        if now >= self._until:
            self._before = self._now if now < self._until + _REMEMBERED else bytearray()
            self._now, self._until = bytearray(), now + _REMEMBERED


def _bits(mark: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(mark[start : start + 4], "big") % _BITS for start in (0, 4, 8))
