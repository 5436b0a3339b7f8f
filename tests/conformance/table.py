"""docs/spring-boot.md: what was tested against which version, as the test run found it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.fixtures.boot_applications import VERSIONS

__all__ = ["ABSENT", "DOCUMENT", "TESTED", "render"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "spring-boot.md"
SIMULATED = "demo"
COLUMNS = (*VERSIONS, SIMULATED)
TESTED = "✓"
ABSENT = "–"

_HEAD = """\
<!-- Written by `make boot-table` from a run of tests/conformance; `make test` fails where it differs from its own run. -->
# Spring Boot versions and features

Each ✓ is a test that ran the probe against a real application of that version (tests/boot_applications) and held
what it recorded against the application's own numbers: its JVM's beans, its Hikari pool, its own counters. – means that the
version does not have the feature, and that the test saw the probe say so rightly. The last column is the demo's simulated
application, held to the same expectations where it has the feature; an empty cell there means that it has not.

"""


def render(results: Mapping[tuple[str, str], str], versions: Mapping[str, str]) -> str:
    """Write the page.

    Args:
        results: Cell by feature and column, in the order of the tests.
        versions: The exact version of each column's application, as it said itself.
    """
    features = list(dict.fromkeys(feature for feature, _ in results))
    heads = [f"Boot {versions[column]}" if column in versions else column for column in COLUMNS]
    rows = [[feature, *(results.get((feature, column), "") for column in COLUMNS)] for feature in features]
    return _HEAD + "\n".join(_lines(["feature", *heads], rows)) + "\n"


def _lines(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterable[str]:
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield "|---" + "|:---:" * (len(head) - 1) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
