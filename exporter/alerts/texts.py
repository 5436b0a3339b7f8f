"""Pieces of the templates of annotations, which ask Prometheus at the time of firing."""

from __future__ import annotations

from exporter.alerts.model import Options, duration

__all__ = ["CAUSE", "causes", "first", "lag_causes", "listed", "newest"]

CAUSE = (
    '{{ if eq .Labels.cause "dependency_down" }}{{ .Labels.dependency }} is down'
    '{{ else if eq .Labels.cause "unknown" }}cause unknown'
    '{{ else }}{{ reReplaceAll "_" " " .Labels.cause }}{{ with .Labels.dependency }} ({{ . }}){{ end }}{{ end }}'
)
"""A suspected cause in words, where `.` is its sample."""


def first(query: str, arguments: str, then: str, otherwise: str = "") -> str:
    """Write `then`, in which `.` is the sample, if a query with at most one sample has one.

    Args:
        query: PromQL with `%q` for each argument.
        arguments: Such as `$labels.service`.
        then: What is said.
        otherwise: What is said instead where there is none.
    """
    other = f"{{{{ else }}}}{otherwise}" if otherwise else ""
    return (
        f"{{{{ with printf `{query}` {arguments} | query }}}}{{{{ with . | first }}}}{then}{{{{ end }}}}{other}{{{{ end }}}}"
    )


def newest(selector: str, options: Options) -> str:
    """Select what is told now; only where nothing is, what was told a scrape or two ago: never both of what has changed.

    Args:
        selector: Of one service, with `%[1]q` and so on for arguments, since it is written again and again.
    """
    before = (f"{selector} offset {ago}" for ago in (duration(options.scrape_interval), options.two_scrapes))
    return f"({' or on () '.join((selector, *before))})"


def listed(
    query: str, arguments: str, order: str, item: str, *, otherwise: str = "", separator: str = ", ", around: str = "{}"
) -> str:
    """Write one `item`, in which `.` is the sample, for each sample of a query, sorted by a label.

    Args:
        query: PromQL with `%q` for each argument.
        arguments: Such as `$labels.service`.
        order: Label to sort by.
        item: What is said of each.
        otherwise: What is said instead where there is none.
        separator: What stands between two.
        around: What is said around them all, if there is any, in place of `{}`.
    """
    before, _, after = around.partition("{}")
    other = f"{{{{ else }}}}{otherwise}" if otherwise else ""
    return (
        f"{{{{ with printf `{query}` {arguments} | query }}}}{before}"
        f'{{{{ range $i, $x := . | sortByLabel "{order}" }}}}{{{{ if $i }}}}{separator}{{{{ end }}}}{item}{{{{ end }}}}'
        f"{after}{other}{{{{ end }}}}"
    )


def lag_causes(options: Options) -> str:
    """Say the suspected causes of what keeps a consumer group from getting on."""
    return listed(
        f"group by (cause) (last_over_time(probe_suspected_lag_cause{{service=%q,group=%q}}[{options.bridge}]))",
        "$labels.service $labels.group",
        "cause",
        '{{ reReplaceAll "_" " " .Labels.cause }}',
        otherwise="cause unknown",
    )


def causes(options: Options, service: str = "$labels.service") -> str:
    """Say the suspected causes of a service that is in trouble, each with what speaks for it."""
    suspected = newest("probe_suspected_cause{service=%[1]q}", options)
    told = newest("probe_suspected_cause_evidence{service=%[1]q,cause=%[2]q,dependency=%[3]q}", options)
    evidence = listed(
        f"max by (evidence) {told}",
        ".Labels.service .Labels.cause .Labels.dependency",
        "evidence",
        "{{ .Labels.evidence }} {{ .Value | humanize }}",
        around=": {}",
    )
    return listed(
        f'label_join(group by (service, cause, dependency) {suspected}, "order", " ", "dependency", "cause")',
        service,
        "order",
        f"{CAUSE}{evidence}",
        otherwise="unknown",
        separator="; ",
    )
