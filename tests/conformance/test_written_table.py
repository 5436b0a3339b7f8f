"""The page of versions and features says what this test run found."""

from __future__ import annotations

import os

import pytest

from tests.conformance.conftest import CELLS
from tests.conformance.table import DOCUMENT, render
from tests.fixtures.boot_applications import BootApplications


def test_the_page_is_what_the_tests_found(request: pytest.FixtureRequest, boot_fleet: dict[str, BootApplications]) -> None:
    cells = request.config.stash.get(CELLS, {})
    versions = {version: str(one.hidden.truth()["boot"]) for version, one in boot_fleet.items()}
    page = render(cells, versions)
    if os.environ.get("WRITE_BOOT_TABLE"):
        DOCUMENT.write_text(page, encoding="utf-8")
    written = DOCUMENT.read_text(encoding="utf-8")
    asked_for_all = not request.config.option.keyword and not request.config.option.markexpr
    if asked_for_all and {"test_health.py", "test_meters.py"} <= {item.path.name for item in request.session.items}:
        assert written == page, "run `make boot-table`"
    else:  # a part of the tests: what it found is on the page
        found = [line for line in page.splitlines() if line.startswith("| ")][1:]
        assert {line.split("|")[1] for line in found} <= {line.split("|")[1] for line in written.splitlines() if "|" in line}
