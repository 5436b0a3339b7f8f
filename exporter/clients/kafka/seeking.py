"""Looks for consumer groups that were there and that no broker lists any more.

While a coordinator moves, neither the old one nor the new one lists its groups, and both say that this is all: the one has
let go of them, the other has not heard yet that they are its own. Asked for a group by its name, only its coordinator says
that it is gone; others say that they are not it, or that they have not read yet what they take over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from exporter.clients.kafka.brokers import Brokers, Patience
from exporter.clients.kafka.connection import Broker
from exporter.clients.kafka.errors import failure_of_code
from exporter.clients.kafka.groups import seek_groups
from exporter.verdict import Failure

__all__ = ["Kept", "Search", "seek"]

_TOGETHER = 50
"""Groups asked for in one request."""

_NOT_COORDINATOR = 16
"""Error code of who does not keep a group."""


class Kept(NamedTuple):
    """Where a group was when it was seen last.

    Attributes:
        kind: Its type.
        node: Who coordinated it; or who has said that it is gone, where that is not believed yet.
    """

    kind: str
    node: int


@dataclass(frozen=True, slots=True)
class Search:
    """What came of it.

    Attributes:
        there: The groups that were found, by node: their kinds by name.
        gone: Those that are no more.
        left: Those of which it is not known; they are to be looked for again.
        failures: Why not.
    """

    there: Mapping[int, Mapping[str, str]]
    gone: Sequence[str]
    left: Mapping[str, Kept]
    failures: Sequence[Failure]


async def seek(brokers: Brokers, missing: Mapping[str, Kept], end: Patience) -> Search:
    """Ask who coordinated each group, then all others.

    Who coordinated it is believed that it is gone. Another is believed at the next look, once it has said so twice: what it
    takes over it may have read in part.

    Args:
        brokers: All of them.
        missing: The groups.
        end: How long brokers are waited for.
    """
    said = _Said(missing)
    failures: list[Failure] = []
    for own in (True, False):
        asking = {}
        for node, broker in brokers.left().items():
            names = [name for name in said.undecided if (missing[name].node == node) is own]
            if names:
                asking[node] = partial(said.ask, node, broker, names)
        failures += (await brokers.side_by_side(asking, end)).values()
    there: dict[int, dict[str, str]] = {}
    for name, node in said.there.items():
        there.setdefault(node, {})[name] = missing[name].kind
    gone = [name for name, node in said.gone.items() if name not in said.there and node == missing[name].node]
    left = {
        name: kept._replace(node=said.gone.get(name, kept.node))
        for name, kept in missing.items()
        if name not in said.there and name not in gone
    }
    failures += [
        failure_of_code(said.codes.get(name, _NOT_COORDINATOR), f"group {name}, which no broker lists any more")
        for name in left
    ]
    return Search(there, gone, left, failures)


@dataclass(slots=True)
class _Said:
    """What brokers say of groups.

    Attributes:
        missing: The groups.
        there: Who has each that was found.
        gone: Who says of each that it is gone.
        codes: What else is said of each, beside that somebody is not its coordinator.
    """

    missing: Mapping[str, Kept]
    there: dict[str, int] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def undecided(self) -> list[str]:
        """Those of which nobody has said that they are there, or gone."""
        return [name for name in self.missing if name not in self.there and name not in self.gone]

    async def ask(self, node: int, broker: Broker, names: Iterable[str]) -> None:
        """Ask a broker for some of them."""
        by_kind: dict[str, list[str]] = {}
        for name in names:
            by_kind.setdefault(self.missing[name].kind, []).append(name)
        for kind, of_kind in by_kind.items():
            for start in range(0, len(of_kind), _TOGETHER):
                for name, code in (await seek_groups(broker, kind, of_kind[start : start + _TOGETHER])).items():
                    self._take(node, name, code)

    def _take(self, node: int, name: str, code: int | None) -> None:
        if code is None:
            self.gone[name] = node
        elif code == 0:
            self.there[name] = node
        elif code != _NOT_COORDINATOR:
            self.codes[name] = code
