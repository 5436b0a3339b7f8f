"""How tests are laid out over several workers: what shares a heavy server stays together, and the longest comes first.

Servers that start in a moment are started by each worker that needs them. `make test` runs this with pytest-xdist; a plain
pytest runs everything in one process, in the order of the files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

GROUPS = {
    "demo": ("tests/demo/test_fleet.py",),
    "jvm": ("tests/conformance/", "tests/auth/test_keycloak.py", "tests/probes/test_oidc.py"),
    "rules": (
        "tests/alerts/test_cases.py",
        "tests/alerts/test_kafka_broker.py",
        "tests/alerts/test_pages.py",
        "tests/alerts/test_versions.py",
    ),
    "simulator": ("tests/springboot/test_endpoints.py", "tests/springboot/test_faults.py"),
    "control plane": (
        "tests/kubernetes/",
        "tests/demo/test_control_plane.py",
        "tests/demo/test_cluster.py",
        "tests/clients/kubernetes/test_control_plane.py",
        "tests/cli/test_config_init_cluster.py",
    ),
    "postgres": ("tests/probes/test_postgres_figures.py", "tests/probes/test_postgres_flyway_tool.py"),
    "kafka 4": ("tests/kafka/newer/",),
    "kafka": ("tests/kafka/",),
    "deploy": ("tests/deploy/",),
    "image": ("tests/shipping/test_image.py",),
    "shipping": ("tests/shipping/test_sbom.py", "tests/shipping/test_wheel.py"),
    "faults": ("tests/demo/test_faults.py",),
    "soak": ("tests/soak/test_soak.py",),
    "e2e": ("tests/e2e/test_matrix.py",),
}
"""Tests that one worker runs, by how their names begin; the group that takes longest comes first."""

HEAVY = frozenset(
    {
        "boot_fleet", "apache_kafka", "deployers", "flyway_tool", "image", "kafkas", "keycloak", "own_control_plane",
        "results_on_kubernetes", "secured", "spring_fleet", "tools",
    }
)  # fmt: skip
"""Fixtures that take seconds of CPU to start, or minutes to build: only for tests of a group."""

LONG = (
    "tests/faults/", "tests/demo/", "tests/springboot/", "tests/app/", "tests/cli/", "tests/fuzz/", "tests/house/",
    "tests/web/test_browser.py", "tests/ownership/test_exporters.py", "tests/alerts/test_discovery_pages.py",
)  # fmt: skip
"""Tests outside of groups that take seconds each: before those that take none, so that all workers end together."""


class Scheduler(LoadScopeScheduling):  # type: ignore[misc] # xdist ships no types
    """Hands out groups, and single tests where they are in none."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid) or nodeid


def group_of(nodeid: str) -> str | None:
    """Return the group of a test, or None where any worker may run it."""
    return next((name for name, beginnings in GROUPS.items() if nodeid.startswith(beginnings)), None)


def rank(nodeid: str) -> int:
    """Tell how late a test comes: by its group, then those that take long, then all others."""
    group = group_of(nodeid)
    if group is not None:
        return list(GROUPS).index(group)
    return len(GROUPS) + (not nodeid.startswith(LONG))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduler:
    """Use it."""
    config.option.loadscopereorder = False  # or groups of many tests would come first, however short
    return Scheduler(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of the tests that measure."""
    parser.addoption(
        "--measuring", choices=("with", "without", "only"), default="with",
        help="run the tests marked `measures` with the others, leave them out, or run them only",
    )  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose, check and sort."""
    choice = config.getoption("--measuring")
    if choice != "with":
        left_out = [item for item in items if (item.get_closest_marker("measures") is not None) is not (choice == "only")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        heavy = HEAVY.intersection(getattr(item, "fixturenames", ()))
        if heavy and group_of(item.nodeid) is None:
            raise pytest.UsageError(f"{item.nodeid} uses {', '.join(heavy)}: put it in a group of tests/side_by_side.py")
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid))
