"""Whose login is hashed next, where a hash takes seconds and many guess."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable

import pytest
from pydantic import SecretStr

from exporter.web.access import queue, users
from exporter.web.access.queue import TurnedAway
from exporter.web.access.users import Busy, Logins
from tests.waiting import eventually

USERS = {"alice": SecretStr("$2b$14$" + "a" * 53), "bob": SecretStr("$2b$14$" + "b" * 53)}
SCRAPER, STRANGER = "192.0.2.1", "192.0.2.66"


class Hashing:
    """Stands for bcrypt: a hash takes as long as it is let, and `right` is everybody's password.

    Attributes:
        begun: The passwords whose hashes were begun.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._go = threading.Semaphore(0)

    def matches(self, password: bytes, _hashed: str) -> bool:
        """Take the place of `users._matches`."""
        self.begun.append(password.decode())
        self._go.acquire()
        return password == b"right"

    async def goes_on(self, number: int) -> None:
        """Let hashes end until so many were begun; the last one of them goes on."""

        async def begun() -> bool:
            return len(self.begun) >= number

        for _ in range(number - max(1, len(self.begun))):
            self._go.release()
        await eventually(begun, 5, f"{number} hashes were begun")

    def end(self) -> None:
        """Let all end."""
        self._go.release(10_000)


@pytest.fixture
async def hashing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hashing]:
    made = Hashing()
    monkeypatch.setattr(users, "_matches", made.matches)
    yield made
    made.end()


@pytest.fixture
async def logins() -> AsyncIterator[Logins]:
    made = Logins()
    yield made
    made.close()


def _ask(logins: Logins, password: str, host: str = STRANGER, user: str = "alice") -> asyncio.Task[bool]:
    return asyncio.create_task(logins.right(USERS, user, password, host))


async def _outcomes(guesses: Iterable[asyncio.Task[bool]]) -> tuple[int, int]:
    """Return how many were wrong, and how many were turned away."""
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    return outcomes.count(False), sum(isinstance(outcome, Busy) for outcome in outcomes)


async def test_a_first_right_login_waits_for_one_guess_however_many_there_are(hashing: Hashing, logins: Logins) -> None:
    """200 at once from 16 addresses: whoever has guessed wrong goes after those who have not."""
    guesses = [_ask(logins, f"guess {n}", f"192.0.2.{100 + n % 16}") for n in range(200)]
    await hashing.goes_on(17)
    right = _ask(logins, "right", SCRAPER)
    await hashing.goes_on(18)
    assert hashing.begun[-1] == "right"
    hashing.end()
    assert await right
    assert await _outcomes(guesses) == (32, 168)


async def test_a_scraper_that_comes_again_goes_before_new_guesses_of_its_address(hashing: Hashing, logins: Logins) -> None:
    """As behind a proxy. For each guess that is turned away another comes, all the time."""
    guesses = [_ask(logins, f"guess {n}") for n in range(200)]
    await hashing.goes_on(1)
    with pytest.raises(Busy):
        await _ask(logins, "right")
    guesses += [_ask(logins, f"more {n}") for n in range(200)]
    again = _ask(logins, "right")
    guesses += [_ask(logins, f"and more {n}") for n in range(200)]
    await hashing.goes_on(2)
    assert hashing.begun == ["guess 0", "right"]
    hashing.end()
    assert await again
    assert await _outcomes(guesses) == (1, 599)


async def test_what_is_known_to_be_wrong_is_hashed_while_nothing_else_waits(hashing: Hashing, logins: Logins) -> None:
    """Names that there are not, and other passwords of who is in: they take a hash's time, and nobody else's."""
    right = _ask(logins, "right")
    await hashing.goes_on(1)
    guesses = [_ask(logins, f"guess {n}", user="carol") for n in range(9)]
    await hashing.goes_on(2)
    assert await right
    guesses += [_ask(logins, f"guess {n}") for n in range(9)]
    first = _ask(logins, "right", user="bob")
    await hashing.goes_on(3)
    assert hashing.begun == ["right", "guess 0", "right"]
    hashing.end()
    assert await first
    assert await _outcomes(guesses) == (2, 16)


async def test_no_more_than_32_wait_and_those_of_who_guessed_wrong_give_way(hashing: Hashing, logins: Logins) -> None:
    guesses = [_ask(logins, f"guess {n}", f"192.0.2.{n}") for n in range(32)]
    await hashing.goes_on(2)
    guesses += [_ask(logins, f"another {n}", f"192.0.2.{n}") for n in range(32)]
    await asyncio.sleep(0)
    right = _ask(logins, "right", "192.0.2.200")
    await eventually(lambda: _waiting(logins, 32), 5, "the others are turned away")
    hashing.end()
    assert await right
    wrong, away = await _outcomes(guesses)
    assert (wrong + away, away) == (64, 32)


async def test_what_came_of_a_login_is_remembered_though_whoever_asked_has_left(hashing: Hashing, logins: Logins) -> None:
    """A scraper whose deadline is shorter than a hash is in at its next scrape."""
    left = _ask(logins, "right")
    await hashing.goes_on(1)
    left.cancel()
    hashing.end()
    await eventually(lambda: _is_in(logins), 5, "the hash has ended")
    assert await _ask(logins, "right")
    assert hashing.begun == ["right"]


async def _waiting(logins: Logins, number: int) -> bool:
    return len(vars(logins)["_under_way"]) == number


async def _is_in(logins: Logins) -> bool:
    return bool(vars(logins)["_right"])


async def test_a_hash_that_fails_fails_who_asked_and_nobody_after(logins: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    def matches(password: bytes, _hashed: str) -> bool:
        if password == b"odd":
            raise ArithmeticError
        return password == b"right"

    monkeypatch.setattr(users, "_matches", matches)
    odd, right = _ask(logins, "odd"), _ask(logins, "right")
    with pytest.raises(ArithmeticError):
        await odd
    assert await right


async def test_who_was_turned_away_is_remembered_for_a_minute_or_two(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1e6
    monkeypatch.setattr(queue, "_clock", lambda: now)
    away, marks = TurnedAway(), [bytes([n]) * 32 for n in range(3)]
    away.note(marks[0])
    now += 59
    away.note(marks[1])
    assert [mark in away for mark in marks] == [True, True, False]
    now += 2
    away.note(marks[2])
    assert [mark in away for mark in marks] == [True, True, True]
    now += 60
    assert [mark in away for mark in marks] == [False, False, True]
    now += 200
    assert [mark in away for mark in marks] == [False, False, False]
