"""To which incident the page of each thing that is down belongs: a pure state machine over what is known and when.

An incident has the name of a root cause. It is chosen once enough is known, kept while what has it is down, and left when
its root has recovered and what has it has not. Nothing but what is known now goes into the choice, so that an exporter which
was restarted makes the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    known = _Known(now, before, members, roots, words or {})
    after = dict(_kept(now, known, before, members))
    new = [name for name, member in members.items() if member.verdict is Verdict.DOWN and name not in after]
    for name in sorted(new, key=lambda name: (_root(name, roots) != name, name)):  # roots first: others follow them
        root = _root(name, roots)
        heard = all(_answered(members[other], members[name].troubled_at) for other in (peers or {}).get(name, ()))
        if now >= members[name].since + SETTLE_WITHIN or (heard and _settled(now, name, root, members, around, after)):
            after[name] = (after.get(root) if root != name else None) or known.chosen(root)
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


class _Known:
    """What is known at a moment; what is said of a root is worked out once for all that have its incident."""

    def __init__(
        self,
        now: float,
        before: Mapping[str, Chosen],
        members: Mapping[str, Condition],
        roots: Mapping[str, tuple[str, ...]],
        words: Mapping[str, frozenset[str]],
    ) -> None:
        self._now = now
        self._members = members
        self._roots = roots
        self._words = words
        self._blamed_by: dict[str, set[str]] = {}
        for name, blamed in words.items():
            for root in blamed:
                self._blamed_by.setdefault(root, set()).add(name)
        self._voices = self._all_voices(before)
        self._taken_back = {root for root, voices in self._voices.items() if self._is_taken_back(root, voices)}

    def chosen(self, root: str, well_since: float | None = None) -> Chosen:
        """Make what is kept of an incident."""
        return Chosen(root, well_since, self._voices.get(root, frozenset()))

    def well_since(self, name: str, chosen: Chosen) -> float | None:
        """Return since when a root is well for something that has its incident; None while it is not, or cannot be told."""
        root = chosen.incident
        if root == name or root in self._roots.get(name, ()) or self._verdict(root) not in (None, Verdict.UP):
            return None
        if self._voices.get(root):
            if root in self._blamed_by:
                return None
            if chosen.well_since is None and root not in self._taken_back:  # what was taken back stays so in silence
                return None
        return self._now if chosen.well_since is None else chosen.well_since

    def _all_voices(self, before: Mapping[str, Chosen]) -> dict[str, frozenset[str]]:
        """Return by root who says, or said, that it is down. Its own probe knows better: while that says so, nobody."""
        remembered: dict[str, dict[frozenset[str], None]] = {root: {} for these in self._roots.values() for root in these}
        for each in before.values():
            remembered.setdefault(each.incident, {})[each.voices] = None  # most share one set
        return {
            root: frozenset().union(self._blamed_by.get(root, ()), *sets)
            for root, sets in remembered.items()
            if self._verdict(root) is not Verdict.DOWN
        }

    def _is_taken_back(self, root: str, voices: frozenset[str]) -> bool:
        """Say whether one who blamed a root is well or tells of its components, and nobody blames it; or all are gone."""
        if root in self._blamed_by:
            return False
        there = [voice for voice in voices if voice in self._members]
        return not there or any(self._verdict(voice) is Verdict.UP or voice in self._words for voice in there)

    def _verdict(self, name: str) -> Verdict | None:
        there = self._members.get(name)
        return None if there is None else there.verdict


def _kept(
    now: float, known: _Known, before: Mapping[str, Chosen], members: Mapping[str, Condition]
) -> Iterator[tuple[str, Chosen]]:
    for name, chosen in before.items():
        member = members.get(name)
        if member is None or member.verdict is Verdict.UP:
            continue
        since = known.well_since(name, chosen)
        if member.verdict is Verdict.DOWN and since is not None and now >= since + RECOVERED_FOR:
            continue
        yield name, known.chosen(chosen.incident, since)


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
