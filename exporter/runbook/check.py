"""Everything that a person on call goes by, held against everything else, both ways."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.diagnosis.causes import CAUSES
from exporter.runbook import boards, document, routing, rules
from exporter.runbook.boards import Board
from exporter.runbook.document import Document
from exporter.runbook.exported import CONFIGURED, labels_of, unexported
from exporter.runbook.files import LINE, load
from exporter.runbook.finding import Finding
from exporter.runbook.promql import parse, queries_of
from exporter.runbook.routing import Route, Routing
from exporter.runbook.rules import Rule

__all__ = ["Files", "check"]

CRITICAL, NONE = "critical", "none"

_OF_ALERTS = frozenset({"alertname", "severity"})
_VARIABLE = re.compile(r"\$labels\.(\w+)")
_FIELD = re.compile(r"(?<![\w$])\.Labels\.(\w+)|\$\w+\.Labels\.(\w+)")


@dataclass(frozen=True, slots=True)
class Files:
    """What is held together.

    Attributes:
        runbook: The page in Markdown.
        rules: Folder of Prometheus' rules.
        alertmanager: Its configuration.
        prometheus: Its configuration.
        dashboards: Folder of Grafana's JSON.
    """

    runbook: Path
    rules: Path
    alertmanager: Path
    prometheus: Path
    dashboards: Path


def check(files: Files, labels: Collection[str] = CONFIGURED) -> list[Finding]:
    """Return what does not fit, sorted by place.

    Args:
        files: What to hold together.
        labels: Labels that the configuration gives services.

    Raises:
        Unusable: A file cannot be read for what it should be.
    """
    page, alerts = document.read(files.runbook), rules.read(files.rules)
    routes, dashboards = routing.read(files.alertmanager), boards.read(files.dashboards)
    found = [
        *_names(alerts),
        *_table(page, alerts),
        *_sections(page, alerts),
        *_causes(page),
        *_routes(routes, alerts),
        *_links(dashboards, alerts),
        *_panels(dashboards, labels),
        *_queries(alerts, labels),
        *_loaded(files, alerts),
    ]
    return sorted(set(found))


def _at(rule: Rule, text: str) -> Finding:
    return Finding(rule.path, rule.line, f"{rule.name}: {text}")


def _names(alerts: Sequence[Rule]) -> Iterator[Finding]:
    first: dict[str, Rule] = {}
    for rule in alerts:
        known = first.setdefault(rule.name, rule)
        if known is not rule:
            yield _at(rule, f"is defined already at {known.path}:{known.line}")


def _table(page: Document, alerts: Sequence[Rule]) -> Iterator[Finding]:
    """Hold the runbook's tables of alerts against the rules, both ways."""
    by_name = {rule.name: rule for rule in alerts}
    rows = {row.name: row for row in page.rows}
    if not rows:
        yield Finding(page.path, 1, "has no table of alerts (columns Alert, Severity)")
    for row in page.rows:
        rule = by_name.get(row.name)
        if rows[row.name] is not row:
            yield Finding(page.path, row.line, f"{row.name}: is in a table more than once")
        if rule is None:
            yield Finding(page.path, row.line, f"{row.name}: no rule has that name")
        elif rule.severity != row.severity:
            text = (
                f"{row.name}: the table says {row.severity}, the rule at {rule.path}:{rule.line} {rule.severity or 'none'}"
            )
            yield Finding(page.path, row.line, text)
    if rows:
        for rule in alerts:
            if rule.name not in rows:
                yield _at(rule, f"is in no table of {page.path}")


def _sections(page: Document, alerts: Sequence[Rule]) -> Iterator[Finding]:
    """Hold the links of the rules against the runbook's sections, both ways."""
    names = {rule.name for rule in alerts}
    for rule in alerts:
        url = rule.annotations.get("runbook_url", "")
        base, _, anchor = url.partition("#")
        if not re.match(r"https?://[^/\s]", base):
            yield _at(rule, f"runbook_url is no absolute address: {url!r}" if url else "has no runbook_url")
        elif anchor not in page.anchors:
            yield _at(rule, f"{page.path} has no section #{anchor}, to which runbook_url leads")
    for section in page.sections:
        if section.of_alerts and section.title not in names:
            yield Finding(page.path, section.line, f"{section.title}: a section of an alert that no rule makes")


def _causes(page: Document) -> Iterator[Finding]:
    """Hold what the status page and `explain` link to against the runbook."""
    causes: dict[str, list[str]] = {}
    for cause in CAUSES.values():
        causes.setdefault(cause.section, []).append(cause.name)
    for anchor, names in causes.items():
        if anchor not in page.anchors:
            yield Finding(page.path, 1, f"has no section #{anchor}, to which causes lead: {', '.join(names)}")


def _routes(routes: Routing, alerts: Sequence[Rule]) -> Iterator[Finding]:
    """Hold the rules against routes and receivers, both ways."""
    every = list(routes.root.all())
    for route in every:
        if route.receiver not in routes.receivers:
            yield Finding(routes.path, route.line, f"there is no receiver {route.receiver!r}")
    names = {rule.name for rule in alerts}
    for route, label, value in _named(every):
        if label == "alertname" and value not in names:
            yield Finding(routes.path, route.line, f"a route is for {value}, and no rule has that name")
    used = {route.receiver for route in every}
    for receiver in routes.receivers.values():
        if receiver.name not in used:
            yield Finding(routes.path, receiver.line, f"no route leads to the receiver {receiver.name!r}")
    yield from _reached(routes, alerts, by_severity=any(label == "severity" for _, label, _ in _named(every)))


