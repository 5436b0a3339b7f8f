"""Every page in every state, looked through by axe-core: who cannot see or has no mouse is paged, too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.values import Address
from tests.web.browser import Browser, chromium
from tests.web.samples import FakeBackend, Whole, database_down, healthy_fleet, troubled_fleet
from tests.web.test_browser import blind_prober, crowded_fleet, full_heap, thousand_targets

AXE = Path(__file__).parent / "axe" / "axe.min.js"

_RUN = """
axe.run(document, { resultTypes: ["violations"] }).then((found) => found.violations.map((each) =>
  `${each.id}: ${each.help}: ${each.nodes.slice(0, 3).map((node) => node.target.join(" ")).join(", ")}`))
"""

WINDOWS = ((1280, False), (390, True))


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A browser."""
    async with chromium(tmp_path) as opened:
        yield opened


async def findings(browser: Browser) -> Any:
    """Return what axe finds on the page that is open."""
    await browser.evaluate(AXE.read_text("utf-8") + "; null")
    return await browser.evaluate(_RUN)


@pytest.mark.parametrize(
    ("view", "paths"),
    [
        (healthy_fleet, ("/", "/services/vault", "/?q=nothing-is-like-that", "/?refresh=off", "/embed/vault")),
        (database_down, ("/", "/services/postgres", "/services/case", "/?state=down", "/embed/postgres")),
        (troubled_fleet, ("/", "/services/case", "/services/vault", "/services/nobody", "/nothing-here")),
        (full_heap, ("/", "/services/vault", "/embed/vault")),
        (blind_prober, ("/",)),
        (thousand_targets, ("/", "/services/s-down", "/services/s-lost", "/?first=50")),
        (crowded_fleet, ("/", "/services/authentication-and-authorisation-gateway-for-partners")),
    ],
)
async def test_axe_has_nothing_to_say(
    browser: Browser, address: Address, backend: FakeBackend, view: Callable[[], Whole], paths: tuple[str, ...]
) -> None:
    backend.view = view()
    for number, path in enumerate(paths):
        for width, dark in WINDOWS if path == "/" else (WINDOWS[number % 2],):
            await browser.visit(f"http://{address}{path}", width=width, dark=dark)
            await browser.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            assert await findings(browser) == [], f"{path} at {width} px, {'dark' if dark else 'light'}"


async def test_what_was_probed_now_is_a_page_without_a_finding(
    browser: Browser, address: Address, backend: FakeBackend
) -> None:
    """Reached as people do: by the button."""
    backend.view = database_down()
    await browser.visit(f"http://{address}/services/postgres", width=1280, dark=False)
    await browser.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    await browser.click(".probe-now button")
    assert "probed" in await browser.evaluate("document.querySelector('main').textContent")
    assert await findings(browser) == []
    assert browser.complaints == []


async def test_a_page_that_is_old_has_no_finding_either(browser: Browser, address: Address, backend: FakeBackend) -> None:
    """And says so where a person on a phone sees it."""
    backend.view = database_down()
    for width, dark in WINDOWS:
        await browser.visit(f"http://{address}/", width=width, dark=dark)
        async with asyncio.timeout(60):  # once it is live it says nothing until something happens
            while await browser.evaluate("document.querySelector('[data-live]').textContent") != "Live":
                await asyncio.sleep(0.05)
        await browser.evaluate("document.querySelector('[data-live]').textContent = 'The exporter does not answer'")
        await browser.evaluate("document.body.classList.add('stale')")
        assert "The exporter does not answer" in await browser.first_screen()
        assert await findings(browser) == []


async def test_axe_would_find_something(browser: Browser, address: Address, backend: FakeBackend) -> None:
    backend.view = healthy_fleet(time.time())
    await browser.visit(f"http://{address}/", width=1280, dark=False)
    await browser.evaluate(
        "document.querySelectorAll('label').forEach((each) => each.replaceWith(...each.querySelectorAll('input')))"
    )
    await browser.evaluate("document.querySelector('input[type=search]').removeAttribute('placeholder')")
    assert any(found.startswith("label:") for found in await findings(browser))
