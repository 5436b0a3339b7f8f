"""Foreign text as it may be shown."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from exporter.verdict import Failure, Reason, Stage
from exporter.visible import told_apart, visible


@given(st.text(max_size=200))
def test_what_is_shown_has_nothing_that_is_obeyed(text: str) -> None:
    shown = visible(text)
    assert all(unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in shown)
    shown.encode()  # what UTF-8 cannot carry is none of it


@given(st.text(st.characters(blacklist_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=200))
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@given(st.text(st.sampled_from("\\xuU15cb0e\x1b\x15\u200b\ud800\U000e0001é"), max_size=30))
def test_what_is_told_apart_can_be_read_back(text: str) -> None:
    """So no two texts are shown as one."""
    shown = told_apart(text)
    assert visible(shown) == shown
    mark = r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})"
    assert re.sub(mark, lambda found: chr(int("".join(filter(None, found.groups())), 16)), shown) == text


def test_a_backslash_that_is_no_mark_stays_as_it_is() -> None:
    assert told_apart("DOMAIN\\user \\d+ \\xyz") == "DOMAIN\\user \\d+ \\xyz"
    assert told_apart("\\x1b") == "\\x5cx1b"


def test_a_detail_is_one_line_that_no_terminal_obeys() -> None:
    failure = Failure(Stage.CHECK, Reason.REPORTED_DOWN, "a\n\x1b]0;title\x07 \u202egnp.exe \ud83d")
    assert failure.detail == "a \\x1b]0;title\\x07 \\u202egnp.exe \\ud83d"
    assert len(Failure(Stage.CHECK, Reason.REPORTED_DOWN, "\x1b" * 10_000).detail) == Failure.MAX_DETAIL
