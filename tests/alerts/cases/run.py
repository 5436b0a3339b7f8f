"""Runs cases through promtool, and reads what it says."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from tests.alerts.cases.derive import Cases
from tests.alerts.cases.rules import with_what_it_reads

__all__ = ["Outcome", "run"]

_QUERY = re.compile(r'^ +expr: ".* # ([\w ]+): ([^"]*)", time: .*$', re.MULTILINE)
_ALERT = re.compile(r"^ +name: ([\w ]+): firing,$", re.MULTILINE)
_LISTED = re.compile(r"^ +(Labels|Annotations):(\{.*\})$", re.MULTILINE)
_PAIR = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*")')


@dataclass
class Outcome:
    """What promtool said of one alert.

    Attributes:
        failed: What it said of each case that failed.
        fired: Labels and annotations of each alert of the case `firing`.
    """

    failed: dict[str, str] = field(default_factory=lambda: defaultdict(str))
    fired: list[tuple[dict[str, str], dict[str, str]]] = field(default_factory=list)


def run(promtool: str, cases: Iterable[Cases], folder: Path) -> dict[str, Outcome]:
    """Run the cases of all alerts in two processes; raise if promtool cannot read them."""
    outcomes = {each.key: Outcome() for each in cases}
    for each in cases:
        rules = {"groups": [{"name": "one", "rules": with_what_it_reads(each.name)}]}
        (folder / f"{each.name}.rules.yml").write_text(yaml.safe_dump(rules))
    for found, text in _failures(promtool, {each: list(each.groups()) for each in cases}, _QUERY, folder):
        outcomes[found[1]].failed[found[2]] += text
    for found, text in _failures(promtool, {each: [each.firing()] for each in cases}, _ALERT, folder):
        outcomes[found[1]].fired += _listed(text)
    return outcomes


def _failures(
    promtool: str, groups: Mapping[Cases, list[dict[str, Any]]], begin: re.Pattern[str], folder: Path
) -> list[tuple[re.Match[str], str]]:
    """Return what promtool says failed, where it begins and all of it."""
    paths = []
    for cases, tests in groups.items():
        path = folder / f"{cases.key}.tests.yml"
        document = {
            "rule_files": [f"{cases.name}.rules.yml"],
            "evaluation_interval": f"{round(cases.evaluation)}s",
            "tests": tests,
        }
        path.write_text(yaml.dump(document, Dumper=yaml.CSafeDumper, width=100_000))
        paths.append(path.name)
    done = subprocess.run(
        [promtool, "test", "rules", *paths], capture_output=True, text=True, timeout=900, check=False, cwd=folder,
        env=os.environ | {"GOGC": "400"},
    )  # fmt: skip
    said = done.stdout + done.stderr
    found = list(begin.finditer(said))
    if done.returncode != 0 and not found:
        raise RuntimeError(said)
    begins = [*(match.start() for match in found), len(said)]
    return [(match, said[begin:end]) for match, (begin, end) in zip(found, pairwise(begins), strict=True)]


def _listed(text: str) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Read the alerts that promtool got, labels and annotations of each."""
    maps = [{key: ast.literal_eval(value) for key, value in _PAIR.findall(each)} for _, each in _LISTED.findall(text)]
    return list(zip(maps[::2], maps[1::2], strict=True))
