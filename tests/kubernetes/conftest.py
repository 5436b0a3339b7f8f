"""One fleet with its exporter for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.daemon import Daemon
from tests.kubernetes.fleet import Day
from tests.kubernetes.pods import Aside
from tests.kubernetes.watched import Watched
from tests.leftovers import pytest_runtest_teardown  # noqa: F401 - a hook


@pytest.fixture(scope="module")
def fleet(control_plane_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """The fleet, watched by an exporter that is a process of its own."""
    folder = tmp_path_factory.mktemp("day")
    with Aside() as aside:
        day = Day(folder, aside)
        try:
            day.start()
            with Daemon(folder, day.config()) as daemon:
                daemon.start()
                day.watched = Watched(daemon, day.config())
                yield day
                assert daemon.stop() == 0, daemon.log[-3000:]
                assert "Traceback" not in daemon.log, daemon.log[-3000:]
        finally:
            day.stop()


@pytest.fixture
def day(fleet: Day) -> Day:
    """The fleet, when all is well."""
    fleet.until_well()
    return fleet
