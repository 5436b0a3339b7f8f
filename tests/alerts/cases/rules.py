"""What of a shipped rule its cases are made from: its waits, its windows, and the rules that it reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from tests.alerts.shipped import RULE_FILES

__all__ = ["Rule", "alerts", "seconds", "with_what_it_reads"]

EVALUATION = 15.0
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a group.

    Attributes:
        document: As it is shipped.
        interval: Seconds between two evaluations.
    """

    document: dict[str, Any]
    interval: float

    @property
    def wait(self) -> float:
        """Seconds for which it must hold."""
        return seconds(self.document.get("for", "0s"))

    @property
    def hold(self) -> float:
        """Seconds for which it goes on after its end."""
        return seconds(self.document.get("keep_firing_for", "0s"))

    @property
    def window(self) -> float:
        """Seconds that it looks back."""
        ranges = re.findall(r"\[(\w+)", self.document["expr"])
        offsets = re.findall(r"offset (\w+)", self.document["expr"])
        return max(map(seconds, ranges), default=0.0) + max(map(seconds, offsets), default=0.0)

    @property
    def name(self) -> str:
        """Of the alert, or of the series that is recorded."""
        return str(self.document.get("alert") or self.document["record"])

    @property
    def reads(self) -> set[str]:
        """Names of the alerts and recorded series that it reads, its annotations included."""
        text = "\n".join([self.document["expr"], *self.document.get("annotations", {}).values()])
        names = re.findall(r'alertname=~?"([\w|]+)"', text)
        return {name for each in names for name in each.split("|")} | set(re.findall(r"\b\w+:[\w:]+", text))


def seconds(duration: str) -> float:
    """Read a duration as Prometheus writes it."""
    return float(sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration)))


@cache
def rules() -> dict[str, Rule]:
    """Return every rule by name, in the order in which they are evaluated."""
    return {
        rule.name: rule
        for path in RULE_FILES
        for group in yaml.load(path.read_text(), yaml.CSafeLoader)["groups"]
        for rule in (
            Rule(each, seconds(group["interval"]) if "interval" in group else EVALUATION) for each in group["rules"]
        )
    }


def alerts() -> dict[str, Rule]:
    """Return every alerting rule by name."""
    return {name: rule for name, rule in rules().items() if "alert" in rule.document}


def with_what_it_reads(name: str) -> list[dict[str, Any]]:
    """Return a rule and all that it reads, at any remove, in the order in which they are evaluated."""
    wanted, new = {name}, {name}
    while new:
        new = {read for each in new for read in rules()[each].reads if read in rules()} - wanted
        wanted |= new
    return [rule.document for each, rule in rules().items() if each in wanted]
