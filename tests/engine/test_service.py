"""What targets add up to for a service."""

from __future__ import annotations

import pytest

from exporter.engine.service import Floor, service_verdict
from exporter.verdict import Verdict

U, D, X = Verdict.UP, Verdict.DOWN, Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("verdicts", "needed", "complete", "expected"),
    [
        ([U], 1, True, U),
        ([U, D, D], 1, True, U),  # a rollout keeps its floor
        ([U, D], 2, True, D),
        ([D, X], 1, True, X),
        ([D, D], 1, True, D),
        ([], 1, True, D),  # zero instances is down
        ([], 1, False, X),  # unless the list could not be read
        ([], 0, True, U),  # scaled to zero on purpose
        ([D], 2, False, X),
    ],
)
def test_floor(verdicts: list[Verdict], needed: int, complete: bool, expected: Verdict) -> None:
    assert Floor.of(verdicts, needed, complete=complete).verdict is expected


def test_the_worst_vital_probe_counts() -> None:
    assert service_verdict([Floor.of([U], 1), Floor.of([D], 1)]) is D
    assert service_verdict([Floor.of([U], 1), Floor.of([X], 1)]) is X
    assert service_verdict([Floor.of([U], 1)]) is U
    assert service_verdict([]) is None
