"""Shards: which of several exporters has which service, told by each for itself from the names alone.

A service belongs to the shard whose number together with the service's name has the highest digest (rendezvous hashing).
When a shard is added it takes its share from all others, and nothing else moves; when one goes, only what it had moves.

What a shard's services need it probes too, so that it finds the same causes and names incidents alike, whoever has them.
What is not its own it keeps to itself: each is exported, and paged, by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b

__all__ = ["Shards", "ordinal", "shard_of"]

_ORDINAL = re.compile(r"-(\d{1,3})$")


def shard_of(name: str, count: int) -> int:
    """Say which of `count` shards has a service."""
    return max(range(count), key=lambda index: (_digest(name, index), index))


def ordinal(host: str) -> int | None:
    """Return the number at the end of the name that a StatefulSet gives a pod; None where there is none."""
    found = _ORDINAL.search(host.partition(".")[0])
    return int(found[1]) if found else None


class Shards:
    """One shard of several.

    Args:
        index: Which one, from 0 on.
        count: How many there are.
        needs: What each service or dependency needs.
        shared: What services may need without saying so, as their health does that names a dependency: every shard that has
            a service probes them all.
    """

    def __init__(self, index: int, count: int, needs: Mapping[str, Iterable[str]], shared: Iterable[str]) -> None:
        self.index = index
        self.count = count
        self._owned = frozenset(name for name in needs if shard_of(name, count) == index)
        self._needed = _reached(self._owned | frozenset(shared if self._owned else ()), needs)

    def owns(self, service: str) -> bool:
        """Say whether a service or dependency is this shard's: it alone exports it."""
        return service in self._owned

    def needs(self, service: str) -> bool:
        """Say whether this shard probes it, be it for what it exports of it, or to find the causes of what it exports."""
        return service in self._needed


def _digest(name: str, index: int) -> bytes:
    return blake2b(f"{index}\0{name}".encode(), digest_size=8).digest()


def _reached(start: frozenset[str], needs: Mapping[str, Iterable[str]]) -> frozenset[str]:
    found, new = set(start), list(start)
    while new:
        for other in needs.get(new.pop(), ()):
            if other not in found:
                found.add(other)
                new.append(other)
    return frozenset(found)
