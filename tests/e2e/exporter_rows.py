"""Faults of the exporter itself that it lives through: rows of the matrix that no target has a part in."""

from __future__ import annotations

import resource

from tests.e2e.row import Owed, Row, Step
from tests.e2e.scene import act, mark, paged, resolved, stay
from tests.e2e.stack import Stack
from tests.fixtures.clocks import RIGHT, Clock

__all__ = ["EXPORTER"]

_AHEAD = "+300"
_REMEMBERED = 900.0
"""Seconds for which the rules look back: so much later all is well again."""


async def _give_clock(stack: Stack) -> None:
    """Start the exporter anew with a clock that can be set."""
    exporter = stack.fleet.exporter

    def restart() -> None:
        exporter.surroundings = Clock(exporter.directory).variables
        exporter.stop()
        exporter.start()

    await stack.fleet.in_thread(restart)


def _sets(at: str) -> Step:
    return act(lambda stack: Clock(stack.fleet.exporter.directory, at))


def _limit_log(stack: Stack, soft: int | None) -> None:
    """Let the exporter's files grow to so many bytes: its log is its only one, and is longer already."""
    child = stack.fleet.exporter.child
    assert child is not None
    assert child.pid is not None
    _, hard = resource.prlimit(child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (hard if soft is None else soft, hard))


async def _reload(stack: Stack) -> None:
    """Have it log something."""
    async with stack.session.post(f"http://{stack.fleet.exporter.address}/-/reload") as answer:
        answer.raise_for_status()


def _restarts(times: int) -> list[Step]:
    again = (act(lambda stack: stack.fleet.exporter.kill()), act(lambda stack: stack.fleet.exporter.start()), stay(45))
    return [step for _ in range(times) for step in again]


def _row(name: str, fault: str, story: list[Step], alert: str, title: str, since: str, patience: float) -> Row:
    owed = Owed(alert, "hafnium-exporter", title, "", 330, low=True, since=since)
    return Row(name, fault, story, [owed], patience=patience, spoils=True)


EXPORTER = (
    _row(
        "exporter-restarting",
        "exporter killed and started again, three times within three minutes",
        [*_restarts(2), mark("third"), *_restarts(1), paged(), stay(60), resolved(), stay(30)],
        "ExporterRestarting",
        "starts again and again",
        "third",
        _REMEMBERED + 600,
    ),
    _row(
        "exporter-clock",
        "the exporter's clock is five minutes ahead, and right again",
        [act(_give_clock), stay(60), mark("wrong"), _sets(_AHEAD), paged(), stay(60), _sets(RIGHT), resolved(), stay(30)],
        "ExporterClockWrong",
        "clock",
        "wrong",
        900,
    ),
    _row(
        "exporter-log-full",
        "the exporter's log cannot be written for a minute",
        [
            mark("full"),
            act(lambda stack: _limit_log(stack, 1)),
            *([act(_reload), stay(20)] * 3),
            act(lambda stack: _limit_log(stack, None)),
            paged(),
            stay(60),
            resolved(),
            stay(30),
        ],
        "ExporterLogLost",
        "cannot write its log",
        "full",
        _REMEMBERED + 600,
    ),
)
