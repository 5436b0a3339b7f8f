"""How many replicas in sync a topic wants before it takes what is written with `acks=all`: asked rarely, and kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from aiokafka.protocol.admin import DescribeConfigsRequest

from exporter.clients.kafka.connection import Broker

__all__ = ["PERIOD", "RETRY", "Minimums"]

PERIOD = 300.0
"""Seconds after which a topic is asked about again: a topic's configuration is changed by people."""

RETRY = 60.0
"""The same where nothing was answered for it."""

_MOST = 1000
"""Topics that one reading asks about; the others come next."""

_ASKED = 250
"""Topics of one request: writing it and reading its answer take the event loop some milliseconds."""

_TOPIC = 2
"""What a topic is among the kinds of things that have a configuration."""

_NAME = "min.insync.replicas"


class _Known(NamedTuple):
    """What is known of a topic.

    Attributes:
        made: Its identity, None where brokers do not tell it.
        least: Replicas that must be in sync; None where it is not known.
        due: When to ask again.
    """

    made: bytes | None
    least: int | None
    due: float


class Minimums:
    """The `min.insync.replicas` of all topics, from reading to reading."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def due(self, now: float, topics: Mapping[str, bytes | None], urgent: Mapping[str, Any]) -> list[str]:
        """Return which topics to ask about now, those in need first; what is gone, or was made anew, is forgotten.

        Args:
            now: Seconds of a clock that goes forwards.
            topics: All that there are, with their identity.
            urgent: Those in which a replica is missing.
        """
        kept = {topic: known for topic, known in self._known.items() if topic in topics and topics[topic] == known.made}
        self._known = kept
        due = [topic for topic in topics if topic not in kept or kept[topic].due <= now]
        first = [topic for topic in due if topic in urgent and self.least(topic) is None]
        return list(dict.fromkeys([*first[:_MOST], *due[:_MOST]]))[:_MOST]

    async def ask(self, broker: Broker, now: float, names: Sequence[str], topics: Mapping[str, bytes | None]) -> None:
        """Ask any broker.

        Args:
            broker: Which.
            now: As `due` had it.
            names: What `due` returned.
            topics: What it was given.

        Raises:
            Failure: It cannot be asked.
        """
        for topic in names:  # should it fail, and for what is not in the answer; what was known stays
            self._known[topic] = _Known(topics[topic], self.least(topic), now + RETRY)
        for some in _slices(names):
            answer = await broker.ask(DescribeConfigsRequest([(_TOPIC, topic, [_NAME]) for topic in some]))
            asked = set(some)
            for error, _, _, topic, entries, *_ in answer.resources or ():
                if topic in asked:
                    least = None if error else _least(entries)
                    self._known[topic] = _Known(topics[topic], least, now + PERIOD)

    def least(self, topic: str) -> int | None:
        """Return how many replicas of each partition must be in sync; None where it is not known."""
        known = self._known.get(topic)
        return known.least if known is not None else None

    def unknown(self, topics: int) -> int:
        """Say of how many of so many topics, those that `due` was given, it is not known."""
        return topics - sum(known.least is not None for known in self._known.values())


def _least(entries: Sequence[Any] | None) -> int | None:
    said = next((value for name, value, *_ in entries or () if name == _NAME), None)
    return int(said) if said is not None and said.isascii() and said.isdecimal() and len(said) < 10 else None


def _slices(names: Sequence[str]) -> Iterator[list[str]]:
    left = iter(names)
    while some := list(islice(left, _ASKED)):
        yield some
