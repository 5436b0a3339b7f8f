"""Who is told of which objects: exactly those who may want them, whatever they select by."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.clients.kubernetes import followers
from exporter.clients.kubernetes.followers import Followers, Marks, marks_of, owned_by
from exporter.clients.kubernetes.objects.pods import Pod
from exporter.clients.kubernetes.objects.selector import Selector
from tests.clients.kubernetes import raw


def made(name: str, owner: str = "identity", **labels: str) -> Pod:
    """Make a pod."""
    return Pod.of(raw.pod(name, owner=owner, labels=labels))


@pytest.mark.parametrize(
    ("selector", "marks"),
    [
        ("app=a", Marks(("app",), frozenset({("a",)}))),
        ("tier=b,app in (a, c)", Marks(("app", "tier"), frozenset({("a", "b"), ("c", "b")}))),
        ("app=a,canary!=yes,track,tier notin (x)", Marks(("app",), frozenset({("a",)}))),
        ("app!=a", None),
        ("", None),
    ],
)
def test_what_marks_the_selected_is_what_they_must_have(selector: str, marks: Marks | None) -> None:
    assert marks_of(Selector.parse(selector)) == marks


def test_of_very_many_values_none_is_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "MOST_VALUES", 3)
    assert marks_of(Selector.parse("app in (a, b),tier in (x, y, z)")) == Marks(("app",), frozenset({("a",), ("b",)}))


@pytest.mark.parametrize("selector", ["app=identity", "app in (identity, case),tier=backend", "tier!=x", "track", ""])
def test_whoever_selects_an_object_is_told_as_it_comes_changes_and_leaves(selector: str) -> None:
    told: list[Any] = []
    table = Followers()
    parsed = Selector.parse(selector)
    end = table.add(lambda *change: told.append(change), marks_of(parsed))
    one, other = made("one", track="x"), made("one", owner="other", track="x")
    for before, now in ((None, one), (one, other), (other, one), (one, None)):
        for change in table.of(before, now):
            change("uid", before, now)
    assert len(told) == 4
    end()
    end()  # changes nothing
    assert table.of(None, one) == []


def test_nobody_is_told_of_what_others_select() -> None:
    table = Followers()
    ends = [
        table.add(print, marks_of(Selector.parse("app=case,tier=backend"))),
        table.add(print, owned_by("case")),
    ]
    assert table.of(None, made("identity-1")) == []
    assert len(table.of(None, made("case-1", owner="case"))) == 2
    for end in ends:
        end()
    assert table._marked == {}
