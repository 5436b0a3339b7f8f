"""The wall clock jumps, runs, stands still or is absurd, by libfaketime; the monotonic clock goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from tests.faults.model import Fault, Wrong
from tests.faults.scene import WELL, Scene
from tests.fixtures.clocks import RIGHT, Clock

__all__ = ["FAULTS"]

_TOLD = "verdicts go on; timestamps follow the clock; nothing late, nothing missed for it"


def _clock(scene: Scene, at: str = RIGHT) -> tuple[Clock, Mapping[str, str]]:
    """Make the clock of a scene's daemon, and the variables to start it with."""
    try:
        clock = Clock(scene.folder, at)
    except RuntimeError as error:
        raise Wrong(str(error)) from None
    return clock, {**os.environ, **clock.variables}


def _age(scene: Scene) -> float:
    """Return how far the time that it tells is from ours."""
    return (scene.value("probe_last_run_timestamp_seconds", service=WELL[0]) or 0) - time.time()


def _goes_on(scene: Scene, seconds: float) -> float:
    """See that attempts go on at their pace, none of them missed; return how many a second."""
    before, began = scene.watch.scrape(), time.monotonic()
    time.sleep(seconds)
    after = scene.watch.scrape()
    if before is None or after is None:
        raise Wrong("no answer")
    took = time.monotonic() - began
    count = {"service": WELL[0], "outcome": "up"}
    rate = (
        after.total("probe_latency_seconds_count", **count) - before.total("probe_latency_seconds_count", **count)
    ) / took
    scene.holds(rate > 0.3, f"{rate:.2f} attempts a second where one is due")
    return rate


def _jumps(*steps: str, offset: float) -> Callable[[Scene], str]:
    """Start by the right clock, set it as told, and see that what is told follows."""

    def act(scene: Scene) -> str:
        clock, environment = _clock(scene)
        scene.start(environment=environment)
        for step in steps:
            clock.set(step)
            time.sleep(1.5 if len(steps) > 1 else 0)
        scene.wait(lambda: abs(_age(scene) - offset) < 120, 10, f"it tells a time {offset:+.0f} s from ours")
        rate = _goes_on(scene, 4)
        clock.set(RIGHT)
        scene.wait(lambda: abs(_age(scene)) < 60, 10, "it tells the right time again")
        scene.settled()
        return f"{rate:.1f} attempts a second and target all the while; last run told at {offset:+.0f} s"

    return act


def _starts(at: str, tells: str) -> Callable[[Scene], str]:
    def act(scene: Scene) -> str:
        clock, environment = _clock(scene, at)
        scene.start(environment=environment)
        told = scene.value("probe_last_run_timestamp_seconds", service=WELL[0]) or 0
        rate = _goes_on(scene, 4)
        clock.set(RIGHT)
        scene.wait(lambda: abs(_age(scene)) < 60, 10, "it tells the right time")
        scene.settled()
        return f"started, told {tells.format(year=time.gmtime(told).tm_year)}; {rate:.1f} attempts a second and target"

    return act


def _drifts(scene: Scene) -> str:
    clock, environment = _clock(scene)
    scene.start(environment=environment)
    clock.set("+0 x20")
    rate = _goes_on(scene, 5)
    clock.set(RIGHT)
    scene.settled()
    scene.holds(rate < 2, f"{rate:.1f} attempts a second: the wall clock paces it")
    return f"{rate:.1f} attempts a second and target"


def _stands(scene: Scene) -> str:
    clock, environment = _clock(scene)
    scene.start(environment=environment)
    clock.set(time.strftime("%Y-%m-%d %H:%M:%S"))
    rate = _goes_on(scene, 5)
    clock.set(RIGHT)
    scene.settled()
    return f"{rate:.1f} attempts a second and target"


FAULTS = (
    Fault("clock-forward", "the clock jumps an hour ahead, and back", _TOLD, _jumps("+3600", offset=3600), quick=True),
    Fault("clock-back", "the clock jumps back an hour, and ahead", _TOLD, _jumps("-3600", offset=-3600), quick=True),
    Fault(
        "clock-to-and-fro",
        "the clock jumps an hour to and fro, six times",
        _TOLD,
        _jumps(*("+3600", "-3600") * 3, offset=-3600),
    ),
    Fault(
        "clock-2040", "it is started in the year 2040, past 2038", "the same, in that year", _starts("+440000000", "{year}")
    ),
    Fault("clock-1969", "it is started before 1970", "the same", _starts("-1900000000", "{year}")),
    Fault("clock-fast", "the clock runs twenty times as fast", "attempts at their pace", _drifts),
    Fault("clock-stands", "the clock stands still", "attempts at their pace", _stands),
)
