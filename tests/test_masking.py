"""Secrets of our own in what others say."""

from __future__ import annotations

import html
import json
import re
import time
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

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


ODD = ("p@ss/w\u00f6rd +&=1", 'quo"ted\\<&>', "two  spaces", "plain-0123456789", "ends=with==", "\u6f22\u5b57-secret")


def ways(secret: str) -> dict[str, str]:
    """How a server may write a secret that it was given."""
    data = secret.encode()
    return {
        "form": quote_plus(secret),
        "path": quote(secret),
        "query": quote(secret, safe=""),
        "lower": re.sub("%..", lambda found: found[0].lower(), quote(secret, safe="")),
        "json": json.dumps(secret),
        "json of utf-8": json.dumps(secret, ensure_ascii=False),
        "html": html.escape(secret),
        **{f"basic of {user}": b64encode(user.encode() + b":" + data).decode() for user in ("u", "us", "use", "user")},
        "sasl": b64encode(b"\0user\0" + data + b"\0more").decode(),
        "url-safe": urlsafe_b64encode(b"a:" + data).decode(),
        "bare": b64encode(data).decode().rstrip("="),
    }


@pytest.mark.parametrize("secret", ODD)
def test_one_is_masked_however_it_is_written(secret: str) -> None:
    remember(secret)
    for way, written in ways(secret).items():
        detail = Failure(Stage.CHECK, Reason.MALFORMED, f"refused: {{x: {written}}} of tenant").detail
        assert detail in ("refused: {x: ***} of tenant", 'refused: {x: "***"} of tenant'), way


@pytest.mark.parametrize("secret", ODD)
def test_a_cut_shows_no_part_of_what_a_form_or_base64_makes_of_one(secret: str) -> None:
    remember(secret)
    for written in (quote(secret, safe=""), b64encode(secret.encode()).decode()):
        for most in range(1, len(written) + 1):
            part = mask_own(cut(". " + written + " .", most + 2))
            assert part in (". ", ". ***", ". *** "), most


def test_of_many_the_masking_is_quick() -> None:
    """It is done for each attempt that fails, on the event loop."""
    for n in range(masking._MOST):
        remember(f"p@ss/w\u00f6rd-{n}")
    began = time.thread_time()
    for _ in range(20):
        Failure(Stage.CHECK, Reason.MALFORMED, "x" * 1200)
    assert (time.thread_time() - began) / 20 < 0.005


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
