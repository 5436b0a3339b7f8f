"""Fixtures of the tests of alerts."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.alerts.tools import DEBIAN, Tools, newer
from tests.fixtures.golang import require_go


@pytest.fixture(scope="session", params=["debian", "newer"])
def tools(request: pytest.FixtureRequest) -> Tools:
    """Prometheus and Alertmanager, each version in turn."""
    if request.param == "debian":
        return DEBIAN
    require_go()
    return newer()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unix time goes with the loop's clock: promtool's begins at 0, as that of a recording does."""
    began: list[float] = []

    def now() -> float:
        loop = asyncio.get_running_loop()
        began.append(loop.time())
        return loop.time() - began[0]

    monkeypatch.setattr(time, "time", now)
