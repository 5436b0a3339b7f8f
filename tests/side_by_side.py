"""How tests are laid out for several workers: what shares a heavy server stays together, and the longest comes first.

Servers that start in a moment are started by each worker that needs them. `make test` runs this with pytest-xdist; a plain
pytest runs everything in one process, in the order of the files.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

GROUPS = {
    "boot_fleet": "jvm",
    "apache_kafka": "jvm",
    "keycloak": "jvm",
    "secured": "jvm",
    "subject": "jvm",
    "spring_fleet": "simulator",
}
"""Group of the tests that use a fixture which takes long to start; of several, the first here."""

LONGEST = ("jvm", "demo", "faults", "simulator")
"""Groups that are started first, in this order."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of the tests that measure."""
    parser.addoption(
        "--measuring", choices=("with", "without", "only"), default="with",
        help="run the tests marked `measures` with the others, leave them out, or run them only",
    )  # fmt: skip


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose, group and sort."""
    choice = config.getoption("--measuring")
    if choice != "with":
        left_out = [item for item in items if (item.get_closest_marker("measures") is not None) is not (choice == "only")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        group = _group(item)
        if group is not None and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(group))
    if config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        items[:] = longest_first(items)


def _group(item: pytest.Item) -> str | None:
    used = getattr(item, "fixturenames", ())
    return next((group for fixture, group in GROUPS.items() if fixture in used), None)


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Put the groups of `LONGEST` first; what is left keeps its order."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}

    def rank(item: pytest.Item) -> int:
        mark = item.get_closest_marker("xdist_group")
        return ranks.get(mark.args[0], len(LONGEST)) if mark is not None else len(LONGEST)

    return sorted(items, key=rank)
