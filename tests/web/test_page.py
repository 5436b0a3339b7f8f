"""The pages for people."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest
from aiohttp import ClientSession

from exporter.config.server import Server
from exporter.diagnosis.model import Cause, Diagnosis, Evidence, Suspicion, Symptom
from exporter.engine.diagnosis_views import diagnosis_views
from exporter.engine.limit_views import over_view
from exporter.engine.prober import Blindness
from exporter.limits.entries import HEAP_RATIO
from exporter.limits.model import Over
from exporter.values import Address
from exporter.verdict import Verdict
from exporter.web.access import Access
from exporter.web.server import serve
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

VOID = {"meta", "link", "br", "img", "input", "hr"}
HOSTILE = "<script>alert('x')</script>\"'&{{ 1234*4321 }}"


class Page(HTMLParser):
    """A page as a list of elements; fails where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.visible: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag not in {"span", "a", "b", "time", "strong"}:
            self.visible.append(" ")

    def handle_data(self, data: str) -> None:
        self.visible.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.visible).split())

    def attributes(self, name: str) -> Iterator[str]:
        return (values[name] or "" for _, values in self.elements if name in values)


async def get(client: ClientSession, path: str = "/") -> Page:
    async with client.get(path) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        return Page(await answer.text())


def foreign_scripts(page: Page) -> list[str | None]:
    """Scripts that are not the pages' own file."""
    found = [values.get("src") for tag, values in page.elements if tag == "script"]
    return [source for source in found if source is None or not source.startswith("/static/live.js?v=")]


def fleet(view: Whole, *services: Any) -> Whole:
    return view.model_copy(update={"services": list(services)})


@pytest.fixture
def troubled(backend: FakeBackend) -> FakeBackend:
    backend.view = troubled_fleet()
    return backend


async def test_a_fleet_that_is_well_says_so_first(client: ClientSession) -> None:
    page = await get(client)
    assert "<title>Everything is up · Hafnium</title>" in page.text
    assert "What is wrong" not in page.words
    assert "0 down 0 degraded 0 unknown 13 up" in page.words


@pytest.mark.usefixtures("troubled")
async def test_what_is_wrong_comes_first_the_worst_above_and_what_is_shared_above_who_needs_it(
    client: ClientSession,
) -> None:
    page = await get(client)
    assert "<title>postgres is down, and case with it · Hafnium</title>" in page.text
    assert "2 down 2 degraded 1 unknown 8 up" in page.words
    wrong, _, tables = page.text.partition('id="fleet"')
    order = re.findall(r'<article class="problem is-(\w+)">.*?<h3><a href="/services/([\w-]+)"', wrong, re.DOTALL)
    assert order == [
        ("down", "postgres"), ("degraded", "keycloak"), ("degraded", "signals"), ("unknown", "vault")
    ]  # fmt: skip
    assert "identity" in tables


@pytest.mark.usefixtures("troubled")
async def test_each_fault_has_its_reason_stage_detail_and_times(client: ClientSession) -> None:
    words = (await get(client)).words
    assert (
        "postgres:5432 postgres at connect connect_refused 10.4.20.7:5432: connection refused "
        "Down for 12 min Last success 12 min ago Checked 4 s ago" in words
    )
    assert "It is up, but its part “chain” failed." in words


@pytest.mark.usefixtures("troubled")
async def test_a_refused_configuration_is_shown_with_all_its_errors(client: ClientSession) -> None:
    page = await get(client)
    assert 'class="banner" role="alert"' in page.text
    assert "unknown key; did you mean interval?" in page.words
    assert "config/exporter.yml:58:16" in page.words


