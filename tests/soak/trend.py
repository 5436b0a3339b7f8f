"""Whether something grows: the line through its samples that a few odd ones do not bend."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

__all__ = ["growth"]

_POINTS = 200
"""Points of which all pairs are looked at; of more, so many are taken, evenly."""


def growth(samples: Sequence[tuple[float, float]]) -> float:
    """Return by how much a quantity grew from the first sample to the last: the slope of Theil and Sen over their span.

    It is the median of the slopes between all pairs of samples, so up to 29 % of them may be anything; a quantity that falls
    gives a negative number.

    Args:
        samples: When, and how much, in order of time.
    """
    step = max(1, len(samples) // _POINTS)
    few = [*samples[::step]]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(few) for b in few[i + 1 :] if b[0] > a[0]]
    return median(slopes) * (samples[-1][0] - samples[0][0]) if slopes else 0.0
