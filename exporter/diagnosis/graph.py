"""Roots in a graph of what needs what, over any number of steps. Pure, and made bit by bit: others have their turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

__all__ = ["Reach", "reached", "roots"]


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


def reached(start: str, edges: Mapping[str, Iterable[str]]) -> frozenset[str]:
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
