"""Numbers the way people read them, and the charts' geometry."""

from __future__ import annotations

import pytest

from exporter.verdict import Reason, Verdict
from exporter.web import format as wording
from exporter.web.charts import bars, segments, strip
from tests.web.samples import attempts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (12_060, "3 h 21 min"),
        (40_000, "11 h"), (172_799, "47 h"), (172_800, "2 d"), (8_640_000, "100 d"),
    ],
)  # fmt: skip
def test_ages_are_coarse(seconds: float, text: str) -> None:
    assert wording.age(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0"), (0.00074, "740 µs"), (0.00099999, "1.0 ms"), (0.0032, "3.2 ms"), (0.00999, "10 ms"), (0.0384, "38 ms"),
        (0.9999, "1 s"), (1.238, "1.24 s"), (75.4, "75.4 s"), (150, "2 min"), (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_durations_have_the_digits_that_matter(seconds: float, text: str) -> None:
    assert wording.span(seconds) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("probe_redis_memory_used_bytes", 1536.0, "1.5 KiB"),
        ("probe_jvm_memory_max_bytes{area=heap}", 2.0**50, "1,024 TiB"),
        ("probe_jvm_gc_pause_seconds_total", 0.25, "250 ms"),
        ("probe_redis_hit_ratio", 0.931, "93.1%"),
        ('probe_actuator_component_up{component="db"}', 0.0, "down"),
        ("probe_service_up", 1.0, "up"),
        ("probe_http_server_requests_total{outcome=SUCCESS}", 1_482_113.0, "1,482,113"),
        ("probe_x", 0.123456, "0.1235"),
        ("probe_x", float("inf"), "inf"),
        ("probe_ssl_earliest_cert_expiry", 1000.0 + 9 * 86400, "1970-01-10 00:16:40 UTC (in 9 d)"),
        ("probe_process_start_timestamp_seconds", 400.0, "1970-01-01 00:06:40 UTC (10 min ago)"),
        ("probe_process_start_timestamp_seconds", 1e300, "1970-01-01 00:00:00 UTC (in " + wording.age(1e300 - 1000) + ")"),
    ],
)
def test_facts_are_written_by_the_unit_in_their_name(name: str, value: float, text: str) -> None:
    assert wording.fact(name, value, 1000.0) == text


def test_every_reason_has_words_and_a_new_one_reads_well_enough() -> None:
    assert all(wording.reason_text(reason).endswith(".") for reason in Reason)
    assert wording.reason_text("brand_new") == "Brand new."
    assert wording.reason_text(None) == "No reason is known."
    assert wording.stage_text("nowhere") == ""


def test_names_are_joined_as_a_sentence_does() -> None:
    assert [wording.listing(list(names)) for names in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]


def test_a_strip_has_a_bar_for_each_attempt_and_failed_ones_are_of_full_height() -> None:
    drawn = strip(attempts(1000.0, failing=3))
    assert drawn.paths["up"].count("M") == 9
    assert drawn.paths["down"].count("M") == drawn.paths["down"].count("v20h") == 3
    assert drawn.label == "last 12 attempts: 3 failed; the latest took 4.0 ms"


def test_a_short_strip_ends_at_the_right() -> None:
    drawn = strip(attempts(1000.0)[:1])
    assert drawn.paths["up"].startswith("M77 ")
    assert drawn.label.startswith("last 1 attempt: none failed")
    assert strip([]).paths == {}


def test_phases_follow_each_other_and_stay_inside() -> None:
    drawn = bars({"wait": 3.0, "connect": 1.0, "resolve": 0.0})
    assert [(bar.name, bar.start) for bar in drawn] == [("resolve", 0.0), ("connect", 0.0), ("wait", 25.0)]
    assert all(bar.width > 0 and bar.start + bar.width <= 100.01 for bar in drawn)
    assert bars({"resolve": 0.0})[0].width > 0


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.0, "0.0 %"),
        (1e-9, "< 0.1 %"),
        (0.001, "0.1 %"),
        (0.5, "50.0 %"),
        (0.9997, "99.97 %"),
        (0.9999999, "99.999 %"),
        (1.0, "100 %"),
    ],
)
def test_a_share_is_neither_all_nor_nothing_where_it_is_not(ratio: float, text: str) -> None:
    assert wording.share(ratio) == text


