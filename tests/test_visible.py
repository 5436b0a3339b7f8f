"""Foreign text as it may be shown."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from exporter.verdict import Failure, Reason, Stage
from exporter.visible import visible


@given(st.text(max_size=200))
def test_what_is_shown_has_nothing_that_is_obeyed(text: str) -> None:
    shown = visible(text)
    assert all(unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in shown)
    shown.encode()  # what UTF-8 cannot carry is none of it


@given(st.text(st.characters(blacklist_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=200))
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_a_detail_is_one_line_that_no_terminal_obeys() -> None:
    failure = Failure(Stage.CHECK, Reason.REPORTED_DOWN, "a\n\x1b]0;title\x07 \u202egnp.exe \ud83d")
    assert failure.detail == "a \\x1b]0;title\\x07 \\u202egnp.exe \\ud83d"
    assert len(Failure(Stage.CHECK, Reason.REPORTED_DOWN, "\x1b" * 10_000).detail) == Failure.MAX_DETAIL
