"""Likely causes: what lies at the end of a chain of what is down, over any number of steps."""

from __future__ import annotations

from itertools import pairwise

import pytest

from exporter.engine.diagnosis import Cause, causes

ITSELF: set[Cause] = {("timeout", "")}


def on(*names: str) -> set[Cause]:
    return {("dependency_down", name) for name in names}


@pytest.mark.parametrize(
    ("needs", "down", "expected"),
    [
        ({}, "a", {"a": ITSELF}),
        ({"a": ["db", "cache"]}, ["a", "db"], {"a": on("db"), "db": ITSELF}),
        ({"a": ["db", "cache"]}, ["a", "db", "cache"], {"a": on("db", "cache"), "db": ITSELF, "cache": ITSELF}),
        ({"a": ["db"]}, ["a"], {"a": ITSELF}),
        # more than one step: what lies between is a symptom too
        ({"a": ["b"], "b": ["c"]}, "abc", {"a": on("c"), "b": on("c"), "c": ITSELF}),
        ({"a": ["b"], "b": ["c"], "c": ["d"], "d": ["e"]}, "abcde", {n: on("e") for n in "abcd"} | {"e": ITSELF}),
        # a chain that is broken by something that is up ends there
        ({"a": ["b"], "b": ["c"]}, "ac", {"a": ITSELF, "c": ITSELF}),
        ({"a": ["b", "c"], "b": ["d"], "c": ["e"]}, "abcde", {"a": on("d", "e"), "b": on("d"), "c": on("e")}),
        # circles
        ({"a": ["b"], "b": ["a"]}, "ab", {"a": ITSELF, "b": ITSELF}),
        ({"a": ["b"], "b": ["a", "db"]}, ["a", "b", "db"], {"a": on("db"), "b": on("db"), "db": ITSELF}),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, "abc", {"a": on("b", "c"), "b": ITSELF, "c": ITSELF}),
        ({"a": ["a"]}, "a", {"a": ITSELF}),
        ({"a": ["unheard-of"]}, "a", {"a": ITSELF}),
    ],
)
def test_causes(needs: dict[str, list[str]], down: list[str], expected: dict[str, set[Cause]]) -> None:
    found = causes({name: {"timeout"} for name in down}, needs)
    assert found.keys() == set(down)
    assert {name: found[name] for name in expected} == expected


def test_a_service_of_its_own_has_all_its_reasons() -> None:
    assert causes({"a": ["timeout", "connect_refused"]}, {}) == {"a": {("timeout", ""), ("connect_refused", "")}}


def test_thousands_of_steps_are_no_matter() -> None:
    names = [f"s{n}" for n in range(5000)]
    needs = {name: [after] for name, after in pairwise(names)}
    found = causes({name: ["timeout"] for name in names}, needs)
    assert found["s0"] == on("s4999")
