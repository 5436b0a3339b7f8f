"""Places for attempts: handed out in order, given back whatever happens, with a lane for targets in trouble."""

from __future__ import annotations

import asyncio

import pytest

from exporter.engine.slots import Lane, Slots

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


async def hold(slots: Slots, host: str, lane: Lane, seconds: float, log: list[str]) -> None:
    await slots.take(host, lane)
    log.append(host)
    try:
        await asyncio.sleep(seconds)
    finally:
        slots.give(host, lane)


async def test_targets_in_trouble_leave_half_of_the_places_to_the_others() -> None:
    slots, log = Slots(10, 10), list[str]()
    troubled = [asyncio.create_task(hold(slots, f"t{n}", Lane.TROUBLED, 100, log)) for n in range(20)]
    await asyncio.sleep(1)
    assert slots.taken == 5
    well = [asyncio.create_task(hold(slots, f"w{n}", Lane.WELL, 1, log)) for n in range(5)]
    await asyncio.sleep(0.1)
    assert slots.taken == 10
    assert log[5:] == [f"w{n}" for n in range(5)]
    await asyncio.gather(*well, *troubled)
    assert slots.taken == 0


async def test_places_are_handed_out_in_the_order_of_asking() -> None:
    slots, log = Slots(1, 10), list[str]()
    await asyncio.gather(*(hold(slots, f"{n}", Lane.WELL, 1, log) for n in range(5)))
    assert log == [f"{n}" for n in range(5)]


@pytest.mark.parametrize("lane", Lane)
async def test_whoever_gives_up_waiting_holds_nothing(lane: Lane) -> None:
    slots, log = Slots(2, 1), list[str]()
    holder = asyncio.create_task(hold(slots, "a", lane, 10, log))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(hold(slots, host, lane, 10, log)) for host in ("a", "a", "b", "c")]
    await asyncio.sleep(1)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await holder
    assert slots.taken == 0
    await asyncio.gather(*(hold(slots, host, lane, 1, log) for host in ("a", "b", "c")))
    assert slots.taken == 0
    assert slots._hosts == {}


async def test_a_place_that_is_handed_to_someone_who_just_gave_up_goes_to_the_next() -> None:
    slots, log = Slots(1, 10), list[str]()
    await slots.take("a", Lane.WELL)
    first = asyncio.create_task(hold(slots, "b", Lane.WELL, 1, log))
    second = asyncio.create_task(hold(slots, "c", Lane.WELL, 1, log))
    await asyncio.sleep(0.1)
    slots.give("a", Lane.WELL)
    first.cancel()  # its place was given to it in the same turn
    await asyncio.gather(first, second, return_exceptions=True)
    assert log == ["c"]
    assert slots.taken == 0


async def test_other_bounds_are_taken_in_while_places_are_held() -> None:
    slots, log = Slots(2, 1), list[str]()
    tasks = [asyncio.create_task(hold(slots, f"{n}", Lane.WELL, 10, log)) for n in range(6)]
    await asyncio.sleep(1)
    assert slots.taken == 2
    slots.resize(5, 1)
    await asyncio.sleep(0)
    assert slots.taken == 5
    slots.resize(1, 1)
    await asyncio.gather(*tasks)
    assert slots.taken == 0
