"""What is up, what is down, since when and why: what several dashboards begin with."""

from __future__ import annotations

from exporter.dashboards.panels import Columns, Panels, Query, Scale, Size, alert_list, graph, number, states, table
from exporter.dashboards.promql import gone_is_zero, joined, of
from exporter.dashboards.queries import CERTIFICATE_DUE

__all__ = ["causes", "incidents", "numbers", "timeline"]


def timeline() -> Panels:
    """Verdicts over time: of exporters that do not agree, the one that says up is right, as it is for the alerts.

    Grafana shows twenty rows, and the others on further pages: what is down must not be on the eighth of them.
    """
    up, unknown = of("probe_service_up"), of("probe_service_unknown")
    verdict = f"max by (service) ({up}) or (2 * max by (service) ({unknown}))"
    troubled = f"(min_over_time({up}[$__range] @ end()) == 0 or present_over_time({unknown}[$__range] @ end()))"
    return (
        states(
            1, "Services and dependencies",
            "The confirmed verdict over all instances, those first that were not up all the time shown. Unknown: the "
            "exporter cannot tell. Gap: the exporter was not there.",
            Query(f"({verdict}) and on (service) {troubled}", "{{service}}"),
            Query(f"({verdict}) unless on (service) {troubled}", "{{service}}"), size=Size.WIDE,
        ),
    )  # fmt: skip


def numbers() -> Panels:
    """How many are how."""
    up, unknown = of("probe_service_up"), of("probe_service_unknown")
    return (
        number(
            3, "Down", "Services and dependencies with too few instances up.", "short",
            Query(gone_is_zero(f"count(max by (service) ({up}) == 0)"), "down"), scale=Scale(bad=1),
        ),
        number(
            9, "Incidents", "Causes that something is down for: each is one page, however much it takes down.", "short",
            Query(
                gone_is_zero(f"count(group by (incident) ({of('probe_incident')} unless on (service) ({up} == 1)))"),
                "incidents",
            ),
            scale=Scale(bad=1),
        ),
        alert_list(
            6, "Alert rules", "Rules that fire now, without the Watchdog; one may fire for many services.",
            size=Size.TILE, alone=True,
        ),
        number(
            4, "Unknown", "Services and dependencies of which the exporter cannot tell whether they are up.", "short",
            Query(gone_is_zero(f"count(group by (service) ({unknown} unless on (service) {up}))"), "unknown"),
            scale=Scale(warn=1),
        ),
        number(
            5, "Failing", "Targets whose confirmed verdict is down, also where enough others are up.", "short",
            Query(
                gone_is_zero(f"count(max by (service, probe, target) ({of('probe_success')}) == 0)"), "failing"
            ),
            scale=Scale(warn=1),
        ),
        number(
            2, "Up", "Services and dependencies that are up.", "short",
            Query(gone_is_zero(f"count(max by (service) ({up}) == 1)"), "up"),
        ),
        number(
            7, "Next certificate", "Time until the first certificate expires; below zero it has expired.", "s",
            Query(f"min({of('probe_ssl_earliest_cert_expiry')}) - time()", "left"),
            scale=Scale(bad=0, falling=True, good=False), none="None seen",
        ),
        number(
            19, "To be renewed", "Certificates with less time left than the configuration wants.", "short",
            Query(gone_is_zero(f"count({CERTIFICATE_DUE})"), "due"), scale=Scale(warn=1),
        ),
    )  # fmt: skip


def incidents() -> Panels:
    """What is down now, since when and why, and what that fires."""
    up = of("probe_service_up")
    # One exporter may have renamed an incident a scrape before another: of two names of a service one is shown.
    named = f"topk by (service) (1, max by (service, incident) ({of('probe_incident')} unless on (service) ({up} == 1)))"
    since = f"(time() - max by (service) ({of('probe_service_verdict_since_timestamp_seconds')}))"
    down = f"{named} * on (service) group_left () {since}"
    suspected = f"max by (service, cause, dependency) ({of('probe_suspected_cause')})"
    why = f"{suspected} * on (service) group_left (incident) ({down}) or on (service) ({down})"
    return (
        table(
            300, "What is down, for how long, and why",
            "Each service and dependency that is down: its incident, the likely causes, and for how long the verdict has "
            "been so, as the exporter knows. Services with one incident are one page.", "dtdurations",
            Query(f"sort_desc({why})", "{{service}} {{incident}} {{cause}} {{dependency}}"),
            columns=Columns(("service", "incident", "cause", "dependency"), "down for", none="Nothing is down"),
            size=Size.HALF,
        ),
        alert_list(
            301, "Firing alerts", "Alerts that fire now by their rules, the latest first, with since when.", size=Size.HALF
        ),
    )  # fmt: skip


def causes() -> Panels:
    """Why something is down, slow or behind, and since when it comes and goes."""
    by_incident = f"count by (incident) (max by (service, incident) ({of('probe_incident')}))"
    evidence = f"max by (service, cause, dependency, evidence) ({of('probe_suspected_cause_evidence')})"
    lagging = f"count by (cause) (max by (service, group, cause) ({of('probe_suspected_lag_cause')}))"
    outages = of("probe_outages_total")
    suspected = f"max by (service, cause, dependency) ({of('probe_suspected_cause')})"
    return (
        graph(
            80, "What each incident takes down",
            "What is down because of it, itself included, by the cause that the page is named after.", "short",
            Query(gone_is_zero(by_incident, "incident"), "{{incident}}"),
        ),
        graph(
            8, "Suspected causes",
            "Services that are down, slow or unguarded, by likely cause: the end of a chain of dependencies, or their own.",
            "short", Query(gone_is_zero(f"count by (cause, dependency) ({suspected})", "cause"), "{{cause}} {{dependency}}"),
        ),
        graph(
            82, "Why groups are behind", "Consumer groups whose lag is above its limit, by likely cause.", "short",
            Query(gone_is_zero(lagging, "cause"), "{{cause}}"),
        ),
        table(
            81, "Evidence", "What speaks for each suspected cause now, and the value that was seen.", "short",
            Query(evidence, "{{service}} {{cause}} {{dependency}} {{evidence}}"),
            columns=Columns(("service", "cause", "dependency", "evidence"), "seen", none="Nothing is suspected"),
            size=Size.HALF,
        ),
        graph(
            90, "Flapping",
            "Within 15 minutes: how often each service's verdict changed as Prometheus saw it, and how often an instance "
            "went down, seen or not.", "short",
            Query(
                gone_is_zero(f"max by (service) (changes({of('probe_service_up')}[15m])) > 0", "service"),
                "{{service}} changed",
            ),
            Query(
                gone_is_zero(f"{joined('service, target', f'increase({outages}[15m])')} > 0", "service"),
                "{{service}} {{target}} down",
            ),
            size=Size.HALF,
        ),
    )  # fmt: skip