def _named(every: Iterable[Route]) -> Iterator[tuple[Route, str, str]]:
    for route in every:
        for matcher in route.matchers:
            yield from ((route, matcher.label, value) for value in matcher.named)


def _reached(routes: Routing, alerts: Sequence[Rule], *, by_severity: bool) -> Iterator[Finding]:
    reached = [(rule, {route.receiver for route in routes.root.reached(rule.sample)}) for rule in alerts]
    gentle = {name for rule, names in reached if rule.severity != CRITICAL for name in names}
    for rule, names in reached:
        known = [routes.receivers[name] for name in sorted(names) if name in routes.receivers]
        listed = ", ".join(sorted(names))
        if known and not any(receiver.tells for receiver in known):
            yield _at(rule, f"reaches {listed}, and that tells nobody ({routes.path}:{known[0].line})")
        elif rule.severity == CRITICAL and known and not any(receiver.pages for receiver in known):
            yield _at(rule, f"is critical and reaches {listed}, which pages nobody")
        elif rule.severity == CRITICAL and by_severity and known and names <= gentle:
            yield _at(rule, f"is critical and reaches only what warnings reach too: {listed}")


def _links(dashboards: Sequence[Board], alerts: Sequence[Rule]) -> Iterator[Finding]:
    by_uid = {board.uid: board for board in dashboards}
    for rule in alerts:
        url = rule.annotations.get("dashboard", "")
        found = re.match(
            r"https?://[^/\s]+(?:/[^?\s]*?)?/d/([\w-]+)[^?]*(?:\?.*?viewPanel=(?:panel-)?(\d+))?", url, re.DOTALL
        )
        if not url:
            if rule.severity != NONE:
                yield _at(rule, "has no dashboard")
        elif found is None:
            yield _at(rule, f"dashboard is no absolute address of one: {url!r}")
        elif found[1] not in by_uid:
            yield _at(rule, f"there is no dashboard {found[1]}")
        elif found[2] is None or int(found[2]) not in by_uid[found[1]].numbers:
            yield _at(rule, f"{by_uid[found[1]].path} has no panel {found[2] or '(none is named)'}")
        else:
            yield from _shown(rule, by_uid[found[1]], int(found[2]))


def _shown(rule: Rule, board: Board, number: int) -> Iterator[Finding]:
    """Hold the panel that an alert leads to against what its rule asks for."""
    asked = {use.metric for use in parse(rule.expr).uses}
    for panel in board.panels:
        if panel.number == number:
            # Behind `or on ()` is what is drawn where there is nothing to show: that is not what a panel shows.
            queries = (query.partition(" or on () ")[0] for query in panel.queries)
            shown = {use.metric for query in queries for use in parse(query).uses}
            if asked and not asked & shown:
                yield _at(rule, f"panel {number} ({panel.title}) of {board.path} shows nothing that it asks for")


def _panels(dashboards: Sequence[Board], labels: Collection[str]) -> Iterator[Finding]:
    for board in dashboards:
        for panel in board.panels:
            for query in panel.queries:
                for text in unexported(parse(query), labels):
                    yield Finding(board.path, panel.line, f"panel {panel.number} ({panel.title}): {text}")


def _queries(alerts: Sequence[Rule], labels: Collection[str]) -> Iterator[Finding]:
    for rule in alerts:
        query = parse(rule.expr)
        for text in unexported(query, labels):
            yield _at(rule, text)
        known = {*labels_of(query), *labels, *_OF_ALERTS, *rule.labels}
        for name, template in {**rule.labels, **rule.annotations}.items():
            yield from _template(rule, name, template, known if query.uses and not query.others else None, labels)


def _template(
    rule: Rule, name: str, template: str, known: Collection[str] | None, labels: Collection[str]
) -> Iterator[Finding]:
    """Hold a template against what its rule and its own queries give it."""
    asked = [parse(query) for query in queries_of(template)]
    for query in asked:
        for text in unexported(query, labels):
            yield _at(rule, f"{name}: {text}")
    if known is not None:
        for label in _VARIABLE.findall(template):
            if label not in known:
                yield _at(rule, f"{name}: the alert has no label {label}")
    if not any(query.others for query in asked):
        given = frozenset(labels).union(*map(labels_of, asked))
        for pair in _FIELD.findall(template):
            label = pair[0] or pair[1]
            if asked and label not in given:
                yield _at(rule, f"{name}: what it asks for has no label {label}")


def _loaded(files: Files, alerts: Sequence[Rule]) -> Iterator[Finding]:
    """Hold Prometheus' configuration against the rules: it loads them, and scrapes the jobs that they select."""
    config = load(files.prometheus)
    folder = files.prometheus.parent
    loaded = {path.resolve() for pattern in config.get("rule_files") or [] for path in _glob(folder, str(pattern))}
    for path in sorted({rule.path for rule in alerts}):
        if path.resolve() not in loaded:
            yield Finding(path, 1, f"{files.prometheus} does not load these rules")
    jobs = {str(job.get("job_name")): job[LINE] for job in config.get("scrape_configs") or []}
    for rule in alerts:
        for use in parse(rule.expr).uses:
            for label, operator, value in use.matchers:
                if label == "job" and operator == "=" and value not in jobs:
                    yield _at(rule, f"selects the job {value!r}, which {files.prometheus} does not scrape")


def _glob(folder: Path, pattern: str) -> Iterator[Path]:
    """Return the files of a pattern; an absolute one is of the machine that Prometheus runs on: its last part counts."""
    yield from folder.glob(pattern if not pattern.startswith("/") else f"**/{Path(pattern).name}")
