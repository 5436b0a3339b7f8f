"""File descriptors: what is kept back, what is kept open, and a fleet that is larger than the limit."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.net.descriptors import RECENT, Descriptors

FLEET = Path(__file__).parent / "fleet_of_connections.py"


@pytest.mark.parametrize(
    ("limit", "usable", "keepable"), [(256, 192, 144), (1024, 922, 692), (65_536, 58_983, 44_238), (65, 1, 1)]
)
def test_a_tenth_but_at_least_64_is_kept_back_and_a_quarter_of_the_rest_is_for_what_is_under_way(
    limit: int, usable: int, keepable: int
) -> None:
    descriptors = Descriptors(limit)
    assert (descriptors.usable, descriptors.keepable) == (usable, keepable)
    assert descriptors.admits(usable - 1)
    assert not descriptors.admits(usable)


class Kept:
    """Connections that a test keeps, and those that were closed."""

    def __init__(self, descriptors: Descriptors) -> None:
        self._descriptors = descriptors
        self.closed: list[str] = []

    def keep(self, name: str, number: int) -> bool:
        return self._descriptors.keep(name, number, lambda: self.closed.append(name))


async def test_room_is_made_by_what_was_not_used_for_longest() -> None:
    descriptors = Descriptors(1024)
    kept = Kept(descriptors)
    for name in ("a", "b", "c"):
        assert kept.keep(name, 10)
    descriptors.forget("a")
    kept.keep("a", 10)
    assert (descriptors.give_up(), descriptors.give_up(), kept.closed) == (True, True, ["b", "c"])
    descriptors.forget("a")
    assert not descriptors.give_up()
    assert kept.closed == ["b", "c"]


@pytest.mark.looptime
async def test_where_few_are_left_a_new_one_is_kept_only_for_one_that_nobody_used_of_late() -> None:
    """Else a fleet that is larger than the limit would close each connection just before it is wanted."""
    descriptors = Descriptors(1024)
    kept = Kept(descriptors)
    assert kept.keep("old", descriptors.keepable - 1)
    assert not kept.keep("new", descriptors.keepable)
    await asyncio.sleep(RECENT + 1)
    assert kept.keep("new", descriptors.keepable)
    assert kept.closed == ["old"]
    assert descriptors.kept == 1


@pytest.mark.parametrize("limit", [256, 1024])
def test_a_fleet_of_more_instances_than_descriptors_stays_up_and_leaves_some_free(limit: int) -> None:
    """A thousand instances on addresses of their own, each asked three times, under a hard limit."""
    done = subprocess.run([sys.executable, str(FLEET), str(limit)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["failures"] == []
    assert found["soft"] == [min(limit, 200), limit], "the soft limit was raised to the hard one"
    assert found["free"] >= max(64, limit // 10), "for the listener and for files"
    assert found["reused"] > 0.5 * min(1000, limit), "most of what there is room for is kept"
