"""How meters are written: Micrometer's names and buckets, Java's numbers, both Prometheus formats, sums in JSON."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.demo.springboot.meters import BUCKETS, Kind, Meter, Timer, common
from exporter.demo.springboot.metrics_json import describe, names, parse_tags
from exporter.demo.springboot.prometheus_text import OPENMETRICS, TEXT, accepted_format, double, render


def timer(*seconds: float, histogram: bool = False) -> Timer:
    made = Timer(histogram=histogram)
    for item in seconds:
        made.record(item)
    return made


def some_meters() -> list[Meter]:
    """Made when they are asked for: a timer forgets its maximum after a while."""
    return [
        Meter("hikaricp.connections.timeout", Kind.COUNTER, 3, (("pool", "HikariPool-1"),), description="Timeouts"),
        Meter("jvm.memory.max", Kind.GAUGE, -1.0, (("id", "Metaspace"), ("area", "nonheap")), "bytes", "The maximum"),
        Meter("jvm.memory.max", Kind.GAUGE, 268435456.0, (("id", 'a \\ "b"\nc'), ("area", "heap")), "bytes", "The maximum"),
        Meter("http.server.requests", Kind.TIMER, timer(0.002, 0.3, histogram=True), (("uri", "/a"), ("status", "200"))),
        Meter("jvm.gc.pause", Kind.TIMER, timer(0.25), (), description='back\\slash, "quote"\nand line'),
        Meter("process.uptime", Kind.GAUGE, 12.5, unit="seconds"),
    ]


def test_the_histogram_has_the_bounds_of_micrometer() -> None:
    assert BUCKETS[:6] == (0.001, 0.001048576, 0.001398101, 0.001747626, 0.002097151, 0.002446676)
    assert BUCKETS[-2:] == (28.633115306, 30.0)
    assert len(BUCKETS) == 68


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"), (1.0, "1.0"), (-1.0, "-1.0"), (0.001, "0.001"), (9999999.0, "9999999.0"), (1e7, "1.0E7"),
        (268435456.0, "2.68435456E8"), (1.25e-4, "1.25E-4"), (-2e-9, "-2.0E-9"), (1763898000.123, "1.763898000123E9"),
        (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_java_does(value: float, text: str) -> None:
    assert double(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_back_the_same(value: float) -> None:
    assert float(double(value)) == value


def test_text_has_families_by_name_with_sorted_labels_and_a_maximum_apart() -> None:
    lines = render(some_meters()).splitlines()
    assert [line.split()[2:] for line in lines if line.startswith("# TYPE")] == [
        ["hikaricp_connections_timeout_total", "counter"],
        ["http_server_requests_seconds", "histogram"],
        ["http_server_requests_seconds_max", "gauge"],
        ["jvm_gc_pause_seconds", "summary"],
        ["jvm_gc_pause_seconds_max", "gauge"],
        ["jvm_memory_max_bytes", "gauge"],
        ["process_uptime_seconds", "gauge"],
    ]
    assert 'hikaricp_connections_timeout_total{pool="HikariPool-1"} 3.0' in lines
    assert "# HELP http_server_requests_seconds  " in lines
    assert 'http_server_requests_seconds_bucket{status="200",uri="/a",le="+Inf"} 2' in lines
    assert 'http_server_requests_seconds_count{status="200",uri="/a"} 2' in lines
    assert 'http_server_requests_seconds_max{status="200",uri="/a"} 0.3' in lines
    assert '# HELP jvm_gc_pause_seconds back\\\\slash, "quote"\\nand line' in lines
    assert "jvm_gc_pause_seconds_sum 0.25" in lines
    assert 'jvm_memory_max_bytes{area="heap",id="a \\\\ \\"b\\"\\nc"} 2.68435456E8' in lines
    assert 'jvm_memory_max_bytes{area="nonheap",id="Metaspace"} -1.0' in lines


@pytest.mark.parametrize("openmetrics", [False, True])
def test_both_formats_are_read_by_the_reference_parsers_with_the_same_samples(openmetrics: bool) -> None:
    parse: Any = parse_openmetrics if openmetrics else parse_text
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(render(some_meters(), openmetrics=openmetrics))
        for sample in family.samples
    }
    assert samples["hikaricp_connections_timeout_total", frozenset({("pool", "HikariPool-1")})] == 3
    assert samples["jvm_memory_max_bytes", frozenset({("area", "heap"), ("id", 'a \\ "b"\nc')})] == 268435456
    assert samples["jvm_gc_pause_seconds_count", frozenset()] == 1
    assert sum(name == "http_server_requests_seconds_bucket" for name, _ in samples) == len(BUCKETS) + 1


def test_openmetrics_names_a_counter_without_its_suffix_and_says_where_it_ends() -> None:
    lines = render(some_meters()[:1], openmetrics=True).splitlines()
    assert lines == [
        "# TYPE hikaricp_connections_timeout counter",
        "# HELP hikaricp_connections_timeout Timeouts",
        'hikaricp_connections_timeout_total{pool="HikariPool-1"} 3.0',
        "# EOF",
    ]


@pytest.mark.parametrize(
    ("included", "families"),
    [
        ({"hikaricp_connections_timeout"}, {"hikaricp_connections_timeout"}),
        ({"hikaricp_connections_timeout_total"}, set()),
        ({"jvm_gc_pause_seconds"}, {"jvm_gc_pause_seconds"}),
        ({"jvm_gc_pause_seconds_max"}, {"jvm_gc_pause_seconds_max"}),
        ({"jvm_gc_pause_seconds_count", "jvm_gc_pause_seconds_sum", "nothing"}, set()),
        ({"process_uptime_seconds", "jvm_memory_max_bytes"}, {"process_uptime_seconds", "jvm_memory_max_bytes"}),
    ],
)
def test_included_names_are_those_of_families_exactly(included: set[str], families: set[str]) -> None:
    text = render(some_meters(), included)
    assert {family.name for family in parse_text(text)} == families
    assert bool(text) is bool(families)


@pytest.mark.parametrize(
    ("accepts", "expected"),
    [
        ([], TEXT), (["*/*"], TEXT), (["text/plain;version=0.0.4"], TEXT), (["text/html, text/*;q=0.1"], TEXT),
        (["application/openmetrics-text; version=1.0.0"], OPENMETRICS),
        (["text/plain;q=1, application/openmetrics-text;q=0.1"], OPENMETRICS),
        (["text/plain", "application/openmetrics-text"], OPENMETRICS), (["application/json"], None),
    ],
)  # fmt: skip
def test_openmetrics_wins_wherever_it_is_named(accepts: list[str], expected: str | None) -> None:
    assert accepted_format(accepts) == expected


def test_a_maximum_fades_after_three_minutes_and_a_count_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("exporter.demo.springboot.meters.time.monotonic", lambda: now)
    kept = timer(3.0)
    for later, longest in ((100.0, 3.0), (190.0, 0.0)):
        now = 1000.0 + later
        assert kept.longest == longest
    for minute in range(10):
        now = 2000.0 + 60 * minute
        kept.record(float(minute))
    assert (kept.longest, kept.count) == (9.0, 11)


def test_json_sums_all_but_maxima_and_offers_the_tags_that_are_left() -> None:
    two = [
        Meter("t", Kind.TIMER, timer(1.0, 2.0), (("uri", "/a"), ("status", "200")), description="Time"),
        Meter("t", Kind.TIMER, timer(4.0), (("uri", "/b"), ("status", "200"))),
    ]
    assert describe(two, "t", ()) == {
        "name": "t",
        "description": "Time",
        "baseUnit": "seconds",
        "measurements": [
            {"statistic": "COUNT", "value": 3.0},
            {"statistic": "TOTAL_TIME", "value": 7.0},
            {"statistic": "MAX", "value": 4.0},
        ],
        "availableTags": [{"tag": "uri", "values": ["/a", "/b"]}, {"tag": "status", "values": ["200"]}],
    }
    narrowed = describe(two, "t", (("uri", "/b"),))
    assert narrowed is not None
    assert narrowed["measurements"][2] == {"statistic": "MAX", "value": 4.0}
    assert narrowed["availableTags"] == [{"tag": "status", "values": ["200"]}]
    assert describe(two, "t", (("uri", "/c"),)) is None
    assert describe(two, "u", ()) is None


def test_json_leaves_out_what_is_empty_and_writes_no_number_as_a_word() -> None:
    lag = Meter("lag", Kind.GAUGE, math.nan)
    assert describe([lag], "lag", ()) == {
        "name": "lag",
        "measurements": [{"statistic": "VALUE", "value": "NaN"}],
        "availableTags": [],
    }
    assert names([*some_meters(), lag])["names"][:2] == ["hikaricp.connections.timeout", "http.server.requests"]


@pytest.mark.parametrize("text", ["area", "area:", ":heap", ""])
def test_a_tag_without_a_name_or_a_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be in the form 'key:value'"):
        parse_tags(["id:x", text])


def test_common_tags_come_to_every_meter_in_order_of_names() -> None:
    (made,) = common(some_meters()[:1], (("application", "x"),))
    assert made.tags == (("application", "x"), ("pool", "HikariPool-1"))
    assert made.family == "hikaricp_connections_timeout"
