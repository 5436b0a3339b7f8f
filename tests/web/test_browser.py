"""The pages in a real browser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from itertools import product
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.engine.limit_views import over_view
from exporter.engine.prober import Blindness
from exporter.limits.entries import HEAP_RATIO
from exporter.limits.model import Over
from exporter.values import Address
from exporter.verdict import Verdict
from tests.web.browser import Browser, chromium
from tests.web.samples import (
    SEES,
    FakeBackend,
    Whole,
    database_down,
    healthy_fleet,
    large_fleet,
    service,
    target,
    troubled_fleet,
)

WINDOWS = tuple(product((360, 400, 768, 1280, 1920), (False, True)))


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A browser."""
    async with chromium(tmp_path) as opened:
        yield opened


def crowded_fleet() -> Whole:
    """Long names, many instances, many probes, long words from servers."""
    now = time.time()
    name = "authentication-and-authorisation-gateway-for-partners"
    targets = [
        target(
            name, kind, f"ip-10-4-{n}-250.eu-central-1.compute.internal:18080", now,
            verdict=Verdict.DOWN if n % 5 == 0 else Verdict.UP, reason="timeout" if n % 5 == 0 else None,
            detail="x" * 300 if n % 5 == 0 else "", parts={"p" * 60: "y" * 200}, facts={"probe_" + "z" * 120: 1e300},
        )
        for n in range(12)
        for kind in ("actuator", "kubernetes", "tls")
    ]  # fmt: skip
    crowded = service(name, targets, Verdict.UP, depends_on=[name, "n" * 63])
    troubled = troubled_fleet(now)
    return troubled.model_copy(update={"services": [crowded, *troubled.services], "config_error": "e" * 400})


def thousand_targets() -> Whole:
    """A fleet of 1,000, of which a service has never been found and another is down with hundreds of targets."""
    now = time.time()
    down = [target("s-down", "actuator", f"h:{n}", now, verdict=Verdict.DOWN, reason="timeout") for n in range(300)]
    lost = service("s-lost", [], Verdict.UNKNOWN, reason="not_discovered")
    large = large_fleet(696)
    return large.model_copy(update={"services": [service("s-down", down, Verdict.DOWN), lost, *large.services]})


@pytest.mark.parametrize(
    ("view", "path"),
    [
        (thousand_targets, "/"),
        (thousand_targets, "/services/s-lost"),
        (healthy_fleet, "/"),
        (troubled_fleet, "/"),
        (troubled_fleet, "/services/case"),
        (database_down, "/"),
        (database_down, "/services/postgres"),
        (troubled_fleet, "/nothing-here"),
        (crowded_fleet, "/"),
        (crowded_fleet, "/services/authentication-and-authorisation-gateway-for-partners"),
    ],
)
async def test_a_page_comes_out_well_in_every_window_and_the_browser_does_not_complain(
    browser: Browser, address: Address, backend: FakeBackend, view: Callable[[], Whole], path: str
) -> None:
    """From phones to wide screens, light and dark: all of it is inside, legible, styled, and from here."""
    backend.view = view()
    backgrounds = set()
    for width, dark in WINDOWS:
        found = await browser.visit(f"http://{address}{path}", width=width, dark=dark)
        window = f"{width} px, {'dark' if dark else 'light'}"
        complaints = [said for said in browser.complaints if not _is_the_404_itself(said, path)]
        assert complaints == [], window
        assert {url for url in browser.requested if not url.startswith(f"http://{address}/")} == set(), window
        assert "Hafnium" in found["title"]
        assert {name: found[name] for name in ("wide", "outside", "spilling", "pale") if found[name]} == {}, window
        backgrounds.add(found["background"])
    assert backgrounds == {"rgb(245, 246, 248)", "rgb(14, 17, 22)"}


async def test_what_servers_say_does_not_run(browser: Browser, address: Address, backend: FakeBackend) -> None:
    """Neither as an element nor as an attribute, by the escaping; the policy has nothing left to refuse."""
    hostile = "\"'><script>window.touched=1</script><img src=x onerror=window.touched=1>"
    bad = target(
        "evil", hostile, hostile, time.time(),
        verdict="down", reason=hostile, stage=hostile, detail=hostile, parts={hostile: hostile}, facts={hostile: 1.0},
    )  # fmt: skip
    backend.view = backend.view.model_copy(
        update={"services": [service("evil", [bad], Verdict.DOWN, depends_on=[hostile])], "config_error": hostile}
    )
    for path in ("/", "/services/evil"):
        found = await browser.visit(f"http://{address}{path}", width=1280, dark=False)
        assert found["touched"] is None
        assert browser.complaints == []


