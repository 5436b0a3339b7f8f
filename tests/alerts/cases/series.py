"""What the series of a case are worth at each scrape, as promtool reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

__all__ = ["STUCK", "Ahead", "Growing", "Phase", "Rising", "Sample", "State", "Stuck", "written"]


class Stuck(Enum):
    """A series that keeps the value which it had."""

    STUCK = 0


STUCK = Stuck.STUCK


@dataclass(frozen=True, slots=True)
class Rising:
    """A counter, which begins at 0 with the exporter."""

    per_second: float


@dataclass(frozen=True, slots=True)
class Growing:
    """A gauge that grows from the value which it had, or from a first one; what it tells of is not the exporter's."""

    per_second: float
    first: float = 0.0


@dataclass(frozen=True, slots=True)
class Ahead:
    """A point in time, so many seconds from now."""

    seconds: float


Sample = float | Rising | Growing | Ahead | Stuck


class State(Enum):
    """What the exporter is like for a while."""

    GOOD = "good"
    BAD = "bad"
    LOST = "lost"
    """It cannot be scraped: `up` is 0, and all of its series have ended."""
    NEW = "new"
    """The same, and then it has been started anew: counters begin at 0."""
    GONE = "gone"
    """None of the case's series is there, nor is `up`."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A state, and for how long."""

    state: State
    seconds: float


def written(samples: Mapping[State, Mapping[str, Sample]], phases: Iterable[Phase], scrape: float) -> list[dict[str, str]]:
    """Write down every series over all phases, one value a scrape."""
    states = [phase.state for phase in phases for _ in range(round(phase.seconds / scrape))]
    names = dict.fromkeys(name for known in samples.values() for name in known)
    return [{"series": name, "values": " ".join(_shortened(_values(name, samples, states, scrape)))} for name in names]


def _values(
    name: str, samples: Mapping[State, Mapping[str, Sample]], states: Iterable[State], scrape: float
) -> Iterator[str]:
    value: float | None = None
    there = False
    for number, state in enumerate(states):
        if state in (State.LOST, State.NEW) and name.startswith("up{"):
            value, there = 0.0, True
            yield "0"
            continue
        sample = samples.get(state, {}).get(name)
        if state is State.NEW and isinstance(samples[State.BAD].get(name, samples[State.GOOD].get(name)), Rising):
            value = None
        if sample is None:
            yield "stale" if there else "_"
            there = False
            continue
        value, there = _next(sample, value, number * scrape, scrape), True
        yield f"{value:.10g}"


def _next(sample: Sample, before: float | None, now: float, scrape: float) -> float:
    match sample:
        case Rising(rate):
            return 0.0 if before is None else before + rate * scrape
        case Growing(rate, first):
            return first if before is None else before + rate * scrape
        case Ahead(seconds):
            return now + seconds
        case Stuck.STUCK:
            return 0.0 if before is None else before
    return sample


def _shortened(values: Iterable[str]) -> Iterator[str]:
    for value, same in groupby(values):
        count = len(list(same))
        if value == "stale":
            yield " ".join(["stale"] * count)
        elif value == "_":
            yield f"_x{count}"
        else:
            yield f"{value}x{count - 1}" if count > 1 else value
