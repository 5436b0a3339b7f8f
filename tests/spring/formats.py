"""What is exported, held against those who read it: prometheus_client's parsers of both formats, and promtool."""

from __future__ import annotations

import subprocess

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics.store import Samples, Store

__all__ = ["Read", "exported", "held_against_promtool", "published"]

Read = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by sample name and labels, in order of their names."""


def published(samples: Samples) -> Store:
    """A store with these samples of one owner, whose base label is its service."""
    store = Store()
    store.owner({"service": "identity"}).publish(samples)
    return store


def exported(store: Store) -> Read:
    """What both formats are read as. They must say the same, and no series twice."""
    found: list[Read] = []
    for openmetrics, parse in ((False, parse_text), (True, parse_openmetrics)):
        text = store.render(openmetrics=openmetrics).decode()
        samples = [sample for family in parse(text) for sample in family.samples]
        read = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}
        assert len(read) == len(samples), "a series is there twice"
        found.append(read)
    text_read, openmetrics_read = found
    assert text_read.keys() == openmetrics_read.keys()
    for key, value in text_read.items():
        other = openmetrics_read[key]
        assert value == other or value != value != other, key  # noqa: PLR0124 - NaN is not itself
    return text_read


def held_against_promtool(store: Store) -> None:
    """Promtool has nothing to say."""
    done = subprocess.run(["promtool", "check", "metrics"], input=store.render(), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