async def test_a_bad_page_would_be_noticed(browser: Browser) -> None:
    """What the tests above look for is found where it is."""
    page = (
        "<!doctype html><title>Bad</title><body><script>window.touched=1</script><p style='color:#bbb'>pale</p>"
        "<table><tr><td><div>spills</div></td></tr></table><link rel=stylesheet href=/s.css><img src=http://127.0.0.1:1/x>"
    )
    style = "p{color:#bbb} table{table-layout:fixed;width:50px} div{width:3000px}"
    policy = {"Content-Security-Policy": "default-src 'none'; style-src 'self'"}

    async def bad(_request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers=policy)

    async def sheet(_request: web.Request) -> web.Response:
        return web.Response(text=style, content_type="text/css")

    app = web.Application()
    app.add_routes([web.get("/", bad), web.get("/s.css", sheet)])
    async with TestServer(app) as server:
        found = await browser.visit(str(server.make_url("/")), width=400, dark=False)
    assert found["touched"] is None
    assert found["wide"]
    assert found["outside"]
    assert found["spilling"]
    assert found["pale"] == ["P.null pale"]
    said = str(browser.complaints)
    assert "script" in said
    assert "style" in said
    assert "127.0.0.1:1/x" in said


def _is_the_404_itself(said: dict[str, dict[str, dict[str, str]]], path: str) -> bool:
    """A browser logs every document that is not found."""
    entry = said["params"].get("entry", {})
    return path == "/nothing-here" and entry.get("url", "").endswith(path)


SCREENS = ((1300, 800), (390, 844))
"""What a person who is paged looks at: a laptop, a phone."""


def full_heap() -> Whole:
    now = time.time()
    over = over_view(Over(HEAP_RATIO, (), 0.97, 0.9, now - 130, now - 4), "actuator", "10.4.5.11:8085")
    full = service("vault", [target("vault", "actuator", "10.4.5.11:8085", now, over=[over])])
    fleet = healthy_fleet(now)
    return fleet.model_copy(update={"services": [full if each.name == "vault" else each for each in fleet.services]})


def blind_prober() -> Whole:
    why = {"sight": Blindness.BLIND, "text": "Yes: of 13 of 13 targets the exporter cannot tell anything.", "untold": 13}
    view = troubled_fleet().model_copy(update={"config_error": None})
    return view.model_copy(update={"prober": SEES.model_copy(update={**why, "reasons": {"prober_descriptors": 13}})})


@pytest.mark.parametrize(
    ("view", "path", "words"),
    [
        (database_down, "/", (
            "postgres is down", "and 7 services with it", "Down for 12 min", "UTC", "Nobody listens on the port of postgres",
            "What to do", "kubectl get pods -n hafnium -l app=postgres", "Is it me?", "No: the exporter is well.",
        )),
        (database_down, "/services/postgres", (
            "postgres", "Down for 12 min", "Nobody listens on the port of postgres",
            "kubectl get pods -n hafnium -l app=postgres",
        )),
        (full_heap, "/", (
            "vault is degraded", "Degraded for 2 min", "Heap in use", "97 %", "limit 90 %", "Check for leaks, scale up",
            "MemoryPressure", "Is it me?", "No: the exporter is well.",
        )),
        (full_heap, "/services/vault", ("Degraded for 2 min", "Heap in use", "97 %", "limit 90 %", "Check for leaks")),
        (blind_prober, "/", ("Is it me?", "Yes: of 13 of 13 targets", "Raise its limit of open files", "postgres is down")),
    ],
)  # fmt: skip
async def test_who_is_paged_sees_what_since_when_why_what_to_do_and_whether_it_is_the_prober_without_scrolling(
    browser: Browser, address: Address, backend: FakeBackend, view: Callable[[], Whole], path: str, words: tuple[str, ...]
) -> None:
    backend.view = view()
    for width, height in SCREENS:
        await browser.visit(f"http://{address}{path}", width=width, height=height, dark=False)
        seen = await browser.first_screen()
        assert [each for each in words if each not in seen] == [], f"{width} x {height}: {seen}"
        assert browser.complaints == []


async def test_a_page_that_is_open_follows_and_keeps_what_is_unfolded_and_where_the_focus_is(
    browser: Browser, address: Address, backend: FakeBackend
) -> None:
    """Live without a reload: whoever reads the evidence is not thrown back to the top."""
    backend.view = database_down()
    await browser.visit(f"http://{address}/", width=1300, dark=False)
    await browser.evaluate("document.querySelector('details.folded').open = true; document.getElementById('q').focus()")
    await browser.evaluate("window.here = 1")
    backend.view = troubled_fleet()
    changed = "document.getElementById('headline').textContent === 'postgres is down, and case with it'"
    async with asyncio.timeout(60):
        while not await browser.evaluate(changed):
            await asyncio.sleep(0.1)
    assert await browser.evaluate("window.here") == 1, "the page was not loaded anew"
    assert await browser.evaluate("document.querySelector('details.folded').open")
    assert await browser.evaluate("document.activeElement.id") == "q"
    assert browser.complaints == []