async def test_unknown_looks_and_reads_unlike_down(client: ClientSession, backend: FakeBackend) -> None:
    now = time.time()
    blind = target("vault", "actuator", "h:1", now, verdict="unknown", reason="prober_dns", stage="resolve")
    backend.view = fleet(backend.view, service("vault", [blind], Verdict.UNKNOWN))
    page = await get(client)
    assert "vault is unknown" in page.words
    assert "The resolver does not answer." in page.words
    assert 'class="problem is-unknown"' in page.text
    assert "is-down" not in page.text.replace('<li class="is-down none">', "").replace('class="icon is-down"', "")
    assert "/static/unknown.svg" in page.text


async def test_first_results_are_waited_for_without_alarm(client: ClientSession, backend: FakeBackend) -> None:
    fresh = target(
        "case", "actuator", "h:1", 0.0, verdict="unknown", reason="not_yet_probed", confirmed_since=None, last_run=None,
        last_success=None, duration=None, next_run=None, phases={}, parts={}, facts={}, recents=[],
    )  # fmt: skip
    backend.view = fleet(backend.view, service("case", [fresh], Verdict.UNKNOWN))
    page = await get(client)
    assert "Waiting for the first results of 1 target" in page.words
    assert "What is wrong" not in page.words
    assert "No attempt has ended yet." in (await get(client, "/services/case")).words


@pytest.mark.parametrize(
    ("verdicts", "title"),
    [
        ("", "Nothing is configured"),
        ("d", "s0 is down"),
        ("ddd", "s0, s1 and s2 are down"),
        ("ddddu", "4 of 5 are down"),
        ("?u", "s0 is unknown"),
        ("?d", "s1 is down"),
    ],
)
async def test_the_headline_is_a_sentence(client: ClientSession, backend: FakeBackend, verdicts: str, title: str) -> None:
    kinds = {"u": Verdict.UP, "d": Verdict.DOWN, "?": Verdict.UNKNOWN}
    backend.view = fleet(backend.view, *(service(f"s{n}", [], kinds[v]) for n, v in enumerate(verdicts)))
    assert f'<h1 id="headline">{title}</h1>' in (await get(client)).text


async def test_a_service_without_instances_says_so(client: ClientSession, backend: FakeBackend) -> None:
    backend.view = fleet(backend.view, service("case", [], Verdict.DOWN))
    assert "No instance of it is known." in (await get(client)).words
    assert "No instance of it is known." in (await get(client, "/services/case")).words


@pytest.mark.parametrize("path", ["/", "/services/case"])
@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("not_discovered", "The instances of the service have never been known. not_discovered"),
        ("prober_dns", "The resolver does not answer. prober_dns"),
    ],
)
async def test_a_service_that_is_unknown_for_no_targets_sake_says_why(
    client: ClientSession, backend: FakeBackend, path: str, reason: str, says: str
) -> None:
    """It said that no instance of it is known, and nothing of why."""
    up = [target("case", "actuator", "h:1", time.time())] if reason == "prober_dns" else []
    backend.view = fleet(backend.view, service("case", up, Verdict.UNKNOWN, reason=reason))
    words = (await get(client, path)).words
    assert says in words
    assert "case" in words


@pytest.mark.usefixtures("troubled")
async def test_a_service_shows_phases_parts_facts_and_attempts(client: ClientSession) -> None:
    page = await get(client, "/services/case")
    assert "Down for 11 min" in page.words
    assert page.text.count('<table class="phases">') == 2
    assert "wait 4.99 s" in page.words
    assert "receive: timeout: no whole answer within 5 s" in page.words
    assert '<details class="facts">' in page.text
    assert "probe_jvm_memory_used_bytes{area=heap} 393.2 MiB" in page.words
    assert "Down reported_down recheck" in page.words
    assert 'id="actuator/10.4.4.11:8084"' in page.text


async def test_a_first_failure_is_told_from_a_confirmed_one(client: ClientSession, backend: FakeBackend) -> None:
    flaky = target("case", "actuator", "h:1", time.time(), stage="wait", reason="timeout", detail="no answer within 5 s")
    backend.view = fleet(backend.view, service("case", [flaky]))
    words = (await get(client, "/services/case")).words
    assert "it takes more than one to call the target down" in words
    assert "No whole answer before the deadline." in words


