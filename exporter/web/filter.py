"""Which of the fleet is wanted: what the form of the status page asks for, by query alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from exporter.engine.rollup import State
from exporter.web.summary import Row

__all__ = ["Filter"]

_LONGEST = 100


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked for.

    Attributes:
        text: What a name contains, whatever its case.
        state: How it is; empty where it does not matter.
        probe: A kind of probe that it has, which is in that state where one is given; empty where it does not matter.
        first: Which of them comes first, from 0 on.
    """

    text: str = ""
    state: str = ""
    probe: str = ""
    first: int = 0

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """Read a query. What it does not know is as if it were not there: an old link shows too much rather than nothing."""
        state, first = query.get("state", ""), query.get("first", "")
        return cls(
            query.get("q", "").strip()[:_LONGEST],
            state if state in set(State) else "",
            query.get("probe", "")[:_LONGEST],
            int(first) if first.isascii() and first.isdigit() and len(first) < 8 else 0,
        )

    @property
    def given(self) -> bool:
        """Whether anything is left out."""
        return bool(self.text or self.state or self.probe)

    def find(self, rows: list[Row]) -> list[Row]:
        """Return those that are asked for, in their order."""
        text = self.text.casefold()
        return [row for row in rows if text in row.view.name and self._fits(row)] if self.given else rows

    def address(self, first: int, refresh: str = "") -> str:
        """Return the address of the same question from another place on.

        Args:
            first: From where on.
            refresh: Whether the page is to stand still: `off`.
        """
        asked = {"q": self.text, "state": self.state, "probe": self.probe, "first": first or "", "refresh": refresh}
        query = urlencode({name: value for name, value in asked.items() if value})
        return f"/?{query}" if query else "/"

    def _fits(self, row: Row) -> bool:
        if not self.probe:
            return not self.state or row.state == self.state
        found = row.view.probes.get(self.probe)
        return found is not None and self.state in ("", found)
