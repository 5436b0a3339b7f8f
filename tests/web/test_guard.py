"""Who may hold a connection, and who gives way."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from exporter.web.guard import STALLED, Closed, Guard


class Seat:
    """A connection."""

    def __init__(self, host: str = "192.0.2.1") -> None:
        self.host = host
        self.stalled_since: float | None = None
        self.aborted = False

    def abort(self) -> None:
        """Note it."""
        self.aborted = True


def seats(guard: Guard, number: int, host: str) -> list[Seat]:
    """Take so many seats."""
    taken = [Seat(host) for _ in range(number)]
    assert all(guard.admit(seat) for seat in taken)
    return taken


async def test_a_new_connection_takes_the_place_of_the_one_idle_for_longest() -> None:
    closed: Counter[Closed] = Counter()
    guard = Guard(3, lambda why: closed.update([why]))
    first, second, third = seats(guard, 3, "192.0.2.1")
    guard.busy(first)
    guard.idle(first)
    assert guard.admit(Seat())
    assert (first.aborted, second.aborted, third.aborted) == (False, True, False)
    assert (len(guard), closed) == (3, {Closed.TAKEN_BACK: 1})


async def test_who_holds_the_most_gives_way_first_whoever_has_been_idle_for_longest() -> None:
    guard = Guard(10)
    (scraper,) = seats(guard, 1, "192.0.2.1")
    attackers = seats(guard, 9, "192.0.2.66")
    for _ in range(100):
        assert guard.admit(Seat("192.0.2.66"))
    assert not scraper.aborted
    assert all(seat.aborted for seat in attackers)
    assert len(guard) == 10


@pytest.mark.parametrize("host", ["2001:db8::1", "::ffff:192.0.2.66"])
async def test_of_ipv6_a_network_is_one_client(host: str) -> None:
    guard = Guard(4)
    (scraper,) = seats(guard, 1, "192.0.2.1")
    same = ["2001:db8::2", "2001:db8::3", "2001:db8::4"] if host.startswith("2001") else ["192.0.2.66"] * 3
    attackers = [seats(guard, 1, name)[0] for name in same]
    assert guard.admit(Seat(host))
    assert not scraper.aborted
    assert [seat.aborted for seat in attackers] == [True, False, False]


async def test_who_is_being_answered_keeps_the_connection_unless_it_does_not_read() -> None:
    closed: Counter[Closed] = Counter()
    guard = Guard(2, lambda why: closed.update([why]))
    reading, stalled = seats(guard, 2, "192.0.2.1")
    guard.busy(reading)
    guard.busy(stalled)
    stalled.stalled_since = asyncio.get_running_loop().time()
    assert not guard.admit(Seat())
    stalled.stalled_since -= STALLED
    assert guard.admit(Seat())
    assert (reading.aborted, stalled.aborted) == (False, True)
    assert closed == {Closed.TURNED_AWAY: 1, Closed.TAKEN_BACK: 1}


async def test_what_is_left_twice_is_left_once_and_nothing_is_kept() -> None:
    guard = Guard(5)
    for host in ("192.0.2.1", "2001:db8::1", "", "fe80::1%eth0"):
        (seat,) = seats(guard, 1, host)
        guard.busy(seat)
        guard.leave(seat)
        guard.leave(seat)
        guard.idle(seat)
        guard.busy(seat)
    assert len(guard) == 0
    assert vars(guard)["_clients"] == {}


async def test_a_guard_without_seats_turns_all_away() -> None:
    guard = Guard(0)
    assert not guard.admit(Seat())