@pytest.mark.parametrize("path", ["/", "/services/evil"])
async def test_what_servers_say_is_escaped(client: ClientSession, backend: FakeBackend, path: str) -> None:
    bad = target(
        "evil", HOSTILE, HOSTILE, time.time(), verdict="down", reason=HOSTILE, stage=HOSTILE, detail=HOSTILE,
        phases={HOSTILE: 1.0}, parts={HOSTILE: HOSTILE}, facts={HOSTILE: float("nan")},
    )  # fmt: skip
    good = target("evil", "actuator", "h:1", time.time(), parts={HOSTILE: HOSTILE})
    view = fleet(backend.view, service("evil", [bad, good], Verdict.DOWN, depends_on=[HOSTILE]))
    backend.view = view.model_copy(update={"config_error": HOSTILE, "version": HOSTILE})
    page = await get(client, path)
    assert foreign_scripts(page) == []
    assert str(1234 * 4321) not in page.text
    assert "<script>alert('x')</script>" in page.words


@pytest.mark.usefixtures("troubled")
@pytest.mark.parametrize("path", ["/", "/services/case", "/services/vault", "/nothing-here"])
async def test_a_page_is_whole_by_itself_and_within_its_policy(client: ClientSession, path: str) -> None:
    """No inline script or style, nothing from elsewhere; every link of it answers."""
    async with client.get(path, headers={"Accept": "text/html"}) as answer:
        page = Page(await answer.text())
    assert "style" not in set(page.attributes("style")) | {tag for tag, _ in page.elements}
    assert list(page.attributes("style")) == []
    assert {tag for tag, _ in page.elements}.isdisjoint({"iframe", "object", "img", "base"})
    assert set(page.attributes("action")) <= {"/#fleet", "/probe/now"}
    assert not [name for _, values in page.elements for name in values if name.startswith("on")]
    assert "://" not in page.text
    ids = list(page.attributes("id"))
    assert len(ids) == len(set(ids))
    for link in {value.partition("#")[0] for value in page.attributes("href") if value[0] == "/"}:
        async with client.get(link) as answer:
            assert answer.status == 200, link
    for reference in {value[1:] for value in page.attributes("href") if value[0] == "#"}:
        assert reference in ids


@pytest.mark.usefixtures("troubled")
@pytest.mark.parametrize("path", ["/", "/services/case"])
async def test_a_page_is_accessible(client: ClientSession, path: str) -> None:
    page = await get(client, path)
    assert '<html lang="en">' in page.text
    assert 'name="viewport" content="width=device-width' in page.text
    assert [tag for tag, _ in page.elements].count("h1") == 1
    assert all("scope" in values for tag, values in page.elements if tag == "th")
    tags = [tag for tag, _ in page.elements]
    assert "table" in tags
    assert all(after == "caption" for before, after in pairwise(tags) if before == "table")
    for tag, values in page.elements:
        if tag == "svg":
            assert "aria-hidden" in values or values.get("aria-label")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for label in page.attributes("aria-labelledby"):
        assert label in set(page.attributes("id"))


@pytest.mark.parametrize("path", ["/", "/services/case"])
async def test_a_page_loads_itself_anew_unless_the_reader_stops_it(client: ClientSession, path: str) -> None:
    assert '<meta http-equiv="refresh" content="15">' in (await get(client, path)).text
    paused = await get(client, f"{path}?refresh=off")
    assert "http-equiv" not in paused.text
    assert "Paused" in paused.words


async def test_a_service_that_is_not_there_is_a_page_with_a_way_back(client: ClientSession) -> None:
    async with client.get("/services/nobody", headers={"Accept": "text/html,*/*;q=0.8"}) as answer:
        page = Page(await answer.text())
        assert answer.status == 404
    assert "no service or dependency is called 'nobody'" in page.words
    assert '<a href="/">' in page.text


