"""What an alert is, and what a user may choose about all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from exporter.boards import Panel

__all__ = ["SELF", "Alert", "Disable", "Group", "Options", "Severity", "Team", "duration"]

SELF = "hafnium-exporter"
"""The exporter, as the service that its own alerts are about, and as the incident of what only it is the cause of."""


class Severity(StrEnum):
    """How an alert reaches people."""

    CRITICAL = "critical"
    """Pages on-call, at any hour."""
    WARNING = "warning"
    """Makes an incident of low urgency: nobody is woken up."""
    NONE = "none"
    """Nobody sees it: the Watchdog."""


class Team(StrEnum):
    """Whose an alert is: the runbook's contacts. A configured label `team` of a service wins."""

    ON_CALL = "on-call"
    DBA = "dba"
    SECOPS = "secops"


_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def duration(seconds: float) -> str:
    """Write a duration as Prometheus reads it, in whole seconds."""
    left, text = round(seconds), ""
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


@dataclass(frozen=True, slots=True)
class Options:
    """What a user chooses.

    Attributes:
        name: Of the fleet: prefix of rule groups, objects and dashboards, `group` of PagerDuty events.
        job: Job of the exporter in Prometheus.
        scrape_interval: Of that job, seconds; the windows that bridge lost scrapes follow.
        runbook_url: Address of the page of docs/runbook.md; an alert adds the anchor of its section.
        grafana_url: Address of Grafana.
        dead_mans_switch: Where the Watchdog is sent.
        exporter: Address that Prometheus scrapes.
        alertmanager: Address that Prometheus sends alerts to.
        teams: Teams beside those of the runbook that have a receiver of their own: values of a configured label `team`.
        kinds: Kinds of probes that there are; alerts over others are left out. None is all.
        namespace: Of the objects for Kubernetes.
    """

    name: str = "hafnium"
    job: str = "hafnium-exporter"
    scrape_interval: float = 15.0
    runbook_url: str = "https://runbooks.hafnium.example/runbook.md"
    grafana_url: str = "http://grafana:3000"
    dead_mans_switch: str = "http://dead-mans-switch:8080/watchdog"
    exporter: str = "hafnium-exporter:9818"
    alertmanager: str = "alertmanager:9093"
    teams: tuple[str, ...] = ()
    kinds: frozenset[str] | None = None
    namespace: str = "hafnium"

    @property
    def bridge(self) -> str:
        """Window that bridges one lost scrape, and is over soon after the second."""
        return duration(self.scrape_interval * 2 + 10)

    @property
    def two_scrapes(self) -> str:
        """How far apart two samples may be that are surely not the same."""
        return duration(self.scrape_interval * 2)

    @property
    def one_scrape(self) -> str:
        """Window that holds a sample while none is lost, and never one that is two scrapes old."""
        return duration(self.scrape_interval * 2 - min(5.0, self.scrape_interval / 3))

    @property
    def recent(self) -> str:
        """Window that bridges three lost scrapes."""
        return duration(self.scrape_interval * 4)

    @property
    def rate(self) -> str:
        """Window of rates: at least four scrapes."""
        return duration(max(300.0, self.scrape_interval * 4))

    @property
    def evaluation(self) -> str:
        """How often ServiceDown is evaluated: what it waits for is in the series, so waiting here is lost."""
        return duration(max(5.0, self.scrape_interval / 3))


@dataclass(frozen=True, slots=True)
class Disable:
    """A check of pint that does not fit a rule.

    Attributes:
        check: As pint names it, with what it is about: `promql/series(probe_unknown)`.
        reason: Why it does not fit.
    """

    check: str
    reason: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        name: Its name.
        severity: How it reaches people.
        expr: PromQL. Its labels are few and do not change while it fires: another label is another alert.
        summary: Template of the title: what, and why in a few words.
        description: Template: what was seen, in figures for people.
        action: What the runbook says to do.
        panel: Panel that shows it; None where none does.
        meaning: For docs/alerts.md: when it fires.
        cause: Template: why, with evidence at the time of firing.
        team: Whose it is, where no series says otherwise.
        wait: How long it must hold; empty where the series are confirmed already.
        hold: How long it goes on after its end: what comes back within it does not ring again.
        labels: In place of `service` and `incident` of the series, or beside them.
        section: Anchor in the runbook; by default the name in lower case.
        comment: Why the rule is as it is, for who reads the rules.
        disables: Checks of pint that do not fit.
        kinds: Kinds of probes that its series come from; it is left out where none is configured. None is any.
    """

    name: str
    severity: Severity
    expr: str
    summary: str
    description: str
    action: str
    panel: Panel | None
    meaning: str
    cause: str = ""
    team: Team = Team.ON_CALL
    wait: str = ""
    hold: str = "1m"
    labels: Mapping[str, str] = field(default_factory=dict)
    section: str = ""
    comment: str = ""
    disables: tuple[Disable, ...] = ()
    kinds: frozenset[str] | None = None

    @property
    def anchor(self) -> str:
        """Its section in the runbook."""
        return self.section or self.name.lower()


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together, one after the other.

    Attributes:
        name: What comes after the fleet's name and a hyphen.
        alerts: They.
        interval: How often; empty is as Prometheus is configured.
        comment: Why they are together, for who reads the rules.
    """

    name: str
    alerts: tuple[Alert, ...]
    interval: str = ""
    comment: str = ""
