"""What is shipped, as data: the rules, their tests, the runbook's table, and the names and labels of declared metrics."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from exporter.metrics.core import CORE
from exporter.metrics.family import Family, Kind
from exporter.probes import probe_types

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "alerts"
RULE_FILES = sorted((ALERTS / "rules").glob("*.yml"))
TEST_FILES = sorted((ALERTS / "tests").glob("*.yml"))

PROMETHEUS_LABELS = {"job", "instance"}

_METRIC = re.compile(r"\b((?:probe|process)_[a-z0-9_]+)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


def tool(*command: str) -> str:
    """Run promtool or amtool; fail with what it said."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT, env=os.environ | {"GOGC": "400"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def rules() -> dict[str, dict[str, Any]]:
    """Return every alerting rule by name; names are unique."""
    found: dict[str, dict[str, Any]] = {}
    for path in RULE_FILES:
        for group in yaml.load(path.read_text(), yaml.CSafeLoader)["groups"]:
            for rule in group["rules"]:
                assert rule["alert"] not in found, f"{rule['alert']} is defined twice"
                found[rule["alert"]] = rule
    return found


def runbook_table() -> list[tuple[str, str, str]]:
    """Return the runbook's alert table: name, severity in lower case, action."""
    text = (ROOT / "docs" / "runbook.md").read_text()
    section = text.split("## Monitoring Alerts", 1)[1].split("\n## ", 1)[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    return [(name, severity.lower(), action) for name, severity, action in lines[2:]]


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@dataclass(frozen=True)
class Use:
    """One metric in a query, with the labels matched on."""

    metric: str
    matched: dict[str, str]


def uses(query: str) -> Iterator[Use]:
    """Yield the exporter's metrics in a PromQL query or in a template's queries."""
    for metric, matchers in _METRIC.findall(query):
        yield Use(metric, dict(_MATCHER.findall(matchers)))


@cache
def declared() -> dict[str, set[str]]:
    """Return every series name that the exporter can export, with its label names."""
    probes = [family for probe in probe_types().values() for family in probe.metrics]
    names: dict[str, set[str]] = {}
    for family in (*CORE, *probes):
        labels = {*family.labels, *family.owner_labels, *PROMETHEUS_LABELS}
        if family.kind is Kind.HISTOGRAM:
            names[f"{family.name}_bucket"] = {*labels, "le"}
            names[f"{family.name}_sum"] = names[f"{family.name}_count"] = labels
        else:
            names[family.name] = labels
    return names


def undeclared(query: str) -> list[str]:
    """Return what a query selects that the exporter does not declare: metrics, labels, bucket bounds."""
    wrong = []
    for use in uses(query):
        labels = declared().get(use.metric)
        if labels is None:
            wrong.append(use.metric)
            continue
        wrong.extend(f"{use.metric}{{{label}}}" for label in use.matched if label not in labels)
        if "le" in use.matched and use.matched["le"] not in bounds(use.metric.removesuffix("_bucket")):
            wrong.append(f'{use.metric}{{le="{use.matched["le"]}"}}')
    return wrong


def bounds(histogram: str) -> set[str]:
    """Return a histogram's bounds as they are written in `le`."""
    family: Family = next(family for family in CORE if family.name == histogram)
    return {*(repr(float(bound)) for bound in family.buckets), "+Inf"}
