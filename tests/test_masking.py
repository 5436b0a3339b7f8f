"""Secrets of our own in what others say."""

from __future__ import annotations

import pytest

from exporter import masking
from exporter.masking import cut, mask_own, remember
from exporter.verdict import Failure, Reason, Stage

SECRET = "correct-horse-battery"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secrets of other tests."""
    monkeypatch.setattr(masking, "_own", {})


def test_one_that_is_in_use_is_not_pushed_out_by_tokens_that_are_issued_anew() -> None:
    for n in range(1000):
        remember(SECRET)
        remember(f"token-{n}")
    assert mask_own(f"no {SECRET} token-999") == "no *** ***"


def test_one_that_is_a_part_of_another_leaves_nothing_of_it() -> None:
    remember(SECRET[:10])
    remember(SECRET)
    assert mask_own(SECRET) == "***"


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("shift", range(-2, len(SECRET) + 2))
def test_a_cut_shows_no_part_of_one(shift: int, end: bool) -> None:
    remember(SECRET)
    text = f"{'a' * 50}{SECRET}{'b' * 50}"
    part = mask_own(cut(text, 50 + shift, end=end))
    kept, whole = "b" if end else "a", shift >= len(SECRET)
    most = "a" if end else "b"
    assert part.strip(most) == (("***" + "b" * 50 if end else "a" * 50 + "***") if whole else kept * min(50, 50 + shift))


def test_white_space_before_it_does_not_bring_a_part_of_it_into_a_detail() -> None:
    remember(SECRET)
    for most in range(4 * Failure.MAX_DETAIL - len(SECRET) - 2, 4 * Failure.MAX_DETAIL + 2):
        detail = Failure(Stage.CHECK, Reason.MALFORMED, " " * most + SECRET).detail
        assert detail in ("", "***")
