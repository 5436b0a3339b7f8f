"""The simulated services, shared by the tests of this folder and ended with them: they work all the time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.springboot import SpringFleet, spring


@pytest.fixture(scope="package")
def spring_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpringFleet]:
    """All eight services. They are shared: undo every fault, and leave the servers alone."""
    with spring(tmp_path_factory.mktemp("spring-fleet")) as fleet:
        yield fleet
