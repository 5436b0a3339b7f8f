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
    could not tell withdraw the verdict at once, but not what was believed before. They do not break a row of failures: a
    prober in trouble half the time must still find out that a target is down. Nor do they bring a target that was down up
    again before its successes are all there.

    Attributes:
        rule: How many attempts in a row change the verdict.
        verdict: What is exported.
        reason: Why it is not up.
        believed: The last verdict that was up or down.
        failures: Failures in a row, attempts that could not tell left out.
        successes: Successes in a row.
    """

    rule: Confirmation
    verdict: Verdict = Verdict.UNKNOWN
    reason: Reason | None = Reason.NOT_YET_PROBED
    believed: Verdict | None = None
    failures: int = 0
    successes: int = 0

    @property
    def unsettled(self) -> bool:
        """Whether the attempts so far say something else than what is believed, and are too few to change it."""
        if self.believed is Verdict.DOWN:
            return 0 < self.successes < self.rule.successes
        return 0 < self.failures < self.rule.failures

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
                self._unknown(reason or Reason.INTERNAL)
        return self.verdict is not before

    def stale(self) -> bool:
        """Withdraw the verdict because no attempt has completed for too long; return whether that changed it."""
        before = self.verdict
        self._unknown(Reason.STALE)
        return before is not Verdict.UNKNOWN

    def _up(self) -> None:
        self.successes += 1
        if self.believed is Verdict.DOWN and self.successes < self.rule.successes:
            if self.verdict is Verdict.UNKNOWN:
                self.reason = Reason.UNCONFIRMED
            return
        self.failures = 0
        self.verdict, self.reason, self.believed = Verdict.UP, None, Verdict.UP

    def _down(self, reason: Reason | None) -> None:
        self.successes = 0
        self.failures += 1
        if self.failures >= self.rule.failures or self.believed is Verdict.DOWN:
            self.verdict, self.reason, self.believed = Verdict.DOWN, reason, Verdict.DOWN
        elif self.verdict is Verdict.UNKNOWN:
            self.reason = Reason.UNCONFIRMED

    def _unknown(self, reason: Reason) -> None:
        self.successes = 0
        self.verdict, self.reason = Verdict.UNKNOWN, reason
