"""Roots in a graph of what needs what, over any number of steps. Pure, and made bit by bit: others have their turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

__all__ = ["Reach", "Surroundings", "roots"]


class Reach(NamedTuple):
    """What is at the end of all ways from a node.

    Attributes:
        name: The node.
        roots: Where the ways end: what needs nothing else of the graph, or a circle of which no way leads out. It is one
            itself where there is no way, or where it is in such a circle.
        beyond: The same where it is another's fault; empty where it lies in the node itself.
    """

    name: str
    roots: frozenset[str]
    beyond: frozenset[str]


def roots(graph: Mapping[str, Iterable[str]]) -> Iterator[Reach]:
    """Find the roots of each node, those that others need first.

    Args:
        graph: What each needs; names that are not nodes do not matter.
    """
    edges = {name: [other for other in needs if other in graph and other != name] for name, needs in graph.items()}
    found: dict[str, frozenset[str]] = {}
    for circle in _circles(edges):  # what a circle needs comes before it
        members = frozenset(circle)
        outside = {other for name in circle for other in edges[name]} - members
        these = frozenset().union(*(found[other] for other in outside)) if outside else members
        for name in circle:
            found[name] = these
            yield Reach(name, these, these - {name} if outside else frozenset())


def _reached(start: str, edges: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Return everything to which ways lead from a node; itself only where it is in a circle."""
    found: set[str] = set()
    new = [start]
    while new:
        for other in edges.get(new.pop(), ()):
            if other not in found:
                found.add(other)
                new.append(other)
    return frozenset(found)


def _circles(graph: Mapping[str, list[str]]) -> Iterator[list[str]]:
    """Yield the strongly connected parts of a graph, each after those that it leads to (Tarjan), without recursion."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    held: set[str] = set()
    for start in graph:
        if start in order:
            continue
        order[start] = low[start] = len(order)
        stack.append(start)
        held.add(start)
        path = [(start, iter(graph[start]))]
        while path:
            node, following = path[-1]
            for other in following:
                if other not in order:
                    order[other] = low[other] = len(order)
                    stack.append(other)
                    held.add(other)
                    path.append((other, iter(graph[other])))
                    break
                if other in held:
                    low[node] = min(low[node], order[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == order[node]:
                    part: list[str] = []
                    while node in held:
                        part.append(stack.pop())
                        held.discard(part[-1])
                    yield part


class Surroundings:
    """All that each needs and all that needs it, over any number of steps; worked out when it is asked for, and kept.

    Args:
        needs: What each needs, one step.
    """

    def __init__(self, needs: Mapping[str, Iterable[str]]) -> None:
        self._needs = {name: tuple(others) for name, others in needs.items()}
        self._needed_by: dict[str, list[str]] = {}
        for name, others in self._needs.items():
            for other in others:
                self._needed_by.setdefault(other, []).append(name)
        self._below: dict[str, frozenset[str]] = {}
        self._above: dict[str, frozenset[str]] = {}

    def needs(self, name: str) -> frozenset[str]:
        """Return all that something needs, itself left out."""
        if name not in self._below:
            self._below[name] = _reached(name, self._needs) - {name}
        return self._below[name]

    def needed_by(self, name: str) -> frozenset[str]:
        """Return all that needs something, itself left out."""
        if name not in self._above:
            self._above[name] = _reached(name, self._needed_by) - {name}
        return self._above[name]