async def test_a_large_fleet_is_cut_and_the_page_says_so(client: ClientSession, backend: FakeBackend) -> None:
    backend.view = large_fleet(4000)
    page = await get(client)
    assert "1 to 50 of 500, the worst first. After The JSON API has all of them." in page.words
    assert len(page.text) < 100_000
    page = await get(client, "/?first=450")
    assert "451 to 500 of 500, the worst first. Before The JSON API" in page.words
    bad = [target("s", "actuator", f"h:{n}", 0.0, verdict="down", reason="timeout") for n in range(300)]
    backend.view = fleet(backend.view, *(service(f"s{n}", bad, Verdict.DOWN) for n in range(60)))
    page = await get(client)
    assert "294 more targets" in page.words
    assert "48 more are marked in the fleet below." in page.words
    page = await get(client, "/services/s0")
    assert "250 more, none worse than these, are not shown" in page.words


async def test_the_styles_have_light_and_dark_and_narrow(client: ClientSession) -> None:
    page = await get(client)
    [sheet] = [values["href"] for tag, values in page.elements if tag == "link" and values["rel"] == "stylesheet"]
    async with client.get(sheet or "") as answer:
        text = await answer.text()
        assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
        assert "max-age" in answer.headers["Cache-Control"]
    assert "prefers-color-scheme: dark" in text
    assert "max-width: 560px" in text
    assert "url(" not in text
    assert "@import" not in text
    used = {name for value in page.attributes("class") for name in value.split()}
    assert {name for name in used if not name.startswith("row-")} - set(re.findall(r"\.([\w-]+)", text)) == set()


async def test_a_file_that_is_not_an_asset_is_not_served(client: ClientSession) -> None:
    for name in ("style.html", "..%2Fpage.py", "%2Fetc%2Fpasswd"):
        async with client.get(f"/static/{name}") as answer:
            assert answer.status == 404


async def test_one_cause_is_one_card_with_all_that_is_down_for_it(client: ClientSession, backend: FakeBackend) -> None:
    """Ten equal cards hid the one that mattered."""
    backend.view = database_down()
    page = await get(client)
    assert '<h1 id="headline">postgres is down, and 7 services with it</h1>' in page.text
    assert "9 of 13 need attention, for 2 causes" in page.words
    assert re.findall(r'<article class="problem is-(\w+)">.*?<h3><a href="/services/([\w-]+)"', page.text, re.DOTALL) == [
        ("down", "postgres"), ("degraded", "monitoring")
    ]  # fmt: skip
    assert "7 services down with it: api-facade, case, identity, risk-engine, screening, signals, vault" in page.words
    assert "Why Nobody listens on the port of postgres. connect_refused seen directly" in page.words
    assert "attempts in a row that were refused 9" in page.words
    assert "What to do Look at its pods: kubectl get pods -n hafnium -l app=postgres Read why it ended" in page.words
    assert "Degraded: slow service, 1 of 1 instance up" in page.words
    assert "threads waiting for a connection of HikariPool-1 14" in page.words


async def test_a_service_page_says_why_and_where_the_cause_is(client: ClientSession, backend: FakeBackend) -> None:
    backend.view = database_down()
    page = await get(client, "/services/case")
    assert "Down for 11 min, with postgres" in page.words
    assert "Why postgres is down, and case needs it. dependency_down" in page.words
    assert '<a href="/services/postgres">postgres</a>' in page.text
    assert "It takes down case (down)." in (await get(client, "/services/postgres")).words
    assert (
        "Why it is slow Its pool has no connection left. pool_exhausted concluded"
        in (await get(client, "/services/monitoring")).words
    )


