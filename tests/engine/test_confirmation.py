"""How single attempts become a confirmed verdict."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exporter.engine.confirmation import Confirmed
from exporter.probing.probe import Confirmation
from exporter.verdict import Reason, Verdict

U, D, X = Verdict.UP, Verdict.DOWN, Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([U], [U]),
        ([D, D], [X, D]),  # never seen up: one failure proves nothing yet
        ([U, D, U], [U, U, U]),  # one lost attempt pages nobody
        ([U, D, D, D, U], [U, U, D, D, U]),
        ([U, X, U], [U, X, U]),
        ([U, X, D, D], [U, X, X, D]),  # after a blind spell the old verdict is not believed
        ([U, D, X, D], [U, U, X, D]),  # a prober in trouble half the time still finds out
        ([D, D, X, U], [X, D, X, U]),
    ],
)
def test_verdicts(attempts: list[Verdict], expected: list[Verdict]) -> None:
    state = Confirmed(Confirmation())
    shown = []
    for verdict in attempts:
        state.feed(verdict, None if verdict is U else Reason.AUTH if verdict is X else Reason.TIMEOUT)
        shown.append(state.verdict)
    assert shown == expected


def test_coming_back_takes_as_many_successes_as_configured() -> None:
    state = Confirmed(Confirmation(failures=1, successes=2))
    state.feed(D, Reason.TIMEOUT)
    assert not state.feed(U, None)
    assert state.verdict is D
    assert state.feed(U, None)
    assert (state.verdict, state.reason) == (U, None)


@pytest.mark.parametrize("blind", [lambda state: state.feed(X, Reason.AUTH), lambda state: state.stale()])
def test_not_being_able_to_tell_does_not_bring_back_what_was_down(blind: Callable[[Confirmed], bool]) -> None:
    """F14: one unknown between made the first success enough."""
    state = Confirmed(Confirmation(failures=2, successes=3))
    shown = []
    for step in (D, D, "blind", U, U, U):
        blind(state) if step == "blind" else state.feed(Verdict(step), Reason.TIMEOUT if step is D else None)
        shown.append(state.verdict)
    assert shown == [X, D, X, X, X, U]


def test_not_being_able_to_tell_does_not_make_a_success_count_twice() -> None:
    state = Confirmed(Confirmation(failures=1, successes=2))
    for verdict in (D, U, X, U):
        state.feed(verdict, Reason.TIMEOUT if verdict is D else None)
    assert (state.verdict, state.reason) == (X, Reason.UNCONFIRMED)


def test_a_target_that_was_down_before_a_blind_spell_is_down_again_at_once() -> None:
    state = Confirmed(Confirmation(failures=3))
    for verdict in (D, D, D, X, D):
        state.feed(verdict, Reason.TIMEOUT)
    assert state.verdict is D


@pytest.mark.parametrize(
    ("attempts", "unsettled"),
    [
        ([], False), ([U], False), ([U, D], True), ([U, D, D], False), ([U, D, D, D], False), ([U, D, D, U], True),
        ([U, D, D, U, U], False), ([D], True), ([U, D, U], False), ([U, D, X], True),
    ],
)  # fmt: skip
def test_it_is_unsettled_only_while_attempts_say_otherwise_and_are_too_few(attempts: list[Verdict], unsettled: bool) -> None:
    state = Confirmed(Confirmation(failures=2, successes=2))
    for verdict in attempts:
        state.feed(verdict, Reason.TIMEOUT if verdict is not U else None)
    assert state.unsettled is unsettled


def test_before_the_first_attempt_nothing_is_known() -> None:
    state = Confirmed(Confirmation())
    assert (state.verdict, state.reason) == (X, Reason.NOT_YET_PROBED)


def test_an_unconfirmed_first_failure_says_so() -> None:
    state = Confirmed(Confirmation())
    assert not state.feed(D, Reason.TIMEOUT)
    assert state.reason is Reason.UNCONFIRMED


def test_stale_withdraws_the_verdict() -> None:
    state = Confirmed(Confirmation())
    state.feed(U, None)
    assert state.stale()
    assert (state.verdict, state.reason) == (X, Reason.STALE)
    assert not state.stale()
