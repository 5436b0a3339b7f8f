"""Attempts on demand: strangers may ask for them, and the target does not pay for it."""

from __future__ import annotations

import asyncio

import pytest

from exporter.engine import asked
from exporter.engine.asked import Asked
from exporter.probing.runner import Outcome
from exporter.verdict import Verdict

KEY, OTHER = ("vault", "actuator", "h:1"), ("vault", "actuator", "h:2")


class Target:
    """Counts who comes."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.cancelled = 0
        self.go = asyncio.Event()
        self.go.set()

    async def attempt(self) -> Outcome:
        loop = asyncio.get_running_loop()
        self.began.append(loop.time())
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Outcome(Verdict.UP, None, loop.time(), 0.0)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of a second between attempts."""
    monkeypatch.setattr(asked, "SPACING", 0.2)


async def test_a_hundred_who_ask_at_once_are_one_attempt() -> None:
    target, all_asked = Target(), Asked()
    outcomes = await asyncio.gather(*(all_asked.attempt(KEY, target.attempt) for _ in range(100)))
    assert len(target.began) == 1
    assert len({outcome.finished_at for outcome in outcomes}) == 1


async def test_whoever_asks_again_and_again_is_answered_as_often_as_a_target_bears() -> None:
    """And each by an attempt that began after they asked: what was before a repair is not told as what is."""
    loop, target, all_asked = asyncio.get_running_loop(), Target(), Asked()
    ends = loop.time() + 0.7

    async def hammer() -> None:
        while loop.time() < ends:
            at = loop.time()
            await all_asked.attempt(KEY, target.attempt)
            assert target.began[-1] >= at

    await asyncio.gather(*(hammer() for _ in range(20)))
    assert 2 <= len(target.began) <= 6
    assert all(later - before >= 0.19 for before, later in zip(target.began, target.began[1:], strict=False))


async def test_targets_do_not_wait_for_each_other() -> None:
    one, other, all_asked = Target(), Target(), Asked()
    one.go.clear()
    held = asyncio.create_task(all_asked.attempt(KEY, one.attempt))
    async with asyncio.timeout(10):
        await all_asked.attempt(OTHER, other.attempt)
    one.go.set()
    await held


async def test_one_who_goes_away_takes_nothing_from_the_others_and_the_last_ends_the_attempt() -> None:
    target, all_asked = Target(), Asked()
    target.go.clear()
    first, second = (asyncio.create_task(all_asked.attempt(KEY, target.attempt)) for _ in range(2))
    while not target.began:
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert target.cancelled == 0
    second.cancel()
    await asyncio.wait([second])
    await asyncio.sleep(0)
    assert target.cancelled == 1


async def test_one_who_goes_away_while_waiting_leaves_the_turn_to_who_comes_next() -> None:
    target, all_asked = Target(), Asked()
    await all_asked.attempt(KEY, target.attempt)
    impatient = asyncio.create_task(all_asked.attempt(KEY, target.attempt))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    await all_asked.attempt(KEY, target.attempt)
    assert len(target.began) == 2


async def test_nothing_is_remembered_of_targets_that_nobody_asks_for_any_more() -> None:
    target, all_asked = Target(), Asked()
    for n in range(50):
        await all_asked.attempt(("s", "tls", str(n)), target.attempt)
    async with asyncio.timeout(10):
        while all_asked._began:
            await asyncio.sleep(0.02)
    assert not all_asked._next