def test_shares_make_a_whole_and_none_vanishes() -> None:
    drawn = segments([("up", 10_000), ("unknown", 0), ("down", 1)])
    assert [item.name for item in drawn] == ["up", "down"]
    assert drawn[1].width > 1
    assert drawn[1].start + drawn[1].width == pytest.approx(100, abs=0.05)
    assert segments([]) == []
    assert Verdict.UP.value == "up"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Look at <its> pods", "Look at &lt;its&gt; pods"),
        ("Run `a <b>` and `c`", "Run <code>a &lt;b&gt;</code> and <code>c</code>"),
        ("an odd ` backtick", "an odd ` backtick"),
        ("kubectl get pods -n hafnium", "<code>kubectl get pods -n hafnium</code>"),
        (
            "kubectl --context a:b get pods -l 'a in (b,c)'",
            "<code>kubectl --context a:b get pods -l &#39;a in (b,c)&#39;</code>",
        ),
        ("rpk topic describe the topic: partitions", "rpk topic describe the topic: partitions"),
        ("curl localhost/x (the port)", "curl localhost/x (the port)"),
    ],
)
def test_commands_in_steps_are_set_as_code(text: str, html: str) -> None:
    assert str(wording.marked(text)) == html


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [("it hangs", "", "It hangs"), ("postgres is down", "postgres", "postgres is down"), ("", "", "")],
)
def test_a_sentence_begins_large_unless_with_a_name(text: str, name: str, told: str) -> None:
    assert wording.sentence(text, name) == told


def test_a_panel_is_found_beside_the_fleets_dashboard() -> None:
    fleet = "https://grafana.example/d/hafnium-fleet"
    assert wording.panel_address(fleet, "fleet", 1, "a b") == f"{fleet}?var-service=a%20b&viewPanel=1"
    assert wording.panel_address(fleet, "service", 22, "vault") == (
        "https://grafana.example/d/hafnium-service?var-service=vault&viewPanel=22"
    )
    own = "https://grafana.example/d/mine"
    assert wording.panel_address(own, "service", 22, "vault") == f"{own}?var-service=vault"


@pytest.mark.parametrize(
    "fleet",
    [
        "https://grafana.example/d/hafnium-fleet/",
        "https://grafana.example/d/hafnium-fleet/hafnium-fleet",
        "https://grafana.example/d/hafnium-fleet/hafnium-fleet?from=now-6h&to=now&refresh=15s",
    ],
)
def test_a_dashboards_address_may_be_as_grafana_shows_it(fleet: str) -> None:
    beside = "https://grafana.example/d/hafnium"
    assert wording.board_address(fleet, "a b") == f"{beside}-fleet?var-service=a%20b"
    assert wording.panel_address(fleet, "fleet", 1, "vault") == f"{beside}-fleet?var-service=vault&viewPanel=1"
    assert wording.panel_address(fleet, "redis", 24, "vault") == f"{beside}-redis?var-service=vault&viewPanel=24"


def test_the_organisation_of_a_dashboard_stays() -> None:
    fleet = "https://grafana.example/sub/d/hafnium-fleet/x?var-service=All&orgId=2"
    assert wording.panel_address(fleet, "redis", 24, "vault") == (
        "https://grafana.example/sub/d/hafnium-redis?orgId=2&var-service=vault&viewPanel=24"
    )
    assert wording.board_address("https://other.example/page?x=1", "vault") == "https://other.example/page?var-service=vault"
