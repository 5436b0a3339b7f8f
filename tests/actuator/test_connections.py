"""Warm and cold connections: when a new one is due, and what is known of both."""

from __future__ import annotations

from exporter.actuator.connections import CONNECT_SECONDS, EXCHANGE_SECONDS, Connections, Turns
from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason, Stage

COLD = {Stage.RESOLVE: 0.125, Stage.CONNECT: 0.25, Stage.TLS: 0.125, Stage.SEND: 0.5, Stage.WAIT: 1.0, Stage.RECEIVE: 2.0}
WARM = {Stage.SEND: 0.25, Stage.WAIT: 1.5, Stage.RECEIVE: 0.25}


def took(connections: Connections, *, reused: bool, phases: dict[Stage, float]) -> dict[str, float]:
    """An exchange that worked; what is then recorded, by `warm`, `cold` and `connect`."""
    attempt = Attempt(5, lambda error, stage: Failure(stage, Reason.INTERNAL))
    attempt.phases.update(phases)
    connections.took(reused, attempt)
    found = {connection: seconds for (connection,), seconds in attempt.samples[EXCHANGE_SECONDS].items()}
    if CONNECT_SECONDS in attempt.samples:
        found["connect"] = attempt.samples[CONNECT_SECONDS][()]
    return found


def turns(every: int, reused: list[bool]) -> list[bool]:
    """Whether a new connection was due before each exchange, and after the last."""
    found, under_test = [], Turns(every)
    for one in reused:
        found.append(under_test.fresh)
        under_test.worked(reused=one)
    return [*found, under_test.fresh]


def test_a_new_connection_is_due_after_so_many_kept_ones_in_a_row() -> None:
    assert turns(3, [False, True, True, True, False, True]) == [False, False, False, False, True, False, False]
    assert turns(1, [False, True, False, True]) == [False, False, True, False, True]


def test_a_new_connection_that_was_not_asked_for_counts_too() -> None:
    """A server that restarts has just shown that it takes new ones."""
    assert turns(2, [False, True, False, True, True]) == [False] * 5 + [True]


def test_zero_is_never() -> None:
    assert not any(turns(0, [False, *[True] * 100]))


def test_an_exchange_that_fails_leaves_a_new_connection_due() -> None:
    """Nothing is told to `Turns` then."""
    under_test = Turns(1)
    under_test.worked(reused=True)
    assert [under_test.fresh, under_test.fresh] == [True, True]


async def test_both_kinds_are_held_side_by_side() -> None:
    connections = Connections(1)
    assert took(connections, reused=False, phases=COLD) == {"cold": 4.0, "connect": 0.5}
    assert took(connections, reused=True, phases=WARM) == {"warm": 2.0, "cold": 4.0, "connect": 0.5}
    assert connections.fresh
    found = took(connections, reused=False, phases={Stage.CONNECT: 0.5, Stage.WAIT: 0.5})
    assert found == {"warm": 2.0, "cold": 1.0, "connect": 0.5}


async def test_a_failure_withdraws_what_it_would_have_replaced() -> None:
    connections = Connections(20)
    took(connections, reused=False, phases=COLD)
    took(connections, reused=True, phases=WARM)
    connections.failed(fresh=True)
    assert took(connections, reused=True, phases=WARM) == {"warm": 2.0}
    connections.failed(fresh=False)
    assert took(connections, reused=False, phases=COLD) == {"cold": 4.0, "connect": 0.5}


async def test_where_no_connection_is_kept_any_more_the_time_of_a_kept_one_is_withdrawn() -> None:
    """Else a server that was told not to keep connections would show what one took, for ever."""
    connections = Connections(20)
    took(connections, reused=True, phases=WARM)
    assert took(connections, reused=False, phases=COLD) == {"cold": 4.0, "connect": 0.5}
