"""Confirmation: from the verdicts of single attempts to the verdict that is exported."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.probing.probe import Confirmation
from exporter.verdict import Reason, Verdict

__all__ = ["Confirmed"]


@dataclass(slots=True)
class Confirmed:
    """The confirmed verdict of one target.

    A first success is believed at once; down needs `failures` in a row, and coming back from down `successes`. Attempts that
    could not tell withdraw the verdict at once and do not break a row of failures: a prober in trouble half the time must
    still find out that a target is down.
    """

    rule: Confirmation
    verdict: Verdict = Verdict.UNKNOWN
    reason: Reason | None = Reason.NOT_YET_PROBED
    failures: int = 0
    successes: int = 0

    def feed(self, verdict: Verdict, reason: Reason | None) -> bool:
        """Take in an attempt; return whether the confirmed verdict changed.

        Args:
            verdict: Of the attempt.
            reason: Of its failure, if it has one.
        """
        before = self.verdict
        match verdict:
            case Verdict.UP:
                self._up()
            case Verdict.DOWN:
                self._down(reason)
            case Verdict.UNKNOWN:
                self.successes = 0
                self.verdict, self.reason = Verdict.UNKNOWN, reason or Reason.INTERNAL
        return self.verdict is not before

    def stale(self) -> bool:
        """Withdraw the verdict because no attempt has completed for too long; return whether that changed it."""
        before = self.verdict
        self.successes = 0
        self.verdict, self.reason = Verdict.UNKNOWN, Reason.STALE
        return before is not Verdict.UNKNOWN

    def _up(self) -> None:
        self.successes += 1
        if self.verdict is Verdict.DOWN and self.successes < self.rule.successes:
            return
        self.failures = 0
        self.verdict, self.reason = Verdict.UP, None

    def _down(self, reason: Reason | None) -> None:
        self.successes = 0
        self.failures += 1
        if self.failures >= self.rule.failures or self.verdict is Verdict.DOWN:
            self.verdict, self.reason = Verdict.DOWN, reason
        elif self.verdict is Verdict.UNKNOWN:
            self.reason = Reason.UNCONFIRMED
