"""The diagnosis of a snapshot: pure. The same snapshot always has the same diagnosis."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

from exporter.diagnosis.down import why_down
from exporter.diagnosis.lagging import why_lagging
from exporter.diagnosis.model import Diagnosis, Snapshot
from exporter.diagnosis.slow import why_slow
from exporter.diagnosis.unguarded import why_unguarded
from exporter.kafka import families as kafka
from exporter.redis import families as redis

__all__ = ["Findings", "diagnose", "examine", "examine_whole"]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a snapshot comes to.

    Attributes:
        diagnoses: Of each member that is in trouble, what is wrong and why; of others nothing.
        roots: Of each member that is down, in what it lies, what has been down longest first; never empty.
        alone: What is down and blames something that nobody else blames, and no probe calls down.
        words: Of each member that is down and tells of its components, what it blames; one that is silent is not in it.
    """

    diagnoses: Mapping[str, tuple[Diagnosis, ...]]
    roots: Mapping[str, tuple[str, ...]]
    alone: frozenset[str]
    words: Mapping[str, frozenset[str]]


def diagnose(snapshot: Snapshot) -> dict[str, tuple[Diagnosis, ...]]:
    """Say of each member that is in trouble what is wrong with it, and why."""
    return dict(examine_whole(snapshot).diagnoses)


def examine_whole(snapshot: Snapshot) -> Findings:
    """Do the same, and tell the roots too."""
    steps = examine(snapshot)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            findings: Findings = end.value
            return findings


def examine(snapshot: Snapshot) -> Generator[None, None, Findings]:
    """Do the same bit by bit, so that others can have their turn."""
    downs = yield from why_down(snapshot)
    slow = yield from why_slow(snapshot, downs.roots)
    found: dict[str, tuple[Diagnosis, ...]] = {
        name: (diagnosis,) for name, diagnosis in ({**downs.diagnoses, **slow}).items()
    }
    for name, member in snapshot.members.items():
        if kafka.TOPIC_LAG in member.facts:
            lagging = why_lagging(member, snapshot)
            if lagging:
                found[name] = (*found.get(name, ()), *lagging)
            yield
        unguarded = why_unguarded(member) if redis.SENTINEL_UP in member.facts else None
        if unguarded is not None:
            found[name] = (*found.get(name, ()), unguarded)
    return Findings(found, downs.roots, downs.alone, downs.words)
