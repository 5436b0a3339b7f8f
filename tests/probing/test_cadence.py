"""What is not done at every attempt, and steps that are made in turn."""

from __future__ import annotations

import asyncio

import pytest

from exporter.probing.cadence import Every, Step, Turn, in_turn


def occasions(every: Every, number: int, *, done: bool = True) -> list[bool]:
    """Whether it was due at each of so many occasions, and done if so."""
    found = []
    for _ in range(number):
        found.append(every.due)
        if every.due and done:
            every.done()
        every.passed()
    return found


def test_it_is_due_at_the_first_of_so_many_occasions() -> None:
    assert occasions(Every(3), 7) == [True, False, False, True, False, False, True]
    assert occasions(Every(1), 3) == [True, True, True]


def test_it_stays_due_until_it_is_done() -> None:
    every = Every(2)
    assert occasions(every, 3, done=False) == [True, True, True]
    assert occasions(every, 3) == [True, False, True]


def test_it_can_be_made_due_at_once() -> None:
    every = Every(9)
    occasions(every, 2)
    every.at_once()
    assert every.due


class Steps:
    """Steps that note when they begin and end, and in which turn; each takes the seconds that it is told to."""

    def __init__(self, **seconds: float) -> None:
        self.log: list[str] = []
        self.turns: dict[str, Turn] = {}
        self.steps: list[Step] = [self._step(name, took) for name, took in seconds.items()]

    def _step(self, name: str, seconds: float) -> Step:
        async def step(turn: Turn) -> None:
            self.turns[name] = turn
            self.log.append(f"{name} begins")
            try:
                await asyncio.sleep(abs(seconds))
                if seconds < 0:
                    raise LookupError(name)
                self.log.append(f"{name} ends")
            except asyncio.CancelledError:
                self.log.append(f"{name} is cut")
                raise

        return step


@pytest.mark.looptime
async def test_steps_are_made_one_after_the_other() -> None:
    told = Steps(a=1, b=1, c=0)
    await in_turn(told.steps, 10)
    assert told.log == ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]
    assert set(told.turns.values()) == {Turn(aside=False, share=1.0)}


@pytest.mark.looptime
async def test_those_after_one_that_hangs_are_made_beside_it_with_a_share_of_the_time_each() -> None:
    told = Steps(a=1, slow=10, b=1, c=1)
    await in_turn(told.steps, 3)
    assert told.log == [
        "a begins", "a ends", "slow begins", "b begins", "b ends", "c begins", "c ends", "slow ends"
    ]  # fmt: skip
    assert (told.turns["b"], told.turns["c"]) == (Turn(aside=True, share=1 / 2), Turn(aside=True, share=1.0))


@pytest.mark.looptime
async def test_one_that_may_not_be_passed_is_waited_for_longer() -> None:
    told = Steps(slow=10, b=1)
    passable = False

    def may_pass() -> bool:
        return passable

    task = asyncio.create_task(in_turn(told.steps, 2, may_pass=may_pass))
    await asyncio.sleep(5)
    assert told.log == ["slow begins"]
    passable = True
    await task
    assert told.log == ["slow begins", "b begins", "b ends", "slow ends"]


@pytest.mark.looptime
async def test_after_one_that_raises_there_are_no_more() -> None:
    told = Steps(a=-1, b=1)
    with pytest.raises(LookupError):
        await in_turn(told.steps, 3)
    assert told.log == ["a begins"]


@pytest.mark.looptime
async def test_what_was_begun_beside_one_that_raises_is_still_waited_for() -> None:
    told = Steps(a=-4, b=5)
    with pytest.raises(LookupError):
        await in_turn(told.steps, 3)
    assert told.log == ["a begins", "b begins", "b ends"]


@pytest.mark.looptime
@pytest.mark.parametrize("after", [4, 11])
async def test_a_deadline_leaves_nothing_running(after: float) -> None:
    """Whether the one that hangs is still under way, or those beside it alone."""
    told = Steps(a=10, b=20)
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(after):
            await in_turn(told.steps, 3)
    assert asyncio.all_tasks() == before
    assert told.log[-1] == ("a is cut" if after == 4 else "b is cut") or "b is cut" in told.log
