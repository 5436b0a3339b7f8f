"""The rule by which the verdicts of targets add up to the verdict of a service. It is written here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.config.models import MemberSettings
from exporter.probes import probe_types
from exporter.probing.probe import Scope
from exporter.verdict import Verdict

__all__ = ["Quorum", "Tallies", "deciding_kinds", "service_verdict"]

Tallies = Mapping[str, Mapping[Verdict, int]]
"""By kind of probe: how many targets have which verdict."""


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
    probed = [kind for kind in settings.probe_settings if types[kind].planned is None]
    return tuple([kind for kind in probed if types[kind].vital] or probed)


def service_verdict(settings: MemberSettings, tallies: Tallies, *, complete: bool) -> Verdict | None:
    """Combine the probes that decide: the worst counts. None where nothing is probed.

    Args:
        settings: Of the service.
        tallies: The verdicts of its targets; a kind that is missing has no target.
        complete: Whether its instances are known to be all there are.
    """
    types = probe_types()
    verdicts = set()
    for kind in deciding_kinds(settings):
        needed = settings.min_ready if types[kind].scope is Scope.INSTANCE else 1
        verdicts.add(Quorum(needed, complete).verdict(tallies.get(kind, {})))
    return next((verdict for verdict in (Verdict.DOWN, Verdict.UNKNOWN, Verdict.UP) if verdict in verdicts), None)
