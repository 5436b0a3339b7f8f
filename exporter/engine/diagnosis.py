"""The likely causes of what is down, over any number of steps of the graph of dependencies. Pure: facts in, causes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["DEPENDENCY_DOWN", "Cause", "causes"]

DEPENDENCY_DOWN = "dependency_down"

Cause = tuple[str, str]
"""A cause, and the dependency that it lies in; empty where it lies in the service itself."""


def causes(down: Mapping[str, Iterable[str]], needs: Mapping[str, Iterable[str]]) -> dict[str, frozenset[Cause]]:
    """Return the likely causes of each service that is down.

    What is down and needs something that is down is a symptom; what lies at the end of such a chain is the cause. Where
    services that are down need each other in a circle and nothing outside it is down, each of them may be the cause.

    Args:
        down: Everything that is down, with the reasons why its own targets failed.
        needs: What each needs; names that are not down do not matter.
    """
    graph = {name: [other for other in needs.get(name, ()) if other in down and other != name] for name in down}
    found: dict[str, frozenset[Cause]] = {}
    roots: dict[str, frozenset[str]] = {}
    for circle in _circles(graph):  # what a circle needs comes before it
        members = frozenset(circle)
        beyond = {other for name in circle for other in graph[name]} - members
        these = frozenset().union(*(roots[other] for other in beyond)) if beyond else members
        for name in circle:
            roots[name] = these
            others = these - {name} if beyond or len(circle) == 1 else frozenset()
            found[name] = frozenset((DEPENDENCY_DOWN, root) for root in others) or frozenset(
                (reason, "") for reason in down[name]
            )
    return found


def _circles(graph: Mapping[str, list[str]]) -> list[list[str]]:
    """Return the strongly connected parts of a graph, each after those that it leads to (Tarjan), without recursion."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    held: set[str] = set()
    parts: list[list[str]] = []
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
                    parts.append([])
                    while node in held:
                        parts[-1].append(stack.pop())
                        held.discard(parts[-1][-1])
    return parts
