"""Alerting rules as Prometheus reads them, with the lines that they are on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.runbook.files import LINE, load
from exporter.runbook.finding import Unusable

__all__ = ["Rule", "read"]

_ACTION = re.compile(r"\{\{.*?\}\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rule:
    """An alerting rule."""

    path: Path
    line: int
    name: str
    expr: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def severity(self) -> str:
        """Its severity."""
        return self.labels.get("severity", "")

    @property
    def sample(self) -> dict[str, str]:
        """Labels that an alert of it could have: of a templated label what its template says where no series does."""
        literal = {name: _ACTION.sub("", value).strip() or "any" for name, value in self.labels.items()}
        return {"service": "any", "incident": "any", **literal, "alertname": self.name}


def read(folder: Path) -> list[Rule]:
    """Read all alerting rules of a folder.

    Raises:
        Unusable: A file cannot be read, or there is none.
    """
    paths = sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")])
    if not paths:
        raise Unusable(f"{folder}: has no rules (*.yml)")
    return [rule for path in paths for rule in _of(path)]


def _of(path: Path) -> list[Rule]:
    groups = _list(load(path), "groups", path)
    return [
        Rule(
            path=path,
            line=rule[LINE],
            name=str(rule["alert"]),
            expr=str(rule.get("expr", "")),
            labels=_texts(rule.get("labels")),
            annotations=_texts(rule.get("annotations")),
        )
        for group in groups
        for rule in _list(group, "rules", path)
        if "alert" in rule
    ]


def _list(mapping: Mapping[Any, Any], key: str, path: Path) -> list[dict[Any, Any]]:
    found = mapping.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise Unusable(f"{path}:{mapping.get(LINE, 1)}: {key}: expected a list of mappings")
    return found


def _texts(mapping: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in (mapping or {}).items() if name != LINE}