async def test_causes_link_to_the_runbook_and_the_dashboard_that_are_configured(
    client: ClientSession, backend: FakeBackend
) -> None:
    links = {"runbook": "https://runbooks.example/b.md", "dashboard": "https://grafana.example/d/h-fleet"}
    backend.view = database_down()
    assert "https://" not in (await get(client)).text
    backend.view = database_down().model_copy(update=links)
    for path in ("/", "/services/postgres"):
        hrefs = list((await get(client, path)).attributes("href"))
        assert "https://runbooks.example/b.md#servicedown" in hrefs
        assert "https://grafana.example/d/h-fleet?var-service=postgres" in hrefs


async def test_an_incident_of_what_no_probe_watches_has_a_card_too(client: ClientSession, backend: FakeBackend) -> None:
    """Services say that their `db` is down, and nothing of that name is configured."""
    backend.view = fleet(backend.view, *(service(name, [], Verdict.DOWN, incident="db") for name in ("a", "b", "c")))
    for path in ("/", "/services/a"):
        page = await get(client, path)
        assert "/services/db" not in page.text
    words = (await get(client)).words
    assert "db is down, and 3 services with it" in words
    assert "as 3 services say; no probe watches it" in words
    assert "3 services down with it: a, b, c" in words


async def test_an_incident_whose_root_is_up_again_says_so(client: ClientSession, backend: FakeBackend) -> None:
    root = service("postgres", [target("postgres", "postgres", "h:1", time.time())], kind="dependency", incident=None)
    late = service("case", [], Verdict.DOWN, incident="postgres")
    backend.view = fleet(backend.view, late, root)
    words = (await get(client)).words
    assert "case is down since postgres was" in words
    assert "It is up again; what went down with it is not." in words


@pytest.mark.parametrize(
    ("incidents", "title"),
    [
        ("aab", "s0 is down, and s1 with it; s2 is down"),
        ("aabb", "s0 is down, and s1 with it; s2 is down, and s3 with it"),
        ("aaabcd", "6 of 6 are down, for 4 causes"),
        ("abcd", "4 of 4 are down"),
        ("aaa", "s0 is down, and 2 services with it"),
    ],
)
async def test_the_headline_names_causes_while_they_are_few(
    client: ClientSession, backend: FakeBackend, incidents: str, title: str
) -> None:
    """Each letter is a service that is down; equal ones are of the first one's incident."""
    services = [
        service(f"s{n}", [], Verdict.DOWN, incident=f"s{incidents.index(letter)}") for n, letter in enumerate(incidents)
    ]
    backend.view = fleet(backend.view, *services)
    assert f'<h1 id="headline">{title}</h1>' in (await get(client)).text


@pytest.mark.parametrize("path", ["/", "/services/case"])
async def test_what_a_diagnosis_says_is_escaped(client: ClientSession, backend: FakeBackend, path: str) -> None:
    """Names of components and pools come from servers."""
    cause = Cause(HOSTILE, HOSTILE, HOSTILE, (HOSTILE, f"run `{HOSTILE}`", "an odd ` backtick"))
    seen = Evidence(HOSTILE, float("nan"), HOSTILE)
    found = Diagnosis("case", Symptom.DOWN, (Suspicion(cause, HOSTILE, evidence=(seen,)),), (HOSTILE,))
    bad = service("case", [], Verdict.DOWN, incident=HOSTILE, diagnoses=diagnosis_views("case", [found]))
    backend.view = fleet(backend.view, bad)
    page = await get(client, path)
    assert foreign_scripts(page) == []
    assert str(1234 * 4321) not in page.text
    assert "an odd ` backtick" in page.words
    assert "<script>alert('x')</script>" in page.words


async def test_the_headline_counts_who_needs_attention(client: ClientSession, backend: FakeBackend) -> None:
    assert "attention" not in (await get(client)).words
    backend.view = troubled_fleet()
    assert "5 of 13 need attention" in (await get(client)).words
    backend.view = fleet(backend.view, service("case", [target("case", "tls", "h:1", 0.0, verdict="down")], Verdict.DOWN))
    assert "1 of 1 needs attention" in (await get(client)).words


