"""Gathers what the tests of this folder find, for docs/spring-boot.md."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.conformance.table import ABSENT, TESTED

CELLS = pytest.StashKey[dict[tuple[str, str], str]]()
ABSENCE = pytest.StashKey[bool]()


class Cell:
    """What the running test says of its cell in the table."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def absent(self) -> None:
        """Say that the version does not have the feature, and that the test has seen this."""
        self._item.stash[ABSENCE] = True


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> Cell:
    """The running test's cell."""
    return Cell(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note how a test of a feature came out; one that fails in its setup or at its end counts as failed."""
    report = yield
    marker = item.get_closest_marker("feature")
    if marker is not None and (call.when == "call" or report.failed):
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        column = str(parameters.get("boot") or parameters.get("subject") or marker.kwargs["version"])
        good = ABSENT if item.stash.get(ABSENCE, False) else TESTED
        cells = item.config.stash.setdefault(CELLS, {})
        cells[marker.args[0], column] = good if report.passed else "fails"
    return report
