"""Templates as they are filled: each page, by what it is filled with when it is asked for."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from aiohttp import ClientSession

from exporter.web import badge, page, refusal
from exporter.web.templates import ENVIRONMENT, fill
from tests.web.samples import FakeBackend, troubled_fleet

Filled = dict[str, dict[str, Any]]

PATHS = ("/", "/services/case", "/badge/case.svg", "/embed/case", "/nothing")


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> Filled:
    """What the templates were filled with."""
    found: Filled = {}

    def note(name: str, /, **values: Any) -> str:
        found[name] = values
        return fill(name, **values)

    for module in (badge, page, refusal):
        monkeypatch.setattr(module, "fill", note)
    return found


async def test_what_was_shown_is_not_left_to_the_garbage_collector(
    client: ClientSession, backend: FakeBackend, filled: Filled
) -> None:
    """It is made to come seldom: what pages show of a large fleet would be kept a hundred times over."""
    backend.view = troubled_fleet()
    for path in PATHS:
        await (await client.get(path, headers={"Accept": "text/html"})).read()
    form = {"service": "case", "probe": "actuator"}
    await (await client.post("/probe/now", data=form, headers={"Sec-Fetch-Site": "same-origin"})).read()
    shown = ENVIRONMENT.list_templates(extensions=["html", "svg"])
    assert set(filled) == {*shown} - {"base.html", "_parts.html"}
    gc.disable()
    try:
        for name, values in filled.items():
            for _ in range(2):  # what is made at the first use stays
                gc.collect()
                fill(name, **values)
            assert gc.collect() == 0, name
    finally:
        gc.enable()