async def test_causes_are_not_counted_where_each_service_has_its_own(client: ClientSession, backend: FakeBackend) -> None:
    down, unknown = (
        service(name, [target(name, "tls", "h:1", 0.0, verdict=verdict.value)], verdict)
        for name, verdict in (("case", Verdict.DOWN), ("vault", Verdict.UNKNOWN))
    )
    backend.view = fleet(backend.view, down, unknown)
    assert "2 of 2 need attention · 2 targets" in (await get(client)).words


@pytest.mark.parametrize(
    ("verdicts", "says"),
    [
        (["up", "up"], "tls up"),
        (["up", "down"], "tls degraded"),
        (["up", "unknown"], "tls degraded"),
        (["down", "unknown"], "tls down"),
        (["unknown"], "tls unknown"),
        (["up", None], "tls up"),
        ([None], "tls unknown"),
    ],
)
async def test_each_kind_of_probe_has_its_state(
    client: ClientSession, backend: FakeBackend, verdicts: list[str | None], says: str
) -> None:
    """None stands for a target that was not probed yet: it says nothing where others do."""
    targets = [
        target("case", "tls", f"h:{n}", 0.0, verdict=verdict or "unknown", reason=None if verdict else "not_yet_probed")
        for n, verdict in enumerate(verdicts)
    ]
    backend.view = fleet(backend.view, service("case", [*targets, target("case", "actuator", "h:9", 0.0)]))
    page = await get(client)
    assert f'aria-label="{says}"' in page.text
    assert 'aria-label="actuator up"' in page.text


async def test_a_service_shows_when_it_is_checked_next(client: ClientSession, backend: FakeBackend) -> None:
    view = backend.view
    now = view.generated_at
    for moment, says in ((now + 11, "next in 11 s"), (now - 1, "next now")):
        backend.view = fleet(view, service("case", [target("case", "actuator", "h:1", now, next_run=moment)]))
        assert says in (await get(client)).words
    backend.view = fleet(view, service("case", [target("case", "actuator", "h:1", now, next_run=None)]))
    assert "next" not in (await get(client)).words


async def test_whether_it_is_the_prober_comes_first_when_it_is(client: ClientSession, backend: FakeBackend) -> None:
    """Whoever is paged must not look for a fault in a service that the exporter cannot see."""
    page = await get(client)
    assert "Is it me? No: the exporter is well." in page.words
    why = {"sight": Blindness.BLIND, "text": "Yes: it has no file descriptor left.", "reasons": {"prober_descriptors": 9}}
    blind = SEES.model_copy(update=why)
    backend.view = troubled_fleet().model_copy(update={"prober": blind})
    page = await get(client)
    assert page.text.index("Yes: it has no file descriptor left.") < page.text.index('id="headline"')
    assert "Raise its limit of open files" in page.words


async def test_what_a_page_has_led_to_is_named(client: ClientSession, backend: FakeBackend) -> None:
    """Alert, incident, and where the runbook and the panel are."""
    links = {"runbook": "https://runbooks.example/r.md", "dashboard": "https://grafana.example/d/h-fleet"}
    backend.view = database_down().model_copy(update=links)
    page = await get(client)
    assert "Pages as ServiceDown Runbook Panel, incident postgres." in page.words
    assert 'href="https://runbooks.example/r.md#servicedown"' in page.text
    assert 'href="https://grafana.example/d/h-fleet?var-service=postgres&amp;viewPanel=1"' in page.text


async def test_the_page_of_a_service_names_its_page_and_the_moment_too(client: ClientSession, backend: FakeBackend) -> None:
    backend.view = database_down()
    page = await get(client, "/services/case")
    assert re.search(r"Down for 11 min, with postgres, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", page.words)
    assert "Pages as ServiceDown, incident postgres." in page.words


