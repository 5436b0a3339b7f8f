"""`config init` asks real Spring Boot applications of every version: it finds the actuator, and writes what works.

`full` shows everything on one port; `hidden` shows little, on a management port of its own, at another path; `plain` was
never set up for monitoring.
"""

from __future__ import annotations

import pytest

from exporter.engine.oneshot import check_fleet
from exporter.scaffold import spring
from exporter.scaffold.applications import ask_all
from exporter.scaffold.spring import Entrance
from exporter.scaffold.text import checked, written
from exporter.verdict import Verdict
from tests.fixtures.boot_applications import Application, BootApplications


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JVM answers its first question late, on a busy machine very late."""
    monkeypatch.setattr(spring, "PATIENCE", 60.0)


async def probed(*urls: str) -> tuple[dict[str, Verdict], str]:
    """Write a configuration of what is at some URLs, and probe by it; return verdicts, and the text."""
    draft = await ask_all(urls, Entrance({}, {}), lambda text: None)
    draft.connect()
    text = written(draft, "exporter.yml", listen="127.0.0.1:9818")
    result = await check_fleet(checked(text, "exporter.yml"), (), 60.0)
    return {each.name: each.verdict for each in result.services}, text


def url(application: Application) -> str:
    return f"http://127.0.0.1:{application.port}"


async def test_one_that_shows_everything(boot: BootApplications) -> None:
    verdicts, text = await probed(url(boot.full))
    assert list(verdicts.values()) == [Verdict.UP]
    assert "use postgres" in text or "uses postgres" in text
    assert "uses redis" in text
    assert "metrics: false" not in text


async def test_one_with_a_management_port(boot: BootApplications, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spring, "_PORTS", (boot.hidden.management_port,))
    verdicts, text = await probed(url(boot.hidden))
    assert list(verdicts.values()) == [Verdict.UP]
    assert f"port: {boot.hidden.management_port}" in text
    assert "base_path: /manage" in text


async def test_one_that_was_never_set_up_shows_its_meters_as_json(boot: BootApplications) -> None:
    verdicts, text = await probed(url(boot.plain))
    assert list(verdicts.values()) == [Verdict.UP]
    assert "metrics: false" not in text
