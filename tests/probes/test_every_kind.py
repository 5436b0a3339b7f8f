"""What every kind of probe owes: a test, a page of documentation, declared metrics, phases, a place in the configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.config.labels import reserved_labels
from exporter.metrics.core import CORE
from exporter.metrics.family import Family, Kind
from exporter.probes import probe_types
from exporter.probing.probe import ProbeSettings

ROOT = Path(__file__).parents[2]
KINDS = sorted(probe_types())
ALL: list[Family] = [*CORE, *(family for probe in probe_types().values() for family in probe.metrics)]


def test_the_kinds_are_the_files() -> None:
    files = {path.stem for path in (ROOT / "exporter" / "probes").glob("*.py")} - {"__init__"}
    assert set(KINDS) == files


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_a_test_that_runs_it(kind: str) -> None:
    text = (ROOT / "tests" / "probes" / f"test_{kind}.py").read_text()
    assert re.search(rf"^from exporter\.probes(\.{kind} import| import {kind}\b)", text, re.MULTILINE)
    assert re.search(r"^async def test_", text, re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_a_page_that_names_its_settings_and_verdicts(kind: str) -> None:
    page = (ROOT / "docs" / "probes" / f"{kind}.md").read_text()
    assert page.startswith(f"# {kind}\n")
    for heading in ("## Settings", "## Verdicts", "## What people do with it"):
        assert f"\n{heading}\n" in page
    own = set(probe_types()[kind].settings_type.model_fields) - set(ProbeSettings.model_fields)
    assert {name for name in own if not re.search(rf"\b{name}\b", page)} == set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_declares_metrics_and_phases(kind: str) -> None:
    probe = probe_types()[kind]
    assert probe.metrics
    assert probe.phases
    assert all(family.name.startswith("probe_") for family in probe.metrics)
    assert all(family.kind is not Kind.HISTOGRAM or not family.buckets for family in probe.metrics)
    assert not any(set(family.labels) & {"service", "probe", "target", "job", "instance"} for family in probe.metrics)


@pytest.mark.parametrize("kind", KINDS)
def test_every_module_level_family_is_declared_by_the_probe(kind: str) -> None:
    module = __import__(f"exporter.probes.{kind}", fromlist=["PROBE"])
    families = {value for value in vars(module).values() if isinstance(value, Family)}
    assert families <= set(probe_types()[kind].metrics)


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_is_described(kind: str) -> None:
    fields = probe_types()[kind].settings_type.model_fields
    assert {name for name, field in fields.items() if not field.description} == set()


def test_no_two_families_share_a_name() -> None:
    names = [family.name for family in ALL]
    assert sorted(set(names)) == sorted(names)


def test_labels_that_families_use_cannot_be_configured_over_them() -> None:
    """Of every family of every kind: two labels of one name in one series, and Prometheus refuses the whole scrape."""
    used = {label for family in ALL for label in (*family.owner_labels, *family.labels)}
    assert used - reserved_labels() == set()
    assert {"area", "group", "version", "le"} <= used
