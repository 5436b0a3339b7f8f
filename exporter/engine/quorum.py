"""The rule by which the verdicts of targets add up to the verdict of a service. It is written here and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.config.floor import needed
from exporter.config.models import MemberSettings
from exporter.probes import probe_types
from exporter.probing.probe import Scope
from exporter.verdict import Verdict

__all__ = ["Quorum", "Tallies", "count_instances", "counting_kinds", "deciding_kinds", "service_verdict", "worst"]

Tallies = Mapping[str, Mapping[Verdict, int]]
"""By kind of probe: how many targets have which verdict."""

_WORST = (Verdict.DOWN, Verdict.UNKNOWN, Verdict.UP)


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many targets of one probe must be up for a service.

    Attributes:
        needed: How many must be up.
        complete: The list of targets is known to be whole; false where discovery could not tell.
    """

    needed: int
    complete: bool = True

    def verdict(self, tally: Mapping[Verdict, int]) -> Verdict:
        """Up with enough targets up; down where even all unknown ones being up would not do; else unknown.

        Zero instances are down, since a service that nobody runs serves nobody; a rollout, which keeps its floor, is not.
        """
        up = tally.get(Verdict.UP, 0)
        if up >= self.needed:
            return Verdict.UP
        if up + tally.get(Verdict.UNKNOWN, 0) >= self.needed or not self.complete:
            return Verdict.UNKNOWN
        return Verdict.DOWN


def deciding_kinds(settings: MemberSettings) -> tuple[str, ...]:
    """Return the kinds of probe that decide a service's verdict: the vital ones; where it has none, all that it has."""
    types = probe_types()
    probed = list(settings.probe_settings)
    return tuple([kind for kind in probed if types[kind].vital] or probed)


def counting_kinds(settings: MemberSettings) -> tuple[str, ...]:
    """Return the kinds of probe whose targets are the instances: of those that decide, the ones that probe each of them.

    Where none does, what covers the service as a whole counts as one.
    """
    types, deciding = probe_types(), deciding_kinds(settings)
    return tuple(kind for kind in deciding if types[kind].scope is Scope.INSTANCE) or deciding


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of some verdicts, of which there is one at least."""
    return min(verdicts, key=_WORST.index)


def count_instances(settings: MemberSettings, targets: Iterable[tuple[str, str, Verdict]]) -> dict[Verdict, int]:
    """Count instances, each by the worst of the probes that count.

    Args:
        settings: Of the service.
        targets: Of each target the kind of its probe, its name and its verdict.
    """
    kinds = counting_kinds(settings)
    found: dict[str, list[Verdict]] = {}
    for kind, name, verdict in targets:
        if kind in kinds:
            found.setdefault(name, []).append(verdict)
    return dict(Counter(map(worst, found.values())))


def service_verdict(settings: MemberSettings, tallies: Tallies, *, complete: bool, desired: int = 0) -> Verdict | None:
    """Combine the probes that decide: the worst counts. None where nothing is probed.

    Args:
        settings: Of the service.
        tallies: The verdicts of its targets; a kind that is missing has no target.
        complete: Whether its instances are known to be all there are.
        desired: How many instances are wanted; of no matter where `min_ready` is a number.
    """
    types = probe_types()
    verdicts = set()
    for kind in deciding_kinds(settings):
        floor = needed(settings.min_ready, desired) if types[kind].scope is Scope.INSTANCE else 1
        verdicts.add(Quorum(floor, complete).verdict(tallies.get(kind, {})))
    return worst(verdicts) if verdicts else None
