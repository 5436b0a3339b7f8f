"""docs/comparison.md beside kminion: each of its families is told or left out with a reason, by names that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.kafka import families as kafka
from exporter.metrics import core
from exporter.metrics.family import Family

PAGE = Path(__file__).parents[2] / "docs" / "comparison.md"

GROUP = "kafka_consumer_group"
END_TO_END = "end_to_end"

THEIRS = {
    f"kminion_{name}"
    for name in (
        "exporter_up", "exporter_offset_consumer_records_consumed_total", "kafka_cluster_info", "kafka_broker_info",
        "kafka_broker_log_dir_size_total_bytes", "kafka_topic_log_dir_size_total_bytes", "kafka_topic_info",
        "kafka_topic_partition_low_water_mark", "kafka_topic_low_water_mark_sum", "kafka_topic_partition_high_water_mark",
        "kafka_topic_high_water_mark_sum", f"{GROUP}_info", f"{GROUP}_members", f"{GROUP}_empty_members",
        f"{GROUP}_topic_members", f"{GROUP}_topic_assigned_partitions", f"{GROUP}_topic_offset_sum",
        f"{GROUP}_topic_partition_lag", f"{GROUP}_topic_lag", f"{GROUP}_offset_commits_total",
        f"{END_TO_END}_messages_produced_in_flight", f"{END_TO_END}_messages_produced_total",
        f"{END_TO_END}_messages_produced_failed_total", f"{END_TO_END}_messages_received_total",
        f"{END_TO_END}_messages_lost_total", f"{END_TO_END}_offset_commits_total", f"{END_TO_END}_produce_latency_seconds",
        f"{END_TO_END}_roundtrip_latency_seconds", f"{END_TO_END}_commit_latency_seconds",
    )
}  # fmt: skip
"""What kminion's source declares."""


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, str]]:
    """The tables' rows, without their heads."""
    section = PAGE.read_text().partition("<!-- kminion: begin -->")[2].partition("<!-- kminion: end -->")[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if line.startswith(("| `", "| is"))]
    return [(theirs, ours) for theirs, ours in cells]


def test_every_family_of_kminion_is_in_the_table(rows: list[tuple[str, str]]) -> None:
    assert {name for theirs, _ in rows for name in re.findall(r"kminion_\w+", theirs)} == THEIRS


def test_every_name_of_ours_is_exported(rows: list[tuple[str, str]]) -> None:
    ours = {name for _, told in rows for name in re.findall(r"probe_\w+", told)}
    exported = {family.name for family in (*kafka.FAMILIES, *vars(core).values()) if isinstance(family, Family)}
    assert ours
    assert ours <= exported
