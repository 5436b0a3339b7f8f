"""The runner: one deadline, and the one place where exceptions become outcomes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.metrics.store import Samples
from exporter.net.errors import failure_of, timeout_reason
from exporter.net.phases import phase_clock
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe
from exporter.verdict import Failure, Reason, Stage, Verdict

__all__ = ["Outcome", "classify", "run_probe"]

log = logging.getLogger(__name__)

LAG_SHARE = 0.25
"""A timeout during which the event loop stood still for this share of the deadline says nothing about the target."""

_TIMEOUTS = frozenset({Reason.TIMEOUT, Reason.CONNECT_TIMEOUT})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to.

    Attributes:
        verdict: Of this attempt alone, not confirmed.
        failure: Why it is not up.
        finished_at: Unix time, seconds.
        duration: Seconds, whole.
        phases: Seconds by phase.
        samples: Facts learnt, also those before a failure.
        parts: Optional parts that ran, and how they failed.
        asked: When parts were asked of which an earlier attempt is told; Unix seconds.
    """

    verdict: Verdict
    failure: Failure | None
    finished_at: float
    duration: float
    phases: Mapping[Stage, float] = field(default_factory=dict)
    samples: Samples = field(default_factory=dict)
    parts: Mapping[str, Failure | None] = field(default_factory=dict)
    asked: Mapping[str, float] = field(default_factory=dict)


Unexpected = Callable[[str, Exception], None]
"""Is told of an exception that nobody knows: where it was raised, and the exception."""


def _told(what: str, error: Exception) -> None:
    log.error("%s: unexpected %s", what, type(error).__name__, exc_info=error)


async def run_probe(
    probe: Probe[Any],
    timeout: float,
    loop_lag: Callable[[float], float] = lambda _: 0.0,
    unexpected: Unexpected = _told,
) -> Outcome:
    """Run a probe once.

    Args:
        probe: What to run.
        timeout: Deadline in seconds.
        loop_lag: Tells the longest stall of the event loop, in seconds, since a loop time.
        unexpected: Is told of exceptions that nobody knows; by default each is logged.

    Returns:
        The outcome, whatever the probe raised. Only cancellation from outside is raised.
    """
    loop = asyncio.get_running_loop()
    clock = phase_clock()
    started, clocked = loop.time(), clock()

    def excused(failure: Failure) -> Failure:
        return _excuse(failure, loop_lag(started), timeout) if failure.reason in _TIMEOUTS else failure

    attempt = Attempt(timeout, lambda error, stage: classify(error, stage, probe, unexpected), probe.max_series, excused)
    failure: Failure | None = None
    try:
        async with asyncio.timeout_at(attempt.deadline) as deadline:
            await probe.check(attempt)
        if deadline.expired():  # a library took the cancellation for itself, and went on
            failure = _late(attempt)
    except Exception as error:
        if isinstance(error, TimeoutError) and deadline.expired():
            failure = _late(attempt)
        else:
            failure = classify(error, attempt.stage, probe, unexpected)
    if failure is not None:
        failure = excused(failure)
    return Outcome(
        verdict=Verdict.UP if failure is None else failure.verdict,
        failure=failure.bare() if failure is not None else None,
        finished_at=time.time(),
        duration=clock() - clocked,
        phases=attempt.phases,
        samples=attempt.samples,
        parts={name: found.bare() if found is not None else None for name, found in attempt.parts.items()},
        asked=attempt.asked,
    )


def _late(attempt: Attempt) -> Failure:
    return Failure(attempt.stage, timeout_reason(attempt.stage), f"no answer within {attempt.timeout:g} s")


def classify(error: Exception, stage: Stage, probe: Probe[Any], unexpected: Unexpected = _told) -> Failure:
    """Turn any exception into a failure of the closed list; what nobody knows is the prober's, and is told."""
    if isinstance(error, Failure):
        return error
    try:
        found = probe.classify(error, stage) or failure_of(error, stage)
    except Exception as another:
        unexpected(f"{probe.target}: classifying {type(error).__name__}", another)
        found = None
    if found is None:
        unexpected(str(probe.target), error)
        found = Failure(stage, Reason.INTERNAL, f"unexpected {type(error).__name__}: see the log")
    return found


def _excuse(failure: Failure, lag: float, timeout: float) -> Failure:
    """Take a timeout back to the prober where its own event loop stood still."""
    if lag < LAG_SHARE * timeout:
        return failure
    return Failure(failure.stage, Reason.PROBER_LOOP_LAG, f"the event loop stood still for {lag:.2f} s")
