"""What a query and a template ask for."""

from __future__ import annotations

import pytest

from exporter.runbook.exported import CONFIGURED, unexported
from exporter.runbook.promql import Use, parse, queries_of


def test_metrics_with_their_matchers_are_found_whatever_their_strings_hold() -> None:
    query = parse(
        'sum by (service) (probe_success{service=~"a}b", probe != "x"} # probe_nothing{a="b"}\n) > on (service) '
        'label_replace(up{job="j"}, "probe_text", "$1", "service", "(.+)") or job:probe_success:sum{le="1"}'
    )
    assert query.uses == (
        Use("probe_success", (("service", "=~", "a}b"), ("probe", "!=", "x"))),
        Use("up", (("job", "=", "j"),)),
    )
    assert query.grouped == {"service"}
    assert "probe_text" in query.strings
    assert query.others is False
    assert parse("probe_success unless on (x) ALERTS").others is True


def test_queries_of_templates_are_found_and_words_are_not() -> None:
    template = (
        "It says probe_success. {{ with printf `probe_success{service=%q}` $labels.service | query }}{{ end }}"
        '{{ query "probe_unknown" }}{{ reReplaceAll "_" " " .Labels.cause }}'
    )
    assert list(queries_of(template)) == ['probe_success{service="%q"}', "probe_unknown"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("probe_sucess == 0", ["nothing exports probe_sucess"]),
        ('probe_success{servce="a"}', ["probe_success has no label servce"]),
        ('probe_success{tier="a", team="b", job="c", instance="d"}', []),
        ("sum by (pool) (probe_success)", ["no series in it has the label pool"]),
        ('sum by (pool) (label_replace(probe_success, "pool", "$1", "target", "(.+)"))', []),
        ("probe_success * on (service, servce) group_left () probe_interval_seconds",
         ["no series in it has the label servce"]),
        ('rate(probe_lateness_seconds_bucket{le="5.0"}[5m])', []),
        ('rate(probe_lateness_seconds_bucket{le="6.0"}[5m])', ['probe_lateness_seconds_bucket has no bucket le="6.0"']),
        ('probe_http_server_request_duration_seconds_bucket{le="0.7"}', []),
        ('sum by (anything) (node_cpu_seconds_total{mode="idle"})', []),
        ("probe_lateness_seconds", ["nothing exports probe_lateness_seconds"]),
    ],
)  # fmt: skip
def test_what_nothing_exports_is_told(query: str, says: list[str]) -> None:
    assert list(unexported(parse(query), CONFIGURED)) == says
