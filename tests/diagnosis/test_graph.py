"""Roots: what lies at the end of a chain of what is down, over any number of steps."""

from __future__ import annotations

from itertools import pairwise

import pytest

from exporter.diagnosis.graph import Surroundings, roots

ITSELF: set[str] = set()


@pytest.mark.parametrize(
    ("needs", "down", "expected"),
    [
        ({}, "a", {"a": ITSELF}),
        ({"a": ["db", "cache"]}, ["a", "db"], {"a": {"db"}, "db": ITSELF}),
        ({"a": ["db", "cache"]}, ["a", "db", "cache"], {"a": {"db", "cache"}, "db": ITSELF, "cache": ITSELF}),
        ({"a": ["db"]}, ["a"], {"a": ITSELF}),
        # more than one step: what lies between is a symptom too
        ({"a": ["b"], "b": ["c"]}, "abc", {"a": {"c"}, "b": {"c"}, "c": ITSELF}),
        ({"a": ["b"], "b": ["c"], "c": ["d"], "d": ["e"]}, "abcde", {**{n: {"e"} for n in "abcd"}, "e": ITSELF}),
        # a chain that is broken by something that is up ends there
        ({"a": ["b"], "b": ["c"]}, "ac", {"a": ITSELF, "c": ITSELF}),
        ({"a": ["b", "c"], "b": ["d"], "c": ["e"]}, "abcde", {"a": {"d", "e"}, "b": {"d"}, "c": {"e"}}),
        # circles
        ({"a": ["b"], "b": ["a"]}, "ab", {"a": ITSELF, "b": ITSELF}),
        ({"a": ["b"], "b": ["a", "db"]}, ["a", "b", "db"], {"a": {"db"}, "b": {"db"}, "db": ITSELF}),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, "abc", {"a": {"b", "c"}, "b": ITSELF, "c": ITSELF}),
        ({"a": ["a"]}, "a", {"a": ITSELF}),
        ({"a": ["unheard-of"]}, "a", {"a": ITSELF}),
    ],
)
def test_beyond(needs: dict[str, list[str]], down: list[str], expected: dict[str, set[str]]) -> None:
    reaches = {reach.name: reach for reach in roots({name: needs.get(name, []) for name in down})}
    assert reaches.keys() == set(down)
    assert {name: set(reaches[name].beyond) for name in expected} == expected
    for name, reach in reaches.items():
        assert reach.beyond == reach.roots - {name} or (not reach.beyond and name in reach.roots)


def test_a_circle_has_the_same_roots_for_all_that_is_in_it() -> None:
    reaches = {reach.name: reach.roots for reach in roots({"a": ["b"], "b": ["a"]})}
    assert reaches == {"a": {"a", "b"}, "b": {"a", "b"}}


def test_thousands_of_steps_are_no_matter() -> None:
    names = [f"s{n}" for n in range(5000)]
    needs = {name: [after] for name, after in pairwise(names)} | {names[-1]: []}
    assert {reach.name: reach.beyond for reach in roots(needs)}["s0"] == {"s4999"}


def test_surroundings() -> None:
    around = Surroundings({"a": ["b"], "b": ["c", "d"], "d": ["b"]})
    assert around.needs("a") == {"b", "c", "d"}
    assert around.needs("b") == {"c", "d"}  # itself left out, though it is in a circle
    assert around.needed_by("c") == {"a", "b", "d"}
    assert around.needed_by("unheard-of") == set()
