"""The metrics endpoint: drilling by tag, and what is known after a failure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from exporter.clients.spring.meters import Readings
from exporter.clients.spring.metrics_json import Measured, Tags, collect, parse, parse_names
from exporter.verdict import Failure, Reason, Stage


class Application:
    """Meters by name: (tags, statistic values) pairs, answered as Boot does."""

    def __init__(self, meters: Mapping[str, list[tuple[dict[str, str], dict[str, float]]]]) -> None:
        self.meters = meters
        self.asked: list[tuple[str, Tags]] = []
        self.fails_at: str | None = None

    async def ask(self, name: str, tags: Tags) -> Measured | None:
        self.asked.append((name, tags))
        if name == self.fails_at:
            raise Failure(Stage.WAIT, Reason.TIMEOUT)
        matching = [(own, values) for own, values in self.meters[name] if dict(tags).items() <= own.items()]
        if not matching:
            return None
        sums: dict[str, float] = {}
        available: dict[str, set[str]] = {}
        for own, values in matching:
            for statistic, value in values.items():
                sums[statistic] = sums.get(statistic, 0.0) + value
            for tag in own.keys() - dict(tags).keys():
                available.setdefault(tag, set()).add(own[tag])
        return Measured(sums, {tag: tuple(sorted(values)) for tag, values in available.items()})

    async def collect(self) -> Readings:
        readings = Readings()
        await collect(frozenset(self.meters), self.ask, readings)
        return readings


def pools(*names: str) -> list[tuple[dict[str, str], dict[str, float]]]:
    return [({"pool": name}, {"VALUE": float(index + 1), "COUNT": 7.0}) for index, name in enumerate(names)]


async def test_a_single_pool_takes_one_question() -> None:
    application = Application({"hikaricp.connections.active": pools("main")})
    readings = await application.collect()
    assert readings.connections == {("main", "active"): 1}
    assert application.asked == [("hikaricp.connections.active", ())]


async def test_several_pools_are_asked_for_one_by_one() -> None:
    names = ("active", "idle", "pending", "max", "timeout")
    application = Application({f"hikaricp.connections.{name}": pools("main", "reports") for name in names})
    readings = await application.collect()
    assert readings.connections[("reports", "pending")] == 2
    assert len(readings.connections) == 6
    assert readings.connections_max == {("main",): 1, ("reports",): 2}
    assert readings.connection_timeouts == {("main",): 7, ("reports",): 7}


async def test_memory_is_drilled_so_that_minus_one_spoils_nothing() -> None:
    def memory(eden: float, old: float, meta: float) -> list[tuple[dict[str, str], dict[str, float]]]:
        return [
            ({"area": "heap", "id": "G1 Eden Space"}, {"VALUE": eden}),
            ({"area": "heap", "id": "G1 Old Gen"}, {"VALUE": old}),
            ({"area": "nonheap", "id": "Metaspace"}, {"VALUE": meta}),
        ]

    application = Application(
        {
            "jvm.memory.used": memory(10, 20, 5),
            "jvm.memory.committed": memory(20, 40, 6),
            "jvm.memory.max": memory(-1, 1000, -1),
        }
    )
    readings = await application.collect()
    assert readings.memory_used == {("heap",): 30, ("nonheap",): 5}
    assert readings.memory_committed == {("heap",): 60, ("nonheap",): 6}
    assert readings.memory_max == {("heap",): 1000}


async def test_the_other_meters_are_there_too() -> None:
    application = Application(
        {
            "process.uptime": [({}, {"VALUE": 12.5})],
            "process.start.time": [({}, {"VALUE": 1.7e9})],
            "http.server.requests": [
                ({"outcome": "SUCCESS", "uri": "/a"}, {"COUNT": 5, "TOTAL_TIME": 1.0, "MAX": 0.4}),
                ({"outcome": "SERVER_ERROR", "uri": "/a"}, {"COUNT": 1, "TOTAL_TIME": 0.5, "MAX": 0.5}),
            ],
            "jvm.gc.pause": [({"action": "minor"}, {"COUNT": 3, "TOTAL_TIME": 0.1})],
            "cache.gets": [
                ({"cache": "users", "result": "hit"}, {"COUNT": 8}),
                ({"cache": "users", "result": "miss"}, {"COUNT": 2}),
                ({"cache": "rates", "result": "hit"}, {"COUNT": 1}),
            ],
            "kafka.consumer.fetch.manager.records.lag": [
                ({"topic": "a.b", "partition": "0"}, {"VALUE": 4}),
                ({"topic": "a_b", "partition": "0"}, {"VALUE": 4}),
                ({"topic": "idle", "partition": "0"}, {}),
            ],
        }
    )
    readings = await application.collect()
    assert (readings.uptime, readings.started) == ({(): 12.5}, {(): 1.7e9})
    assert readings.requests == {("SUCCESS",): 5, ("SERVER_ERROR",): 1}
    assert readings.request_seconds == {(): 1.5}
    assert (readings.gc_pauses, readings.gc_seconds) == ({(): 3}, {(): 0.1})
    assert readings.cache_gets == {("users", "hit"): 8, ("users", "miss"): 2, ("rates", "hit"): 1}
    assert readings.lag == {("a.b",): 4}
    assert len(application.asked) == len(set(application.asked)), "no question twice"


async def test_nothing_is_asked_that_the_application_does_not_list() -> None:
    application = Application({})
    assert await application.collect() == Readings()
    assert application.asked == []


async def test_what_was_read_before_a_failure_stays() -> None:
    application = Application({"process.uptime": [({}, {"VALUE": 5})], "hikaricp.connections.idle": pools("main")})
    application.fails_at = "hikaricp.connections.idle"
    readings = Readings()
    with pytest.raises(Failure):
        await collect(frozenset(application.meters), application.ask, readings)
    assert readings.uptime == {(): 5}


async def test_a_flood_of_tag_values_is_not_asked_through() -> None:
    application = Application({"hikaricp.connections.max": pools(*(f"p{n}" for n in range(300)))})
    assert len((await application.collect()).connections_max) == 20
    assert len(application.asked) == 21


def test_an_answer_is_read() -> None:
    body = {
        "name": "jvm.memory.max",
        "baseUnit": "bytes",
        "measurements": [{"statistic": "VALUE", "value": 1.5}, {"statistic": "MAX", "value": "NaN"}, 5, {"value": 1}],
        "availableTags": [{"tag": "area", "values": ["nonheap", "heap", 7]}, {"tag": 5}, "x"],
    }
    assert parse(json.dumps(body).encode()) == Measured({"VALUE": 1.5}, {"area": ("heap", "nonheap")})


def test_times_come_in_seconds_whatever_the_registry_counts_in() -> None:
    body = {
        "baseUnit": "milliseconds",
        "measurements": [{"statistic": "COUNT", "value": 5}, {"statistic": "TOTAL_TIME", "value": 250}],
    }
    assert parse(json.dumps(body).encode()).values == {"COUNT": 5, "TOTAL_TIME": 0.25}


@pytest.mark.parametrize("value", [True, None, "1", float("inf"), 10**400, [1]])
def test_a_value_that_is_no_finite_number_is_left_out(value: Any) -> None:
    assert parse(json.dumps({"measurements": [{"statistic": "VALUE", "value": value}]}).encode()).values == {}


def test_names_are_read() -> None:
    assert parse_names(b'{"names":["a",5,"b"]}') == {"a", "b"}


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b"\xff", b"{}", b'{"names":5}'])
def test_a_list_of_names_that_is_none_is_malformed(body: bytes) -> None:
    with pytest.raises(Failure) as caught:
        parse_names(body)
    assert (caught.value.stage, caught.value.reason) == (Stage.CHECK, Reason.MALFORMED)
