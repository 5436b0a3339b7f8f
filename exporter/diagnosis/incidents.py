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
    """

    incident: str
    well_since: float | None = None


def step(
    now: float,
    before: Mapping[str, Chosen],
    members: Mapping[str, Condition],
    roots: Mapping[str, tuple[str, ...]],
    around: Surroundings,
    peers: Mapping[str, frozenset[str]] | None = None,
) -> dict[str, Chosen]:
    """Return the incidents as they are now.

    Args:
        now: The time.
        before: What this returned the last time.
        members: How everything is.
        roots: Of what is down, in what it lies, what has been down longest first.
        around: What needs what.
        peers: Of what blames something alone, who may be about to say the same.
    """
    after = dict(_kept(now, before, members, roots))
    new = [name for name, member in members.items() if member.verdict is Verdict.DOWN and name not in after]
    for name in sorted(new, key=lambda name: (_root(name, roots) != name, name)):  # roots first: others follow them
        root = _root(name, roots)
        heard = all(_answered(members[other], members[name].troubled_at) for other in (peers or {}).get(name, ()))
        if now >= members[name].since + SETTLE_WITHIN or (heard and _settled(now, name, root, members, around, after)):
            followed = after.get(root) if root != name else None
            after[name] = followed or Chosen(root, None if root == name else _well(now, None, root, name, members, roots))
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


def _kept(
    now: float, before: Mapping[str, Chosen], members: Mapping[str, Condition], roots: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, Chosen]]:
    for name, chosen in before.items():
        member = members.get(name)
        if member is None or member.verdict is Verdict.UP:
            continue
        since = _well(now, chosen.well_since, chosen.incident, name, members, roots)
        if member.verdict is Verdict.DOWN and since is not None and now >= since + RECOVERED_FOR:
            continue
        yield name, Chosen(chosen.incident, since)


def _well(
    now: float,
    since: float | None,
    root: str,
    name: str,
    members: Mapping[str, Condition],
    roots: Mapping[str, tuple[str, ...]],
) -> float | None:
    """Return since when a root is well for something that has its incident; None while it is not, or cannot be told."""
    there = members.get(root)
    if root == name or root in roots.get(name, ()) or (there is not None and there.verdict is not Verdict.UP):
        return None
    return now if since is None else since


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
