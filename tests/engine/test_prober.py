"""Is it me: what the prober says of itself, by what it cannot tell of the fleet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from exporter.engine.prober import Blindness, prober_steps, prober_view
from exporter.verdict import Reason, Verdict


def service(verdict: Verdict = Verdict.UP, *, targets: int = 2, **reasons: int) -> Any:
    """A service that is so, for these reasons."""
    named = {Reason[name.upper()]: count for name, count in reasons.items()}
    return SimpleNamespace(
        verdict=verdict,
        targets=dict.fromkeys(range(targets)),
        reasons_unknown=named if verdict is Verdict.UNKNOWN else {},
        reasons_down=named if verdict is Verdict.DOWN else {Reason.NO_INSTANCES: 1},
    )


UP = service()
LOST = service(Verdict.DOWN, connect_timeout=2)


@pytest.mark.parametrize(
    ("services", "stall", "sight", "says"),
    [
        ([UP, UP, UP], 0.0, Blindness.SEES, "No:"),
        ([UP, service(Verdict.UNKNOWN, prober_dns=2), UP], 0.0, Blindness.PARTLY, "of 2 of 6 targets"),
        ([UP, service(Verdict.UNKNOWN, prober_dns=2)], 0.0, Blindness.BLIND, "its resolver does not answer"),
        ([service(Verdict.UNKNOWN, prober_network=2)], 0.0, Blindness.BLIND, "its own network is down"),
        ([service(Verdict.UNKNOWN, auth=2)], 0.0, Blindness.SEES, "No:"),
        ([UP, UP], 1.5, Blindness.BLIND, "stood still for 1.5 s"),
        ([LOST, LOST, LOST], 0.0, Blindness.DOUBTFUL, "none of 3 services can be reached"),
        ([LOST, LOST, UP], 0.0, Blindness.SEES, "No:"),
        ([LOST, LOST], 0.0, Blindness.SEES, "No:"),
        ([LOST, LOST, service(Verdict.DOWN, connect_refused=2)], 0.0, Blindness.SEES, "No:"),
        ([], 0.0, Blindness.SEES, "No:"),
    ],
)
def test_the_prober_is_judged_by_what_it_cannot_tell(services: list[Any], stall: float, sight: Blindness, says: str) -> None:
    """One that cannot resolve a name is blind; one whose every connection is in vain is doubtful; a 401 is not its own."""
    found = prober_view(services, stall, 3, 1024)
    assert found.sight is sight
    assert says in found.text
    assert prober_steps(found)[-1].startswith("Ask another exporter")
    assert (len(prober_steps(found)) > 1) is (sight is not Blindness.SEES)
