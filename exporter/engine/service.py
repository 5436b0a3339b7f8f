"""What the verdicts of its targets add up to for a service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.verdict import Verdict

__all__ = ["Floor", "service_verdict"]


@dataclass(frozen=True, slots=True)
class Floor:
    """The targets of one vital probe of a service.

    Attributes:
        verdicts: How many targets have which verdict.
        needed: How many must be up.
        complete: The list of targets is known to be whole; false where discovery could not tell.
    """

    verdicts: Mapping[Verdict, int]
    needed: int
    complete: bool = True

    @classmethod
    def of(cls, verdicts: Iterable[Verdict], needed: int, *, complete: bool = True) -> Floor:
        """Count verdicts."""
        return cls(Counter(verdicts), needed, complete)

    @property
    def verdict(self) -> Verdict:
        """Up with enough targets up; down where even all unknown ones being up would not do; else unknown.

        Zero instances are down, since a service that nobody runs serves nobody; a rollout, which keeps its floor, is not.
        """
        up = self.verdicts.get(Verdict.UP, 0)
        if up >= self.needed:
            return Verdict.UP
        if up + self.verdicts.get(Verdict.UNKNOWN, 0) >= self.needed or not self.complete:
            return Verdict.UNKNOWN
        return Verdict.DOWN


def service_verdict(floors: Iterable[Floor]) -> Verdict | None:
    """Combine a service's vital probes: the worst counts. None where it has no vital probe."""
    verdicts = {floor.verdict for floor in floors}
    for verdict in (Verdict.DOWN, Verdict.UNKNOWN, Verdict.UP):
        if verdict in verdicts:
            return verdict
    return None