async def test_what_is_over_its_limit_is_degraded_with_value_limit_and_since_when(
    client: ClientSession, backend: FakeBackend
) -> None:
    """Four of the runbook's five alerts were not on the page: heap at 97 % stood green."""
    now = time.time()
    over = over_view(Over(HEAP_RATIO, (), 0.97, 0.9, now - 130, now - 4), "actuator", "10.4.5.11:8085")
    full = service("vault", [target("vault", "actuator", "10.4.5.11:8085", now, over=[over])])
    fleet = healthy_fleet(now)
    backend.view = fleet.model_copy(update={"services": [full if each.name == "vault" else each for each in fleet.services]})
    page = await get(client)
    assert '<h1 id="headline">vault is degraded</h1>' in page.text
    assert "Degraded for 2 min" in page.words
    assert "Heap in use 97 % limit 90 %" in page.words
    assert "Check for leaks, scale up" in page.words
    assert "alert MemoryPressure" in page.words
    for words in ("Over it for 2 min since 20", "Measured 4 s ago"):
        assert words in page.words
    page = await get(client, "/services/vault")
    assert "Over a limit 1 Heap in use 97 % limit 90 %" in page.words


async def test_what_is_over_a_limit_is_counted_as_it_is_listed_while_it_is_down_too(
    client: ClientSession, backend: FakeBackend
) -> None:
    now = time.time()
    over = [over_view(Over(HEAP_RATIO, (), value, 0.9, now, now), "actuator", "h:1") for value in (0.97, 0.98)]
    down = service("vault", [target("vault", "actuator", "h:1", now, verdict="down", over=over)], Verdict.DOWN)
    backend.view = fleet(healthy_fleet(now), down)
    assert down.over_limits == 0  # which is of what is up
    assert "Over a limit 2 Heap in use 97 %" in (await get(client, "/services/vault")).words


