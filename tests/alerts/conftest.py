"""Fixtures of the tests of alerts."""

from __future__ import annotations

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
