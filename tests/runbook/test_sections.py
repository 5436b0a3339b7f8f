"""What sections of the runbook must say that no rule of `runbook check` asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

RUNBOOK = (Path(__file__).parents[2] / "docs/runbook.md").read_text("utf-8")


def section(heading: str) -> str:
    found = re.search(rf"^### {heading}\n(.*?)(?=^##)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    "word", ["`not_authorized`", "deleted together with its ACL", "rpk topic describe", "`topics: {exclude: […]}`"]
)
def test_a_deleted_topic_that_looks_like_one_hidden_by_rights_can_be_ended(word: str) -> None:
    assert word in section("ProbePartFailing")
