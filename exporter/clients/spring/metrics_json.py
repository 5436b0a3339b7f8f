"""The `/actuator/metrics` endpoint, where `/actuator/prometheus` is not there: one question per number.

Its totals are sums over all meters of a name, so that a memory pool without a limit (-1) corrupts them: such meters are
asked for one by one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.clients.spring.meters import POOL_STATES, Readings, Series, known_outcome, undotted_twins
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Ask", "Measured", "Tags", "collect", "parse", "parse_names"]

MAX_DRILL = 20
"""Values of one tag that are asked for; each is a request."""

MAX_TAG_VALUES = 1_000
MAX_TEXT = 200

Tags = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """One answer: a meter's numbers by statistic (VALUE, COUNT, TOTAL_TIME in seconds, MAX), and its further tags."""

    values: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


Ask = Callable[[str, Tags], Awaitable[Measured | None]]
"""Asks for a meter, narrowed by tags; None where there is none."""

_SCALE = {"milliseconds": 0.001, "microseconds": 1e-6, "nanoseconds": 1e-9}


def parse_names(body: bytes) -> frozenset[str]:
    """Read the list of meters.

    Raises:
        Failure: `malformed`.
    """
    names = _object(body).get("names")
    if not isinstance(names, list):
        raise _malformed("the list of meters has no names")
    return frozenset(name for name in names if isinstance(name, str))


def parse(body: bytes) -> Measured:
    """Read one meter's answer; numbers that are not finite are left out.

    Raises:
        Failure: `malformed`.
    """
    answer = _object(body)
    scale = _SCALE.get(str(answer.get("baseUnit")), 1.0)
    values: dict[str, float] = {}
    for item in _dicts(answer.get("measurements")):
        value = _number(item.get("value"))
        if value is not None and isinstance(item.get("statistic"), str):
            values[item["statistic"]] = value * (1.0 if item["statistic"] == "COUNT" else scale)
    tags: dict[str, tuple[str, ...]] = {}
    for item in _dicts(answer.get("availableTags")):
        found = item.get("values")
        if isinstance(item.get("tag"), str) and isinstance(found, list):
            texts = sorted({_text(value) for value in found[:MAX_TAG_VALUES] if isinstance(value, str)})
            tags[item["tag"]] = tuple(texts)
    return Measured(values, tags)


async def collect(names: frozenset[str], ask: Ask, readings: Readings) -> None:
    """Ask for the curated meters that are there, and put them into `readings` one after the other.

    What was read before a failure or a deadline stays in `readings`.
    """
    meters = _Meters(names, ask)
    await meters.number("process.uptime", "VALUE", readings.uptime)
    await meters.number("process.start.time", "VALUE", readings.started)
    for state in POOL_STATES:
        await meters.by_tag(f"hikaricp.connections.{state}", "pool", "VALUE", readings.connections, suffix=(state,))
    await meters.by_tag("hikaricp.connections.max", "pool", "VALUE", readings.connections_max)
    await meters.by_tag("hikaricp.connections.timeout", "pool", "COUNT", readings.connection_timeouts)
    for area in ("heap", "nonheap"):
        await meters.memory(area, readings)
    await meters.requests(readings)
    await meters.number("jvm.gc.pause", "TOTAL_TIME", readings.gc_seconds)
    await meters.number("jvm.gc.pause", "COUNT", readings.gc_pauses)
    await meters.caches(readings.cache_gets)
    await meters.lag(readings.lag)
    readings.bound()


class _Meters:
    """Asks for meters that the application lists, each question once."""

    def __init__(self, names: frozenset[str], ask: Ask) -> None:
        self._names = names
        self._ask = ask
        self._asked: dict[tuple[str, Tags], Measured] = {}

    async def get(self, name: str, tags: Tags = ()) -> Measured:
        if name not in self._names:
            return Measured()
        known = self._asked.get((name, tags))
        if known is None:
            known = self._asked[name, tags] = await self._ask(name, tags) or Measured()
        return known

    async def number(self, name: str, statistic: str, into: Series) -> None:
        value = (await self.get(name)).values.get(statistic)
        if value is not None:
            into[()] = value

    async def by_tag(self, name: str, tag: str, statistic: str, into: Series, suffix: tuple[str, ...] = ()) -> None:
        for value, measured in await self._drill(name, tag):
            number = measured.values.get(statistic)
            if number is not None:
                into[(value, *suffix)] = number

    async def _drill(self, name: str, tag: str, fixed: Tags = ()) -> list[tuple[str, Measured]]:
        top = await self.get(name, fixed)
        values = top.tags.get(tag, ())[:MAX_DRILL]
        if len(values) == 1:
            return [(values[0], top)]  # all of it has this one value
        return [(value, await self.get(name, (*fixed, (tag, value)))) for value in values]

    async def memory(self, area: str, readings: Readings) -> None:
        tags: Tags = (("area", area),)
        for name, into in (("used", readings.memory_used), ("committed", readings.memory_committed)):
            value = (await self.get(f"jvm.memory.{name}", tags)).values.get("VALUE")
            if value is not None and value > 0:
                into[(area,)] = value
        limits = [pool.values.get("VALUE", -1.0) for _, pool in await self._drill("jvm.memory.max", "id", tags)]
        limits = [limit for limit in limits if limit > 0]
        if limits:
            readings.memory_max[(area,)] = sum(limits)

    async def requests(self, readings: Readings) -> None:
        name = "http.server.requests"
        await self.number(name, "TOTAL_TIME", readings.request_seconds)
        for outcome, measured in await self._drill(name, "outcome"):
            count = measured.values.get("COUNT")
            if count is not None:
                key = (known_outcome(outcome),)
                readings.requests[key] = readings.requests.get(key, 0.0) + count

    async def caches(self, into: Series) -> None:
        tag = "cache" if "cache" in (await self.get("cache.gets")).tags else "name"
        for cache in (await self.get("cache.gets")).tags.get(tag, ())[:MAX_DRILL]:
            for result in ("hit", "miss"):
                count = (await self.get("cache.gets", ((tag, cache), ("result", result)))).values.get("COUNT")
                if count is not None:
                    into[(cache, result)] = count

    async def lag(self, into: Series) -> None:
        found: Series = {}
        await self.by_tag("kafka.consumer.fetch.manager.records.lag", "topic", "VALUE", found)
        twins = undotted_twins(topic for (topic,) in found)
        into.update({labels: value for labels, value in found.items() if value >= 0 and labels[0] not in twins})


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except RecursionError:
        raise _malformed("the JSON is nested too deeply") from None
    except ValueError as error:
        raise _malformed(f"not JSON: {error}") from None
    if not isinstance(answer, dict):
        raise _malformed("the JSON is not an object")
    return answer


def _malformed(detail: str) -> Failure:
    return Failure(Stage.CHECK, Reason.MALFORMED, detail)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value[:100] if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    """Read a number; Jackson writes NaN and Infinity as strings."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _text(value: str) -> str:
    return value[:MAX_TEXT].encode("utf-8", "replace").decode()
