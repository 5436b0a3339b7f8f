"""The closed list of causes: whole, with meaning, steps and a section of the runbook each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.diagnosis.causes import CAUSES, of_reason
from exporter.diagnosis.model import Cause
from exporter.verdict import PROBER_FAULTS, Reason

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
    left = re.sub(r"\{(service|dependency)\}", "", " ".join((cause.meaning, *cause.steps)))
    assert not re.search(r"[{}\n]", left)


def test_every_reason_for_which_a_target_is_down_is_one() -> None:
    assert {reason.value for reason in Reason if reason not in PROBER_FAULTS} <= CAUSES.keys()
    assert not {reason.value for reason in PROBER_FAULTS} & CAUSES.keys()
    assert of_reason(Reason.STALE) is CAUSES["unknown"]
