"""To which incident the page of each thing that is down belongs: a pure state machine over what is known and when.

An incident has the name of a root cause. It is chosen once enough is known, kept while what has it is down, and left when
its root has recovered and what has it has not. Nothing but what is known now goes into the choice, so that an exporter which
was restarted makes the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf

from exporter.diagnosis.graph import Surroundings
from exporter.verdict import Verdict

__all__ = ["RECOVERED_FOR", "SETTLE_WITHIN", "Chosen", "Condition", "due", "incidents_of", "step"]

SETTLE_WITHIN = 10.0
"""Seconds after something was confirmed down at which its incident is chosen, whatever is still to be learnt."""

RECOVERED_FOR = 60.0
"""Seconds that a root must have been well before what is still down is its own incident."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What decides over the incident of a service or dependency. All times are of one clock, in seconds.

    Attributes:
        verdict: Its confirmed verdict.
        since: When that changed last.
        troubled_at: When the first failure of its present trouble was known.
        asked_at: When those attempts on it began that are known to have ended: what it was asked later is not answered.
        doubtful: Attempts failed that are too few to call it down.
    """

    verdict: Verdict
    since: float
    troubled_at: float = -inf
    asked_at: float = -inf
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """An incident that was chosen for something.

    Attributes:
        incident: Its name.
        well_since: Since when its root is well again; None while it is not.
        voices: Who said that the root is down, where no probe of its own did. They must take it back: that they fall silent,
            as a process does that dies of what it lacks, says nothing.
    """

    incident: str
    well_since: float | None = None
    voices: frozenset[str] = frozenset()


def step(
    now: float,
    before: Mapping[str, Chosen],
    members: Mapping[str, Condition],
    roots: Mapping[str, tuple[str, ...]],
    around: Surroundings,
    peers: Mapping[str, frozenset[str]] | None = None,
    words: Mapping[str, frozenset[str]] | None = None,
) -> dict[str, Chosen]:
    """Return the incidents as they are now.

    Args:
        now: The time.
        before: What this returned the last time.
        members: How everything is.
        roots: Of what is down, in what it lies, what has been down longest first.
        around: What needs what.
        peers: Of what blames something alone, who may be about to say the same.
        words: Of what is down and tells of its components, what it blames.
    """
    now_known = _Known(now, members, roots, words or {})
    after = dict(_kept(now_known, before))
    new = [name for name, member in members.items() if member.verdict is Verdict.DOWN and name not in after]
    for name in sorted(new, key=lambda name: (_root(name, roots) != name, name)):  # roots first: others follow them
        root = _root(name, roots)
        heard = all(_answered(members[other], members[name].troubled_at) for other in (peers or {}).get(name, ()))
        if now >= members[name].since + SETTLE_WITHIN or (heard and _settled(now, name, root, members, around, after)):
            after[name] = (after.get(root) if root != name else None) or now_known.chosen(name, root)
    return after


def incidents_of(chosen: Mapping[str, Chosen], members: Mapping[str, Condition]) -> dict[str, str]:
    """Return the incident of all that is down; of what cannot be told at the moment it is remembered, and not told."""
    return {name: each.incident for name, each in chosen.items() if members[name].verdict is Verdict.DOWN}


def due(chosen: Mapping[str, Chosen], members: Mapping[str, Condition]) -> float | None:
    """Return when something is to be chosen or left, whatever else comes; None where nothing is."""
    times = [
        *(
            each.well_since + RECOVERED_FOR
            for name, each in chosen.items()
            if each.well_since is not None and members[name].verdict is Verdict.DOWN
        ),
        *(
            member.since + SETTLE_WITHIN
            for name, member in members.items()
            if member.verdict is Verdict.DOWN and name not in chosen
        ),
    ]
    return min(times, default=None)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known at a moment."""

    now: float
    members: Mapping[str, Condition]
    roots: Mapping[str, tuple[str, ...]]
    words: Mapping[str, frozenset[str]]

    def chosen(self, name: str, root: str) -> Chosen:
        """Choose an incident for something that is down."""
        if self._verdict(root) is Verdict.DOWN:
            return Chosen(root)
        return Chosen(root, None, frozenset(voice for voice, blamed in self.words.items() if root in blamed))

    def well_since(self, name: str, chosen: Chosen) -> float | None:
        """Return since when a root is well for something that has its incident; None while it is not, or cannot be told."""
        root = chosen.incident
        if root == name or root in self.roots.get(name, ()) or self._verdict(root) not in (None, Verdict.UP):
            return None
        if chosen.voices and not self._taken_back(root, chosen.voices):
            return None
        return self.now if chosen.well_since is None else chosen.well_since

    def _taken_back(self, root: str, voices: frozenset[str]) -> bool:
        """Say whether nobody blames a root any more, and one who did is well or tells of its components; or all are gone."""
        if any(root in blamed for blamed in self.words.values()):
            return False
        there = [voice for voice in voices if voice in self.members]
        return not there or any(self._verdict(voice) is Verdict.UP or voice in self.words for voice in there)

    def _verdict(self, name: str) -> Verdict | None:
        there = self.members.get(name)
        return None if there is None else there.verdict


def _kept(known: _Known, before: Mapping[str, Chosen]) -> Iterator[tuple[str, Chosen]]:
    for name, chosen in before.items():
        member = known.members.get(name)
        if member is None or member.verdict is Verdict.UP:
            continue
        since = known.well_since(name, chosen)
        if member.verdict is Verdict.DOWN and since is not None and known.now >= since + RECOVERED_FOR:
            continue
        yield name, replace(chosen, well_since=since)


def _root(name: str, roots: Mapping[str, tuple[str, ...]]) -> str:
    return next(iter(roots.get(name, ())), name)


def _settled(
    now: float, name: str, root: str, members: Mapping[str, Condition], around: Surroundings, after: Mapping[str, Chosen]
) -> bool:
    """Say whether enough is known: what it needs was asked after it had failed, and the incident is known as a whole: the
    first page is to say how far it reaches.
    """
    member = members[name]
    if now >= member.since + SETTLE_WITHIN:
        return True
    needs = (members[other] for other in around.needs(name) if other in members)
    if not all(_answered(other, member.troubled_at) for other in needs):
        return False
    if root == name:
        needed_by = (members[other] for other in around.needed_by(name) if other in members)
        return all(_answered(other, member.since) for other in needed_by)
    if root in members and members[root].verdict is Verdict.DOWN:
        return root in after
    return not any(other.doubtful for other in members.values())  # services say so: until nobody is about to say it


def _answered(other: Condition, since: float) -> bool:
    return other.verdict is Verdict.DOWN or (other.asked_at >= since and not other.doubtful)
