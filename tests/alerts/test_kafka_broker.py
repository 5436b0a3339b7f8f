"""A broker that is gone rings once: as a page where it costs partitions, else as KafkaBrokerDown, and not as both."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.alerts.cases.entries import of, own
from tests.alerts.shipped import RULE_FILES
from tests.alerts.tools import Tools

LAST = 130
"""Scrapes, one every 15 s."""

READ = frozenset({"data", "services", "exporter"})
"""Files with rules of Kafka, or of any service or probe."""

TROUBLE = 20
"""The scrape from which on something is wrong."""


@dataclass(frozen=True, slots=True)
class Story:
    """What happens to a cluster of three brokers, and what rings for it.

    Attributes:
        broken: Series that are otherwise from then on: what each was, how many scrapes later, and what it is then.
        rings: Alerts that fire.
        mended: The scrape from which on all but the broker is well again.
    """

    broken: Mapping[str, tuple[float, int, float | None]]
    rings: frozenset[str]
    mended: int = LAST


def series(metric: str, **labels: str) -> str:
    return of(f"probe_{metric}", "kafka", **labels)


def part(name: str) -> str:
    return series("part_success", probe="kafka", target="kafka", part=name)


def failed(name: str, reason: str) -> str:
    return series("part_failures_total", probe="kafka", target="kafka", part=name, stage="query", reason=reason)


GONE = {series("kafka_broker_up", broker="2"): (1, 0, 0), series("kafka_under_replicated_partitions"): (0, 1, 50)}
CANARIES = [series("kafka_canary_success", partition=number) for number in "012"]
LEADERLESS = {
    series("kafka_offline_partitions"): (0, 1, 4),
    part("offsets"): (1, 0, 0),
    failed("offsets", "no_leader"): (0, 0, 1),
}
UNFLOWN = {
    **dict.fromkeys(CANARIES, (1.0, 0, 1.0)),
    CANARIES[2]: (1, 0, 0),
    part("canary"): (1, 0, 0),
    failed("canary", "timeout"): (0, 0, 1),
}
GROUNDED = UNFLOWN | dict.fromkeys(CANARIES, (1.0, 0, 0.0))

STORIES: Mapping[str, Story] = {
    "one of three, of which the others have copies": Story(GONE, frozenset({"KafkaBrokerDown"})),
    "one of three, whose canary is not led by others": Story({**GONE, **UNFLOWN}, frozenset({"KafkaBrokerDown"})),
    "one of three, with the only copy of some": Story(
        {**GONE, **UNFLOWN, **LEADERLESS}, frozenset({"KafkaPartitionsOffline"})
    ),
    "one of three, without which too few are in sync, told a while later": Story(
        {**GONE, **UNFLOWN, series("kafka_under_min_isr_partitions"): (0, 3, 7)}, frozenset({"KafkaPartitionsUnderMinIsr"})
    ),
    "one of three, and no canary is taken": Story({**GONE, **GROUNDED}, frozenset({"KafkaWritesFailing"})),
    "one of three, whose partitions are given to others": Story(
        {**GONE, **LEADERLESS}, frozenset({"KafkaPartitionsOffline", "KafkaBrokerDown"}), mended=70
    ),
    "all of them": Story(
        {
            **dict.fromkeys((series("kafka_broker_up", broker=number) for number in "123"), (1.0, 0, None)),
            **dict.fromkeys(CANARIES, (1.0, 0, None)),
            series("service_up"): (1, 2, 0),
            series("incident", incident="kafka"): (0, 2, 1),
        },
        frozenset({"ServiceDown"}),
    ),
    "none, and a canary is not taken": Story(UNFLOWN, frozenset({"KafkaCanaryFailing"})),
    "none, and a replica does not keep up": Story(
        {series("kafka_under_replicated_partitions"): (0, 0, 3)}, frozenset({"KafkaUnderReplicated"})
    ),
    "none, and offsets may not be read": Story(
        {part("offsets"): (1, 0, 0), failed("offsets", "auth"): (0, 0, 1)}, frozenset({"ProbePartFailing"})
    ),
}


def values(name: str, story: Story) -> str:
    """Write down a series, one value a scrape."""
    well, late, ill = story.broken[name]
    begins = TROUBLE + late
    last = LAST if name in GONE else min(LAST, story.mended)
    if "_total{" in name:  # it counts one at each attempt
        return f"0x{begins - 1} 0+1x{last - begins} {last - begins}x{LAST - last}"
    if name.startswith("probe_incident"):
        return f"_x{begins} 1x{LAST - begins}"
    if ill is None:
        return f"{well}x{begins - 1} stale"
    return f"{well}x{begins - 1} {ill}x{last - begins} {well}x{LAST - last}"


def document(name: str) -> dict[str, object]:
    story = STORIES[name]
    inputs = [{"series": each, "values": values(each, story)} for each in story.broken]
    inputs += [{"series": own("up"), "values": f"1x{LAST}"}]
    fired = 'count by (alertname) (count_over_time(ALERTS{alertstate="firing",service="kafka"}[1h])) > bool 0'
    rung = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(story.rings)]
    return {
        "name": name,
        "interval": "15s",
        "input_series": inputs,
        "promql_expr_test": [{"expr": fired, "eval_time": "32m", "exp_samples": rung}],
    }


@pytest.mark.parametrize("name", STORIES)
def test_what_befalls_a_broker_rings_once(name: str, tools: Tools, tmp_path: Path) -> None:
    tests = {
        "rule_files": [str(path) for path in RULE_FILES if path.stem in READ],
        "evaluation_interval": "15s",
        "tests": [document(name)],
    }
    path = tmp_path / "broker.yml"
    path.write_text(yaml.safe_dump(tests))
    done = subprocess.run([tools.promtool, "test", "rules", path], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
