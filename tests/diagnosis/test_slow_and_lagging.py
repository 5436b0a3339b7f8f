"""Why something is slow, or lags: tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from exporter.diagnosis.model import Confidence, Member, Symptom
from tests.diagnosis.snapshots import DOWN, UNKNOWN, UP, causes, dependency, facts, first, found, seen, service

SLOW = {"own": 0.9}


POOL = ("vault", "vault_app")


def slow(*needs: str, name: str = "case", **more: object) -> Member:
    kept = {name: more.pop(name) for name in ("instances",) if name in more}
    return service(name, UP, *needs, facts=facts(p99=SLOW, **more), **kept)  # type: ignore[arg-type] # facts by name


def postgres(**more: object) -> Member:
    return dependency("postgres", "postgres", facts=facts(**more))  # type: ignore[arg-type] # facts by name


def redis(**more: object) -> Member:
    return dependency("redis", "redis", facts=facts(**more))  # type: ignore[arg-type] # facts by name


def canary(*flown: float) -> Member:
    return dependency("kafka", "kafka", facts=facts(canary={str(at): well for at, well in enumerate(flown)}))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([slow()], [("unknown", "")]),
        ([slow("postgres"), postgres(query=59, took=0.1)], [("unknown", "")]),
        ([slow(connections={("H", "pending"): 2})], [("pool_exhausted", "")]),
        ([slow(connections={("H", "pending"): 0}, pool={"H": 0.5})], [("unknown", "")]),
        ([slow(pool={"H": 0.95})], [("pool_exhausted", "")]),
        ([slow("postgres"), postgres(query=61)], [("dependency_slow", "postgres")]),
        ([slow("postgres"), postgres(lock=30)], [("unknown", "")]),
        ([slow("postgres"), postgres(lock=31)], [("lock_held", "postgres")]),
        ([slow("postgres"), postgres(lock=31, query=61)], [("lock_held", "postgres")]),
        ([slow("postgres"), postgres(pooled={POOL: 5})], [("unknown", "")]),
        ([slow("postgres"), postgres(pooled={POOL: 6})], [("pooler_exhausted", "postgres")]),
        ([slow("vault"), slow("postgres", name="vault"), postgres(pooled={POOL: 6})], [("pooler_exhausted", "postgres")]),
        ([slow("vault"), slow("postgres", name="vault"), postgres(lock=31)], [("lock_held", "postgres")]),
        ([slow("postgres"), postgres(took=0.6)], [("dependency_slow", "postgres")]),
        ([slow("postgres", pool={"H": 1}), postgres(query=61)], [("dependency_slow", "postgres"), ("pool_exhausted", "")]),
        ([slow("postgres", pool={"H": 1}), postgres(took=0.6)], [("pool_exhausted", ""), ("dependency_slow", "postgres")]),
        ([slow("postgres"), dependency("postgres", "postgres", DOWN)], [("dependency_down", "postgres")]),
        ([slow("vault"), service("vault", DOWN, "postgres"), dependency("postgres", "postgres", DOWN)],
         [("dependency_down", "postgres")]),
        ([slow("redis"), redis(hits=0.3)], [("cache_misses", "redis")]),
        ([slow("redis"), redis(hits=0.9)], [("unknown", "")]),
        ([slow("redis"), redis(hits=float("nan"))], [("unknown", "")]),
        ([slow("kafka"), canary(0, 0)], [("writes_failing", "kafka")]),
        ([slow("kafka"), canary(0, 1)], [("unknown", "")]),
        ([slow("kafka"), canary()], [("unknown", "")]),
        ([slow(cache={"users": 0.1})], [("cache_misses", "")]),
        ([slow(gc=0.15)], [("gc_pressure", "")]),
        ([slow(gc=0.05)], [("unknown", "")]),
        ([slow(instances={UP: 2, DOWN: 1})], [("too_few_replicas", "")]),
        ([slow(instances={UP: 3})], [("unknown", "")]),
        # over any number of steps: the slow one at the end is the cause
        ([slow("vault"), slow("postgres", name="vault"), postgres(query=90)], [("dependency_slow", "postgres")]),
        ([slow("vault"), slow(name="vault")], [("dependency_slow", "vault")]),
        ([slow("vault"), slow("case", name="vault")], [("unknown", "")]),
    ],
)  # fmt: skip
def test_slow(members: list[Member], expected: list[tuple[str, str]]) -> None:
    assert causes(*members)["case"] == expected


def test_what_is_down_is_not_slow_and_what_is_fast_enough_is_well() -> None:
    assert found(service("case", UP, facts=facts(p99={"own": 0.4}))) == {}
    (only,) = found(service("case", DOWN, facts=facts(p99=SLOW)))["case"]
    assert only.symptom is Symptom.DOWN
    assert found(service("case", UNKNOWN, facts=facts(p99=SLOW)))["case"][0].symptom is Symptom.SLOW


def test_evidence_of_a_slow_database() -> None:
    suspicion = first("case", slow("postgres"), postgres(query=75))
    assert suspicion.confidence is Confidence.HIGH
    assert seen(suspicion) == {"seconds that the longest query has been running": 75}
    assert seen(first("case", slow())) == {"p99 of its requests in seconds": 0.9}


def test_evidence_of_a_pooler_names_the_pool_and_what_is_paused() -> None:
    waits = {"pooled": {POOL: 9}, "clients": {(*POOL, "waiting"): 4, (*POOL, "active"): 7}, "paused": {"ledger": 1}}
    assert seen(first("case", slow("postgres"), postgres(**waits))) == {
        "seconds that a client of pool vault/vault_app has waited": 9,
        "clients of pool vault/vault_app that wait": 4,
        "database ledger is paused": 1,
    }


def test_evidence_of_a_lock_names_who_holds_it() -> None:
    who = ("hafnium", "vault-service", "idle in transaction")
    suspicion = first("case", slow("postgres"), postgres(lock=40, blocked={who: 3}, blocking={who: 55}))
    assert suspicion.confidence is Confidence.HIGH
    assert seen(suspicion) == {
        "seconds that a session has waited for a lock": 40,
        "sessions that wait for vault-service (user hafnium, idle in transaction)": 3,
        "seconds that vault-service has had its transaction open": 55,
    }


GROUP, TOPIC = "case-service", "hafnium.case"


def held(messages: float, seconds: float = 100) -> dict[str, Any]:
    """An open transaction, in two partitions."""
    return {
        "held": {(TOPIC, "0"): messages - 1, (TOPIC, "1"): 1, ("other", "0"): 5000},
        "open": {(TOPIC, "0"): seconds, (TOPIC, "1"): 1, ("other", "0"): 5000},
    }


def kafka(lag: float, members: float = 1, **more: object) -> Member:
    if "verdict" in more:
        more["standing"] = {(GROUP, TOPIC): 400}
    made = facts(lag={(GROUP, TOPIC): lag}, members={GROUP: members}, **more)  # type: ignore[arg-type] # facts by name
    return dependency("kafka", "kafka", facts=made)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([kafka(1001)], [("slow_consumer", "", Confidence.LOW)]),
        ([kafka(1001), service("case", DOWN)], [("slow_consumer", "case", Confidence.MEDIUM)]),
        ([kafka(1001), slow()], [("slow_consumer", "case", Confidence.MEDIUM)]),
        ([kafka(1001, members=0)], [("consumers_gone", "", Confidence.HIGH)]),
        ([kafka(5, members=0), service("case")], [("consumers_gone", "case", Confidence.HIGH)]),
        ([kafka(1001, dead={"hafnium.case-dlt": 3})],
         [("poison_message", "", Confidence.MEDIUM), ("slow_consumer", "", Confidence.LOW)]),
        ([kafka(1001, dead={"hafnium.case-dlt": 0})], [("slow_consumer", "", Confidence.LOW)]),
        ([kafka(1001, dead={"hafnium.case-dlt": 3}, letters={("hafnium.case-dlt", GROUP): 1})],
         [("poison_message", "", Confidence.MEDIUM), ("slow_consumer", "", Confidence.LOW)]),
        ([kafka(1001, dead={"hafnium.case-closed-dlt": 3}, letters={("hafnium.case-closed-dlt", "archive"): 1})],
         [("slow_consumer", "", Confidence.LOW)]),
        ([kafka(1001, dead={"other-dlt": 3})], [("slow_consumer", "", Confidence.LOW)]),
        ([kafka(1001, partition={("t", "0", "no_leader"): 1})], [("broker_down", "kafka", Confidence.HIGH)]),
        ([kafka(1001, partition={("t", "0", "not_authorized"): 1})], [("slow_consumer", "", Confidence.LOW)]),
        ([kafka(1001, verdict={(GROUP, "lagging"): 1})], [("slow_consumer", "", Confidence.LOW)]),
        ([kafka(5, verdict={(GROUP, "stalled"): 1}), service("case")], [("consumers_hang", "case", Confidence.HIGH)]),
        ([kafka(5, verdict={(GROUP, "poisoned"): 1}, dead={"hafnium.case-dlt": 3})],
         [("poison_message", "", Confidence.HIGH)]),
        ([kafka(5, verdict={(GROUP, "stalled"): 1}, dead={"hafnium.case-dlt": 3})],
         [("consumers_hang", "", Confidence.HIGH), ("poison_message", "", Confidence.MEDIUM)]),
        ([kafka(5, verdict={(GROUP, "ahead"): 1})], [("offsets_ahead", "", Confidence.HIGH)]),
        ([kafka(5, verdict={(GROUP, "rebalancing"): 1})], [("rebalancing", "", Confidence.HIGH)]),
        # a transaction that is open keeps back what the group waits for, and no consumer is to blame
        ([kafka(50, verdict={(GROUP, "stalled"): 1}, **held(50))], [("transaction_open", "kafka", Confidence.HIGH)]),
        ([kafka(50, verdict={(GROUP, "poisoned"): 1}, **held(30))], [("transaction_open", "kafka", Confidence.HIGH)]),
        ([kafka(1001, **held(1001))], [("transaction_open", "kafka", Confidence.HIGH)]),
        ([kafka(50, verdict={(GROUP, "stalled"): 1}, **held(50, seconds=60))], [("consumers_hang", "", Confidence.HIGH)]),
        ([kafka(50, verdict={(GROUP, "stalled"): 1}, **held(51))], [("consumers_hang", "", Confidence.HIGH)]),
        ([kafka(50, verdict={(GROUP, "stalled"): 1}, **held(24))], [("consumers_hang", "", Confidence.HIGH)]),
        ([kafka(50, members=0, **held(50))], [("consumers_gone", "", Confidence.HIGH)]),
        ([kafka(1001, verdict={(GROUP, "rewound"): 1})], [("offsets_rewound", "", Confidence.MEDIUM)]),
        # what is lost, and what is old, is told below any limit of messages
        ([kafka(9, lost={(GROUP, TOPIC): 4}), service("case")],
         [("slow_consumer", "case", Confidence.LOW), ("retention_passed", "kafka", Confidence.HIGH)]),
        ([kafka(9, members=0, lost={(GROUP, TOPIC): 4})],
         [("consumers_gone", "", Confidence.HIGH), ("retention_passed", "kafka", Confidence.HIGH)]),
        ([kafka(3, age={(GROUP, TOPIC): 901}, committed={(GROUP, TOPIC): 2})], [("slow_consumer", "", Confidence.LOW)]),
        ([kafka(1001, broker={("1",): 1, ("2",): 0})],
         [("slow_consumer", "", Confidence.LOW), ("broker_down", "kafka", Confidence.LOW)]),
    ],
)  # fmt: skip
def test_lagging(members: list[Member], expected: list[tuple[str, str, Confidence]]) -> None:
    (diagnosis,) = found(*members)["kafka"]
    assert (diagnosis.symptom, diagnosis.group) == (Symptom.LAGGING, GROUP)
    assert [(each.cause.name, each.dependency, each.confidence) for each in diagnosis.causes] == expected
    lag = next(iter(members[0].facts.values()))[0].value
    assert all(seen(each)["messages of hafnium.case not consumed"] == lag for each in diagnosis.causes)


@pytest.mark.parametrize(("lag", "members"), [(1000, 1), (0, 0), (0, 1), (float("nan"), 1)])
def test_what_does_not_lag(lag: float, members: float) -> None:
    assert found(kafka(lag, members)) == {}


@pytest.mark.parametrize("more", [
    {"age": {(GROUP, TOPIC): 900.0}, "committed": {(GROUP, TOPIC): 1}},
    {"age": {(GROUP, TOPIC): 9000.0}, "committed": {(GROUP, TOPIC): 3}},  # markers of transactions, which stay for ever
    {"age": {(GROUP, TOPIC): 9000.0}},
    {"lost": {(GROUP, TOPIC): 0}},
    {"verdict": {(GROUP, "rewound"): 1}},
    held(3),
])  # fmt: skip
def test_what_lags_a_little_is_well(more: dict[str, Any]) -> None:
    assert found(kafka(3, **more)) == {}


def test_evidence_of_messages_lost_and_kept_back() -> None:
    (lost,) = found(kafka(9, age={(GROUP, TOPIC): 70}, lost={(GROUP, TOPIC): 4}))["kafka"]
    assert seen(lost.causes[1]) == {
        "messages of hafnium.case deleted before they were read": 4,
        "messages of hafnium.case not consumed": 9,
        "age of the oldest of hafnium.case in seconds": 70,
    }
    (kept,) = found(kafka(1001, **held(1001)))["kafka"]
    assert seen(kept.causes[0]) == {
        "seconds that a transaction in hafnium.case has been open": 100,
        "messages that it keeps back": 1001,
        "messages of hafnium.case not consumed": 1001,
    }


def test_groups_are_bounded_those_furthest_behind_first() -> None:
    lags = {(f"g{n}", "t"): 2000.0 + n for n in range(200)}
    these = found(dependency("kafka", "kafka", facts=facts(lag=lags)))["kafka"]
    assert len(these) == 50
    assert these[0].group == "g199"


class _Counting(dict[str, str]):
    """Labels that count how often they are looked at."""

    looks = 0

    def get(self, *key: Any) -> Any:
        _Counting.looks += 1
        return super().get(*key)


def test_groups_are_looked_up_and_not_searched_for() -> None:
    """Of a cluster with hundreds of groups that are in trouble each is diagnosed, after every attempt."""
    names = [f"g{number:03}" for number in range(400)]
    lags = {(name, "t"): 2000.0 for name in names}
    kafka = dependency(
        "kafka", "kafka",
        facts=facts(
            lag=lags, age=lags, standing=lags, members=dict.fromkeys(names, 1.0),
            verdict={(name, "stalled"): 1.0 for name in names},
        ),
    )  # fmt: skip
    counted = {
        family: tuple(reading._replace(labels=_Counting(reading.labels)) for reading in readings)
        for family, readings in kafka.facts.items()
    }
    _Counting.looks = 0
    assert len(found(replace(kafka, facts=counted))["kafka"]) == 50
    assert 0 < _Counting.looks < 10 * sum(map(len, counted.values()))
