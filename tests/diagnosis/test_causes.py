"""The closed list of causes: whole, with meaning, steps and a section of the runbook each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.diagnosis.causes import CAUSES, of_reason
from exporter.diagnosis.model import Cause
from exporter.verdict import PROBER_FAULTS, Reason

NAMES = (
    "service", "dependency", "ask", "handshake", "kubectl", "namespace", "selector", "slices", "balancer", "workload",
    "autoscaler",
)  # fmt: skip
RUNBOOK = Path(__file__).parents[2] / "docs/runbook.md"


def anchors() -> set[str]:
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("cause", CAUSES.values(), ids=list(CAUSES))
def test_each_says_what_it_means_and_what_to_do(cause: Cause) -> None:
    assert re.fullmatch(r"[a-z][a-z_0-9]*", cause.name)
    assert cause.meaning
    assert cause.steps
    assert cause.symptoms
    assert cause.section in anchors()
    ways = [way for step in cause.steps for way in ([step] if isinstance(step, str) else step)]
    left = re.sub(rf"\{{({'|'.join(NAMES)})\}}", "", " ".join((cause.meaning, *ways)))
    assert not re.search(r"[{}\n]", left)


@pytest.mark.parametrize("cause", CAUSES.values(), ids=list(CAUSES))
def test_each_step_can_be_told_of_what_is_in_no_cluster(cause: Cause) -> None:
    for step in cause.steps:
        last = step if isinstance(step, str) else step[-1]  # empty: nothing is told
        assert set(re.findall(r"\{(\w+)\}", last)) <= {"service", "dependency"}
        assert "kubectl" not in last
        assert isinstance(step, str) or len(set(step)) == len(step) > 1


def test_every_reason_for_which_a_target_is_down_is_one() -> None:
    assert {reason.value for reason in Reason if reason not in PROBER_FAULTS} <= CAUSES.keys()
    assert not {reason.value for reason in PROBER_FAULTS} & CAUSES.keys()
    assert of_reason(Reason.STALE) is CAUSES["unknown"]
