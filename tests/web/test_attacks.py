"""Clients without manners against the daemon as it is shipped: whoever asks for health is answered, and at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.attackers import ATTACKS
from bench.attacks import measure, ours

Running = tuple[int, int, str]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A daemon with 56,000 series."""
    folder: Path = tmp_path_factory.mktemp("attacks")
    with ours(folder) as running:
        yield running


@pytest.mark.measures
@pytest.mark.parametrize("attack", ATTACKS)
def test_health_is_answered_at_once_whatever_others_do(large: Running, attack: str) -> None:
    """Two thousand idle connections, requests that drip, readers that read nothing, five hundred scrapes at once."""
    pid, port, path = large
    under = measure("hafnium-exporter", pid, port, path, attack, 3.0, after=0)
    assert under.asked == under.answered > 20
    assert under.median < 100
    assert under.peak < 3 * under.before