async def test_a_target_can_be_probed_now_and_the_answer_is_a_page(client: ClientSession, backend: FakeBackend) -> None:
    """The form works without a script, is none of another site's to send, and says what it came to."""
    page = await get(client, "/services/vault")
    assert "Probe now" in page.words
    form = {"service": "vault", "probe": "actuator", "target": "10.4.5.11:8085"}
    ours = {"Origin": str(client._base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin", "Accept-Language": "en"}
    async with client.post("/probe/now", data=form, headers=ours) as answer:
        assert answer.status == 200
        came = Page(await answer.text())
    assert backend.runs == [("vault", "actuator", "10.4.5.11:8085")]
    assert "10.4.5.11:8085: up" in came.words
    assert "verdicts, counters and history are as they were" in came.words
    theirs = [{"Origin": "https://evil.example"}, {"Origin": "null"}, {**ours, "Sec-Fetch-Site": "cross-site"}]
    for headers in theirs:
        async with client.post("/probe/now", data=form, headers=headers) as answer:
            assert answer.status == 403
    async with client.get("/probe/now") as answer:
        assert answer.status == 405
    assert len(backend.runs) == 1


async def test_a_target_is_shown_with_its_availability_its_latency_and_its_last_failures(client: ClientSession) -> None:
    page = await get(client, "/services/vault")
    assert "Over Up Mean Longest Oldest to latest" in page.words
    assert re.search(r"24 h.*? 99\.\d+ % 10 ms 10 ms", page.words)
    assert re.search(r"Last failures .* 2 at connect connect_refused 10\.4\.20\.7:5432: connection refused", page.words)
    assert re.search(r"Up, 24 h 9\d\.\d+ %", page.words)


async def test_the_fleet_can_be_filtered_without_a_script(client: ClientSession, backend: FakeBackend) -> None:
    """By name, by state and by probe; what is asked for stays in the form and in the links to more of it."""
    down = [
        service(f"billing-{n}", [target(f"billing-{n}", "tls", "h:1", 0.0, verdict="down")], Verdict.DOWN) for n in range(60)
    ]
    large = large_fleet(800)
    backend.view = large.model_copy(update={"services": [*large.services, *down]})
    page = await get(client, "/?q=Billing-5&state=down&probe=tls")
    assert "Fleet 11 of 160" in page.words
    assert 'value="Billing-5"' in page.text
    assert '<option value="down" selected>' in page.text
    page = await get(client, "/?state=down")
    assert 'href="/?state=down&amp;first=50#fleet"' in page.text
    page = await get(client, "/?probe=tls&state=up")
    assert "Nothing is like that." in page.words
    page = await get(client, "/?q=%3Cscript%3E&state=nonsense&first=-1")
    assert foreign_scripts(page) == []
    assert "Nothing is like that." in page.words


async def test_an_open_page_is_told_of_a_change_at_once_and_of_nothing_else(
    client: ClientSession, backend: FakeBackend
) -> None:
    """Server-sent events; nothing of the fleet is in them."""
    async with client.get("/events", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Content-Encoding" not in answer.headers
        assert await answer.content.readuntil(b"\n\n") == b"retry: 5000\n\n"
        backend.view = troubled_fleet()
        assert await answer.content.readuntil(b"\n\n") == b"event: change\ndata: 1\n\n"


async def test_a_badge_says_how_a_service_is_and_is_of_one_size(client: ClientSession, backend: FakeBackend) -> None:
    """What a page of another site may not read, it must not measure either."""
    sizes = set()
    for view, says in ((healthy_fleet(), "up"), (database_down(), "down")):
        backend.view = view
        async with client.get("/badge/postgres.svg") as answer:
            text = await answer.text()
            assert answer.headers["Content-Type"].startswith("image/svg+xml")
            assert answer.headers["Cache-Control"] == "no-cache"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert f"<title>postgres: {says}</title>" in text
        sizes.add(re.findall(r'^<svg [^>]*width="(\d+)"', text)[0])
    assert len(sizes) == 1


@pytest.mark.parametrize("name", ["nobody", "n" * 5000, "<script>alert('x')\"&amp;]]>"])
async def test_a_service_that_is_not_watched_any_more_has_a_badge_that_says_so(client: ClientSession, name: str) -> None:
    """In the page of another site a refusal would be a broken picture, which says nothing."""
    async with client.get(f"/badge/{quote(name, safe='')}.svg", headers={"Accept": "image/*"}) as answer:
        text = await answer.text()
        assert answer.status == 404
        assert answer.headers["Content-Type"].startswith("image/svg+xml")
        assert answer.headers["Cache-Control"] == "no-cache"
    title = ET.fromstring(text).findtext("{http://www.w3.org/2000/svg}title")  # noqa: S314 - it is our own
    assert title == f"{name[:63]}: not watched"
    assert len(text) < 2000


async def test_an_embedded_service_has_no_links_and_may_be_framed_by_whom_the_configuration_names(
    backend: FakeBackend,
) -> None:
    backend.view = database_down()
    server = Server(embed_in=("https://wiki.example.com",))
    async with (
        serve(backend, Address("127.0.0.1", 0), access=Access(server=lambda: server)) as address,
        ClientSession(f"http://{address}") as client,
    ):
        page = await get(client, "/embed/postgres")
        async with client.get("/embed/postgres") as answer:
            policy = answer.headers["Content-Security-Policy"]
        async with client.get("/badge/postgres.svg") as answer:
            assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        async with client.get("/embed/nobody", headers={"Accept": "text/html"}) as answer:
            assert answer.status == 404
            assert answer.headers["Content-Security-Policy"] == policy
            assert "no service or dependency is called" in await answer.text()
            assert answer.headers["Refresh"] == "15"
    assert "postgres Down for 12 min 0 of 1 up" in page.words
    assert {tag for tag, _ in page.elements}.isdisjoint({"a", "form", "script"})
    assert policy.endswith("frame-ancestors 'self' https://wiki.example.com")
