"""Why something is down: what it needs, or itself."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporter.actuator.health_samples import COMPONENT_UP
from exporter.diagnosis import causes
from exporter.diagnosis.cluster_words import named, of_cluster
from exporter.diagnosis.components import ailing, ailing_itself, is_database, lies_in, shared_name
from exporter.diagnosis.facts import (
    GC_HIGH,
    evidence,
    failed_writes,
    gc_share,
    heap,
    lock_waits,
    migration_lock,
    most,
    pool_pressed,
    pooler_full,
    pooler_waits,
)
from exporter.diagnosis.graph import Reach, roots
from exporter.diagnosis.incidents import RECOVERED_FOR
from exporter.diagnosis.model import Confidence, Diagnosis, Evidence, Member, Snapshot, Suspicion, Symptom
from exporter.diagnosis.stores import of_store
from exporter.metrics import core as m
from exporter.verdict import Reason, Verdict

__all__ = ["Downs", "why_down"]

SEVERAL = 2
"""Services that must say the same of a dependency that its own probe does not call down."""


@dataclass(frozen=True, slots=True)
class Downs:
    """What is down, and why.

    Attributes:
        diagnoses: By name.
        roots: By name, in what it lies, what has been down longest first, and last what it did without for long; the name
            itself where it lies in it. A root may be something that no probe calls down: services say so.
        alone: Names whose components blame something that nobody else blames, and no probe calls down.
        words: What each blames whose components are known; one that tells of none is not in it.
    """

    diagnoses: Mapping[str, Diagnosis]
    roots: Mapping[str, tuple[str, ...]]
    alone: frozenset[str]
    words: Mapping[str, frozenset[str]]


@dataclass(slots=True)
class _Words:
    """What the components of one service say: path by path, in which dependency each lies."""

    beyond: dict[str, list[str]] = field(default_factory=dict)
    """By what is down: the components that say so."""
    cut_off: dict[str, list[str]] = field(default_factory=dict)
    """By dependency that answers the exporter: the components that are down even so."""
    open: dict[str, list[str]] = field(default_factory=dict)
    """By what nothing is known of: the components. What has no name is empty, and nobody blames it."""


def why_down(snapshot: Snapshot) -> Generator[None, None, Downs]:
    """Find out, bit by bit, why each thing is down that is."""
    members = snapshot.members
    down = {name: member for name, member in members.items() if member.verdict is Verdict.DOWN}
    said: dict[str, _Words] = {}
    for name, member in down.items():
        said[name] = _heard(member, members)
        yield
    since = {name: member.since for name, member in down.items()}
    blamed = _blamed(down, said, since)
    later = {name: _later(member, down) for name, member in down.items()}
    graph = {
        name: (*(need for need in member.needs if need not in later[name]), *said[name].beyond)
        for name, member in down.items()
    }
    graph = {name: tuple(needs) + blamed.get(name, ()) for name, needs in graph.items()}
    graph |= {other: () for others in blamed.values() for other in others}

    reaches: dict[str, Reach] = {}
    victims: dict[str, list[str]] = {}
    for reach in roots(graph):
        reaches[reach.name] = reach
        if reach.name in down:
            for root in reach.beyond:
                victims.setdefault(root, []).append(reach.name)
        yield
    found: dict[str, Diagnosis] = {}
    ordered: dict[str, tuple[str, ...]] = {}
    for name, member in down.items():
        reach = reaches[name]
        did_without = {root for root in reach.roots if root in down and _overlap(member.well, down[root].down_from)}
        ordered[name] = tuple(sorted(reach.roots, key=lambda root: (root in did_without, since[root], root)))
        beyond = [root for root in ordered[name] if root in reach.beyond]
        these = tuple(_suspicions(member, beyond, later[name], said[name], snapshot))[:5]
        found[name] = Diagnosis(name, Symptom.DOWN, these, tuple(sorted(victims.get(name, ()))), names=named(member))
        yield
    alone = frozenset(
        name
        for name, words in said.items()
        if name not in blamed and any((*words.open, *words.cut_off)) and name in reaches[name].roots
    )
    words_of = {
        name: frozenset((*words.beyond, *words.cut_off, *words.open))
        for name, words in said.items()
        if any(down[name].readings(COMPONENT_UP))
    }
    return Downs(found, ordered, alone, words_of)


def _heard(member: Member, members: Mapping[str, Member]) -> _Words:
    words = _Words()
    for path in ailing(member):
        dependency = lies_in(path, member, members)
        if dependency is None:
            words.open.setdefault(shared_name(path), []).append(path)
        elif members[dependency].verdict is Verdict.DOWN:
            words.beyond.setdefault(dependency, []).append(path)
        elif members[dependency].verdict is Verdict.UP:
            words.cut_off.setdefault(dependency, []).append(path)
        else:
            words.open.setdefault(dependency, []).append(path)
    return words


def _later(member: Member, down: Mapping[str, Member]) -> tuple[str, ...]:
    """Return what a service needs that was well for long after it had come down itself: it is down for another cause."""
    return tuple(need for need in member.needs if need in down and _overlap(down[need].well, member.down_from))


def _overlap(well: tuple[float, float], down_from: float) -> bool:
    """Say whether something was well for long while something else was down: neither explains the other then."""
    since, until = well
    return until - max(since, down_from) >= RECOVERED_FOR


def _blamed(down: Mapping[str, Member], said: Mapping[str, _Words], since: dict[str, float]) -> dict[str, tuple[str, ...]]:
    """Return what several services say is down, or cannot be reached, though no probe of its own says so: by who says it.

    It is taken to be down since the first of them is; that is added to `since`.
    """
    who: dict[str, list[str]] = {}
    for name, words in said.items():
        pressed = bool(pool_pressed(down[name]))  # its own pool is enough to explain that it cannot reach a database
        for dependency, paths in (*words.open.items(), *words.cut_off.items()):
            if dependency and dependency not in down and not (pressed and all(map(is_database, paths))):
                who.setdefault(dependency, []).append(name)
    found: dict[str, tuple[str, ...]] = {}
    for dependency, names in who.items():
        if len(names) >= SEVERAL:
            since[dependency] = min(down[name].since for name in names)
            for name in names:
                found[name] = (*found.get(name, ()), dependency)
    return found


def _suspicions(
    member: Member, beyond: list[str], later: Sequence[str], words: _Words, snapshot: Snapshot
) -> Generator[Suspicion, None, None]:
    itself = tuple(_of_itself(member, words, set(beyond), snapshot))
    of_roots = tuple(_of_root(member, root, words, snapshot) for root in beyond)
    if later:  # it has a cause of its own, which comes first
        yield from itself or _of_own(member, words)
        yield from of_roots
        for need in later:  # keeps it down once that is mended
            if need not in beyond:
                yield replace(_of_root(member, need, words, snapshot), confidence=Confidence.MEDIUM)
        return
    yield from of_roots
    yield from itself
    told = bool(of_roots or itself)
    if told:
        return
    for reason, count in _reasons(member):
        told = True
        yield Suspicion(causes.of_reason(reason), evidence=most(_of_reason(member, reason, count, words)))
    answers = set(member.reasons) == {Reason.REPORTED_DOWN}  # what has begun to answer waits for no migration any more
    for name in member.needs:
        other = snapshot.members.get(name)
        if not answers and other is not None and (held := migration_lock(other)) is not None:  # whose is not known
            yield Suspicion(causes.MIGRATION_STUCK, name, Confidence.MEDIUM, (held,))
        if other is not None and (failed := failed_writes(other)) is not None:
            yield Suspicion(causes.WRITES_FAILING, name, Confidence.MEDIUM, (failed,))
    if not told:
        yield Suspicion(causes.UNKNOWN, confidence=causes.UNKNOWN.confidence)


def _reasons(member: Member) -> list[tuple[Reason, int]]:
    return sorted(member.reasons.items(), key=lambda item: (-item[1], item[0].value))


def _of_own(member: Member, words: _Words) -> Generator[Suspicion, None, None]:
    """Yield the reasons of a service that was down before what it needs was, but for what it says of that itself."""
    itself = any(ailing_itself(member))
    for reason, count in _reasons(member):
        if reason is not Reason.REPORTED_DOWN or itself or not words.beyond:
            yield Suspicion(causes.of_reason(reason), evidence=most(_of_reason(member, reason, count, words)))


def _of_root(member: Member, root: str, words: _Words, snapshot: Snapshot) -> Suspicion:
    own = snapshot.members.get(root)
    paths = [path for told in (words.beyond, words.open, words.cut_off) for path in told.get(root, ())]
    components = tuple(_component(member, path) for path in paths)
    if own is not None and own.verdict is Verdict.DOWN:
        verdict = evidence(f"verdict on {root} by its own probe{_because(own)}", 0.0, m.SERVICE_UP, root)
        return Suspicion(causes.DEPENDENCY_DOWN, root, Confidence.HIGH, most((verdict, *components)))
    if own is not None and own.verdict is Verdict.UP:
        verdict = evidence(f"verdict on {root} by its own probe", 1.0, m.SERVICE_UP, root)
        return _cut_off(own, (*components, verdict))
    return Suspicion(causes.DEPENDENCY_DOWN, root, Confidence.MEDIUM, most(components), probed=own is not None)


def _of_itself(member: Member, words: _Words, named: set[str], snapshot: Snapshot) -> Generator[Suspicion, None, None]:
    """Yield what in the service itself explains that it is down, beside the reasons of its targets."""
    members = snapshot.members
    pressed = pool_pressed(member)
    pool_told = False
    for dependency, paths in words.cut_off.items():
        components = tuple(_component(member, path) for path in paths)
        if pressed and any(map(is_database, paths)):
            pool_told = True
            yield Suspicion(causes.POOL_EXHAUSTED, "", Confidence.HIGH, most((*pressed, *components)))
            yield from _waits(members[dependency])
        elif dependency not in named:
            yield _cut_off(members[dependency], components)
    if pressed and not named and not pool_told:
        components = tuple(_component(member, path) for paths in words.open.values() for path in paths if is_database(path))
        confidence = Confidence.HIGH if components else Confidence.MEDIUM
        yield Suspicion(causes.POOL_EXHAUSTED, "", confidence, most((*pressed, *components)))
    yield from of_store(member)
    ends = set()
    for suspicion in of_cluster(member, snapshot.at, excused=bool(named)):
        ends.add(suspicion.cause)
        yield suspicion
    restarts = member.remembered.get("restarts", 0.0)
    full, collecting = heap(member), gc_share(member, GC_HIGH)
    if full is not None and (collecting is not None or restarts):
        yield Suspicion(causes.MEMORY_SHORT, "", Confidence.MEDIUM, (full, *([collecting] if collecting else [])))
    if restarts and ends.isdisjoint((causes.CRASH_LOOPING, causes.OOM_KILLED)):  # which say more
        seen = evidence("restarts of its process within 10 minutes", restarts, "probe_process_restarts_total", member.name)
        yield Suspicion(causes.RESTARTING, "", Confidence.MEDIUM, (seen,))


def _waits(database: Member) -> Generator[Suspicion, None, None]:
    """Yield what clients of a database wait for; which of them is not known."""
    if waits := lock_waits(database):
        yield Suspicion(causes.LOCK_HELD, database.name, Confidence.MEDIUM, waits)
    if waits := pooler_waits(database):
        yield Suspicion(causes.POOLER_EXHAUSTED, database.name, Confidence.MEDIUM, waits)
    if full := pooler_full(database):
        yield Suspicion(causes.POOLER_FULL, database.name, Confidence.MEDIUM, (full,))


def _cut_off(dependency: Member, components: tuple[Evidence, ...]) -> Suspicion:
    """Say why a service cannot reach what answers the exporter: it has services wait, lets none in, or it is not known."""
    if waits := pooler_waits(dependency):
        return Suspicion(causes.POOLER_EXHAUSTED, dependency.name, Confidence.HIGH, most((*waits, *components)))
    if full := pooler_full(dependency):
        return Suspicion(causes.POOLER_FULL, dependency.name, Confidence.HIGH, most((full, *components)))
    return Suspicion(causes.DEPENDENCY_UNREACHABLE, dependency.name, Confidence.MEDIUM, most(components))


def _of_reason(member: Member, reason: Reason, count: int, words: _Words) -> Generator[Evidence, None, None]:
    if reason is Reason.REPORTED_DOWN:
        for paths in (*words.beyond.values(), *words.cut_off.values(), *words.open.values()):
            for path in paths:
                yield _component(member, path)
        for path in ailing_itself(member):
            yield _component(member, path)
    yield evidence(
        f"targets that are down: {reason.value}", float(count), m.SERVICE_INSTANCES, member.name, {"verdict": "down"}
    )


def _component(member: Member, path: str) -> Evidence:
    return evidence(f"health component {path}", 0.0, COMPONENT_UP, member.name, {"component": path})


def _because(member: Member) -> str:
    reason = max(sorted(member.reasons), key=member.reasons.__getitem__, default=None)
    return f" ({reason.value})" if reason is not None else ""
