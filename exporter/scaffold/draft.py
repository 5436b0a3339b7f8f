"""A configuration in the making: what goes into the file, and what a person should know beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Draft", "Entry", "Unusable"]


class Unusable(Exception):  # noqa: N818 - it says what was found, it is not an error of the program
    """What was given cannot be made a configuration of; the text says why and what to do."""


@dataclass(slots=True)
class Entry:
    """A service or dependency to be.

    Attributes:
        settings: As the configuration file has them.
        remarks: What a person should know of it; they become comments.
        uses: Kinds of what it needs, by what it says itself.
        needs: Names of dependencies that it needs for sure.
    """

    settings: dict[str, Any]
    remarks: list[str] = field(default_factory=list)
    uses: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(slots=True)
class Draft:
    """What a file is to be written of.

    Attributes:
        origin: What it was made from, for the head of the file: without anything secret.
        services: Services by name.
        dependencies: Dependencies by name.
        kubernetes: The section of the cluster; None: none.
        remarks: What a person should know of the whole.
    """

    origin: str
    services: dict[str, Entry] = field(default_factory=dict)
    dependencies: dict[str, Entry] = field(default_factory=dict)
    kubernetes: dict[str, Any] | None = None
    remarks: list[str] = field(default_factory=list)

    def add(self, name: str, entry: Entry) -> str:
        """Put in an entry under its name, or the next one that is free; the same settings elsewhere are one more instance.

        Returns:
            The name that it has now.
        """
        kinds = entry.settings["probes"].keys()
        group = self.services if "actuator" in kinds else self.dependencies
        number, free = 1, name
        while free in self.services or free in self.dependencies:
            there = group.get(free)
            if there is not None and _same_but_for_place(there.settings, entry.settings):
                there.settings["instances"] += [
                    each for each in entry.settings["instances"] if each not in there.settings["instances"]
                ]
                return free
            number += 1
            free = f"{name}-{number}"
        group[free] = entry
        return free

    def connect(self) -> None:
        """Let each service depend on what it says that it uses, where exactly one thing of that kind is known."""
        by_kind: dict[str, list[str]] = {}
        for name, entry in self.dependencies.items():
            for kind in entry.settings["probes"]:
                by_kind.setdefault(kind, []).append(name)
        for entry in self.services.values():
            known = [by_kind[kind][0] for kind in entry.uses if len(by_kind.get(kind, ())) == 1]
            needs = list(dict.fromkeys((*entry.needs, *known)))
            if needs:
                entry.settings["depends_on"] = needs

    def missing(self) -> dict[str, list[str]]:
        """Return the kinds of what services say that they use and nothing here probes, each with those services."""
        there = {kind for entry in self.dependencies.values() for kind in entry.settings["probes"]}
        found: dict[str, list[str]] = {}
        for name, entry in self.services.items():
            for kind in entry.uses:
                if kind not in there:
                    found.setdefault(kind, []).append(name)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return services, dependencies and cluster as the configuration file has them."""
        cluster = {"kubernetes": self.kubernetes} if self.kubernetes is not None else {}
        dependencies = {name: entry.settings for name, entry in self.dependencies.items()}
        services = {name: entry.settings for name, entry in self.services.items()}
        groups = {"dependencies": dependencies, "services": services}
        return {**cluster, **{name: members for name, members in groups.items() if members}}


def _same_but_for_place(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Say whether two entries are instances of one service; what a cluster knows is told apart there."""
    listed = isinstance(one["instances"], list) and isinstance(other["instances"], list)
    return listed and "actuator" in one["probes"] and one["probes"] == other["probes"]
