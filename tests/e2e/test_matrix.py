"""The quick rows of the matrix, all intervals fifteen times as fast. `make e2e` runs all rows as shipped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.judge import Result
from tests.e2e.matrix import ROWS
from tests.e2e.run import run_rows

HURRY = 15
QUICK = [row for row in ROWS.values() if row.quick and not row.kubernetes]
OF_CLUSTER = [row for row in ROWS.values() if row.quick and row.kubernetes]

Results = Mapping[str, Result]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Run them all."""
    state = tmp_path_factory.mktemp("e2e")
    found = asyncio.run(run_rows(QUICK, state, 2, lambda _: None, HURRY))
    return {result.row: result for result in found}


@pytest.fixture(scope="module")
def results_on_kubernetes(control_plane_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Run those of Kubernetes."""
    state = tmp_path_factory.mktemp("e2e-kubernetes")
    found = asyncio.run(run_rows(OF_CLUSTER, state, 1, lambda _: None, HURRY))
    return {result.row: result for result in found}


@pytest.mark.parametrize("name", [row.name for row in QUICK])
def test_people_get_exactly_what_they_are_owed(name: str, results: Results) -> None:
    result = results[name]
    assert result.problems == [], result.json()


@pytest.mark.parametrize("name", [row.name for row in OF_CLUSTER])
def test_people_get_exactly_what_they_are_owed_on_kubernetes(name: str, results_on_kubernetes: Results) -> None:
    result = results_on_kubernetes[name]
    assert result.problems == [], result.json()
