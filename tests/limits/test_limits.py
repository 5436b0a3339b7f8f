"""Limits: what pages and `check` call over its limit is what the rules' expressions find, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.actuator import recording as app
from exporter.alerts.model import Options
from exporter.alerts.promql import over as expression
from exporter.alerts.rules import alerts
from exporter.config.thresholds import THRESHOLDS, Thresholds
from exporter.databases import flyway, pgbouncer, servers, sessions
from exporter.kafka import families as kafka
from exporter.limits import entries
from exporter.limits.entries import LIMITS
from exporter.limits.judge import MOST_OVER, Judge, judged_once, limits_of
from exporter.limits.measures import Risen, Share
from exporter.limits.model import Limit, Over
from exporter.limits.past import MOST, Past
from exporter.limits.pool import Pool
from exporter.limits.words import sentence
from exporter.metrics.family import Family
from exporter.metrics.store import LabelValues
from exporter.probing.expiry import EXPIRY
from exporter.probing.runner import Outcome
from exporter.redis import families as redis
from exporter.verdict import Failure, Reason, Stage, Verdict

END = 1800.0
"""Seconds from the first attempt to the one that is judged."""
STEP = 15.0

Course = float | Callable[[float], float]
"""A value, or what it is so many seconds after the first attempt."""
Series = Mapping[tuple[Family, LabelValues], Course]

DEFAULTS = {name: float(getattr(Thresholds(), name)) for name in THRESHOLDS}


def growing(per_minute: float, begin: float = 1000.0) -> Callable[[float], float]:
    return lambda at: begin + per_minute * at / 60


def heap(used: float, most: float = 1000.0) -> Series:
    return {(app.MEMORY_USED, ("heap",)): used, (app.MEMORY_MAX, ("heap",)): most, (app.MEMORY_USED, ("nonheap",)): 5000.0}


def p99(seconds: float, per_minute: float = 60.0, source: str = "histogram") -> Series:
    return {(app.REQUEST_P99, (source,)): seconds, (app.REQUESTS, ("SUCCESS",)): growing(per_minute)}


def requests(failing: float, well: float) -> Series:
    return {(app.REQUESTS, ("SERVER_ERROR",)): growing(failing), (app.REQUESTS, ("SUCCESS",)): growing(well)}


def pool(share: float, pending: float) -> Series:
    return {(app.SATURATION, ("main",)): share, (app.CONNECTIONS, ("main", "pending")): pending}


def lookups(hits: float, misses: float) -> Series:
    return {(redis.HITS, ()): growing(hits), (redis.MISSES, ()): growing(misses)}


def lag_age(seconds: float, messages: float) -> Series:
    of = ("billing", "orders")
    return {(kafka.TOPIC_LAG_SECONDS, of): seconds, (kafka.TOPIC_LAG, of): messages, (kafka.COMMITTED, of): 3.0}


def letters(messages: Course) -> Series:
    return {(kafka.DLQ_MESSAGES, ("orders.dlq",)): messages, (kafka.END_OFFSET, ("orders", "0")): 7.0}


def sessions_used(active: float, idle: float) -> Series:
    return {
        (sessions.CONNECTIONS, ("active",)): active,
        (sessions.CONNECTIONS, ("idle",)): idle,
        (sessions.USABLE_CONNECTIONS, ()): 97.0,
    }


OF: Mapping[str, tuple[Series, ...]] = {
    "latency_p99": (p99(1.4), p99(0.6, source="quantile"), {**p99(0.2), **p99(3.0, source="own")}, p99(0.5), p99(9.0, 1.0)),
    "error_ratio": (requests(6, 60), requests(1, 60), requests(0.9, 1.0), requests(0, 60)),
    "heap_ratio": (heap(971), heap(900), heap(901), heap(971, -1.0)),
    "pool_ratio": (pool(1.0, 2), pool(1.0, 0), pool(0.9, 1), pool(0.89, 3)),
    "certificate": ({(EXPIRY, ()): END + 3 * 86400}, {(EXPIRY, ()): END + 14 * 86400 + 1}, {(EXPIRY, ()): END + 1}),
    "connections_ratio": (sessions_used(60, 30), sessions_used(30, 30)),
    "idle_connections": ({(sessions.IDLE, ()): 11.0}, {(sessions.IDLE, ()): 10.0}),
    "longest_query": ({(sessions.LONGEST_QUERY, ()): 61.0}, {(sessions.LONGEST_QUERY, ()): 60.0}),
    "longest_transaction": ({(sessions.LONGEST_TRANSACTION, ()): 301.0}, {(sessions.LONGEST_TRANSACTION, ()): 0.0}),
    "lock_wait": ({(sessions.LONGEST_LOCK_WAIT, ()): 31.0}, {(sessions.LONGEST_LOCK_WAIT, ()): 30.0}),
    "pgbouncer_wait": (
        {(pgbouncer.LONGEST_WAIT, ("db", "app")): 6.0, (pgbouncer.LONGEST_WAIT, ("db", "report")): 1.0},
        {(pgbouncer.LONGEST_WAIT, ("db", "app")): 5.0},
    ),
    "pgbouncer_clients_ratio": (
        {(pgbouncer.CLIENT_CONNECTIONS, ()): 99.0, (pgbouncer.MAX_CLIENT_CONNECTIONS, ()): 100.0},
        {(pgbouncer.CLIENT_CONNECTIONS, ()): 9.0, (pgbouncer.MAX_CLIENT_CONNECTIONS, ()): 100.0},
    ),
    "multixact_age": ({(servers.MULTIXACT_AGE, ()): 1.9e9}, {(servers.MULTIXACT_AGE, ()): 2e6}),
    "migration_lock": ({(flyway.FLYWAY_LOCK_SECONDS, ("public",)): 301.0}, {(flyway.FLYWAY_LOCK_SECONDS, ("public",)): 1.0}),
    "replication_lag": (
        {(servers.LAG_SECONDS, ()): 61.0},
        {(servers.REPLICA_LAG_SECONDS, ("b", "10.0.0.2")): 61.0, (servers.REPLICA_LAG_SECONDS, ("c", "10.0.0.3")): 1.0},
        {(servers.LAG_SECONDS, ()): 1.0, (servers.REPLICA_LAG_SECONDS, ("b", "10.0.0.2")): 99.0},
    ),
    "transaction_age": ({(servers.TRANSACTION_AGE, ()): 1.1e9}, {(servers.TRANSACTION_AGE, ()): 2e8}),
    "hit_ratio": (lookups(30, 70), lookups(90, 10), lookups(1, 2)),
    "redis_memory_ratio": (
        {(redis.MEMORY_USED, ()): 95.0, (redis.MEMORY_MAX, ()): 100.0},
        {(redis.MEMORY_USED, ()): 95.0, (redis.MEMORY_MAX, ()): 0.0},
    ),
    "redis_clients_ratio": (
        {(redis.CLIENTS, ()): 81.0, (redis.MAX_CLIENTS, ()): 100.0},
        {(redis.CLIENTS, ()): 80.0, (redis.MAX_CLIENTS, ()): 100.0},
    ),
    "redis_replica_lag": (
        {(redis.REPLICA_LAG, ("10.0.0.2:6379",)): 11.0, (redis.REPLICA_LAG, ("10.0.0.3:6379",)): 0.0},
        {(redis.REPLICA_LAG, ("10.0.0.2:6379",)): 10.0},
    ),
    "consumer_lag": (
        {(kafka.TOPIC_LAG, ("billing", "orders")): 1001.0, (kafka.TOPIC_LAG, ("audit", "orders")): 3.0},
        {(kafka.TOPIC_LAG, ("billing", "orders")): 1000.0},
    ),
    "consumer_lag_seconds": (lag_age(901, 4), lag_age(901, 3), lag_age(900, 40)),
    "open_transaction": (
        {(kafka.OPEN_SECONDS, ("orders", "0")): 1000.0, (kafka.OPEN_SECONDS, ("orders", "1")): 950.0},
        {(kafka.OPEN_SECONDS, ("orders", "0")): 30.0},
    ),
    "dead_letters": (letters(growing(1, 0)), letters(4.0), letters(lambda at: max(0.0, 9 - at / 60))),
    "dead_letter_age": (
        {(kafka.DLQ_UNREAD_SECONDS, ("orders.dlq",)): 86401.0},
        {(kafka.DLQ_UNREAD_SECONDS, ("orders.dlq",)): 0.0},
    ),
}  # fmt: skip
"""Of each limit, what a target may say."""


def value(course: Course, at: float) -> float:
    return course(at) if callable(course) else course


def outcome(series: Series, at: float, verdict: Verdict = Verdict.UP) -> Outcome:
    samples: dict[Family, dict[LabelValues, float]] = {}
    for (family, labels), course in series.items():
        samples.setdefault(family, {})[labels] = value(course, at)
    failure = None if verdict is Verdict.UP else Failure(Stage.WAIT, Reason.TIMEOUT)
    return Outcome(verdict, failure, at, 0.1, samples=samples)


def judged(limit: Limit, series: Series, end: float = END) -> list[Over]:
    """Have a target attempted every `STEP` seconds, and return what is over the limit at the end."""
    kind = min(limit.kinds)
    judge, pool_ = Judge(kind), Pool()
    for number in range(int(end / STEP) + 1):
        judge.take(outcome(series, number * STEP), DEFAULTS, STEP)
        pool_.put("one", judge.pooled)
        pool_.judge(number * STEP, DEFAULTS)
    return [over for over in (*pool_.over, *judge.over) if over.limit is limit]


def test_every_threshold_has_what_is_held_against_it_but_for_the_objective_over_a_month() -> None:
    assert {limit.threshold for limit in LIMITS} == THRESHOLDS.keys() - {"availability"} == OF.keys()


def test_what_is_over_its_limit_is_what_the_rules_find(tmp_path: Path) -> None:
    """The same series, attempt by attempt and as Prometheus has them, come to the same: which, and how much."""
    rules = {alert.name: alert.expr for alert in alerts()}
    tests = []
    for limit in LIMITS:
        # KafkaLagHigh also asks whether a backlog is being worked off.
        expr = expression(limit, Options()) if limit.alert == "KafkaLagHigh" else rules[limit.alert]
        tests += [_case(limit, expr, series) for series in OF[limit.threshold]]
    assert sum(bool(test["promql_expr_test"][0]["exp_samples"]) for test in tests) >= len(LIMITS)
    path = tmp_path / "limits.test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "15s", "tests": tests}))
    told = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def _case(limit: Limit, expr: str, series: Series) -> dict[str, Any]:
    kind = min(limit.kinds)
    own = {"service": "s", "probe": kind, "target": "t"}
    steps = int(END / STEP) + 1
    read = [
        {
            "series": _name(family.name, own | dict(zip(family.labels, labels, strict=True))),
            "values": " ".join(f"{value(course, number * STEP):.10g}" for number in range(steps)),
        }
        for (family, labels), course in series.items()
    ]
    read.append(
        {"series": _name(limit.family.name, {"service": "s"}), "values": f"{DEFAULTS[limit.threshold]:.10g}+0x{steps}"}
    )
    names = "|".join(("service", *limit.measure.by))
    rounded = f"round((max by ({names.replace('|', ', ')}) ({expr.strip()})) * 100)"
    expected = [
        {"labels": _name("", {"service": "s"} | dict(zip(limit.measure.by, over.labels, strict=True))),
         "value": float(round(over.value * 100))}
        for over in judged(limit, series)
    ]  # fmt: skip
    return {
        "interval": "15s",
        "name": limit.threshold,
        "input_series": read,
        "promql_expr_test": [{"expr": rounded, "eval_time": f"{END:g}s", "exp_samples": expected}],
    }


def _name(name: str, labels: Mapping[str, str]) -> str:
    return name + "{" + ",".join(f'{key}="{text}"' for key, text in labels.items()) + "}"


def take(judge: Judge, series: Series, at: float, *, verdict: Verdict = Verdict.UP) -> list[float]:
    judge.take(outcome(series, at, verdict), DEFAULTS, STEP)
    return [over.since for over in judge.over]


def test_since_when_something_is_over_its_limit_is_from_the_first_time_on() -> None:
    judge = Judge("actuator")
    assert take(judge, heap(500), 0) == []
    assert take(judge, heap(950), 15) == [15]
    assert take(judge, heap(990), 30) == [15]
    assert take(judge, heap(500), 45) == []
    assert take(judge, heap(990), 60) == [60]


def test_one_attempt_that_says_nothing_does_not_end_it_and_two_minutes_of_them_do() -> None:
    """Rules bridge lost scrapes; nothing is kept for ever."""
    judge = Judge("actuator")
    take(judge, heap(950), 0)
    assert take(judge, {}, 15, verdict=Verdict.DOWN) == [0]
    assert [over.at for over in judge.over] == [0], "it says of when it is"
    assert take(judge, {}, 120) == []


def test_what_an_earlier_attempt_asked_is_of_then() -> None:
    found = Outcome(Verdict.UP, None, 900.0, 0.1, samples={servers.TRANSACTION_AGE: {(): 2e9}}, asked={"upkeep": 300.0})
    (over,) = judged_once("postgres", found, DEFAULTS)
    assert over.at == 300.0


def test_nothing_is_held_against_a_limit_that_a_service_does_not_have() -> None:
    assert judged_once("actuator", outcome(heap(990), 0), {}) == []


def test_values_that_are_no_numbers_are_over_nothing() -> None:
    nan = float("nan")
    for limit in LIMITS:
        series = dict.fromkeys(OF[limit.threshold][0], nan)
        assert judged(limit, series, 60.0) == [], limit.threshold


def test_of_thousands_over_a_limit_the_worst_are_kept() -> None:
    lags: Series = {(kafka.TOPIC_LAG, (f"g{n}", "t")): 1000.0 + n for n in range(3000)}
    found = judged_once("kafka", outcome(lags, 0), DEFAULTS)
    assert [over.value for over in found] == [3999.0 - n for n in range(MOST_OVER)]


def told(pool_: Pool) -> list[tuple[float, float]]:
    return [(over.value, over.since) for over in pool_.over]


def test_a_share_of_a_service_is_over_all_its_targets() -> None:
    """One of ten that fails in half of its requests is a twentieth of the service's: the rule does not fire."""
    pool_ = Pool()
    for n in range(10):
        pool_.put(n, {"error_ratio": (50.0 if n == 0 else 0.0, 100.0)})
    pool_.judge(10.0, DEFAULTS)
    assert told(pool_) == []
    pool_.put(1, {"error_ratio": (50.0, 100.0)})
    pool_.judge(20.0, DEFAULTS)
    assert told(pool_) == [(0.1, 20.0)]
    pool_.judge(30.0, DEFAULTS)
    assert told(pool_) == [(0.1, 20.0)]
    for n in range(10):
        pool_.put(n, {})
    pool_.judge(40.0, DEFAULTS)
    assert told(pool_) == []


def test_a_counter_that_begins_anew_has_not_grown_by_what_was_before() -> None:
    past = Past()
    assert past.grown("k", 900, 0, 300) is None
    assert past.grown("k", 910, 15, 300) == 10
    assert past.grown("k", 3, 30, 300) is None
    assert past.grown("k", 8, 45, 300) == 5


def test_what_is_remembered_is_bounded() -> None:
    past = Past()
    for at in range(0, 100_000, 15):
        past.grown("k", at, at, 300)
    (points,) = past._series.values()
    assert len(points) <= 2 * 14
    for n in range(10 * MOST):
        past.risen(n, 1.0, 100_000, 900)
    assert len(past._series) == MOST


def test_a_dead_letter_topic_that_is_new_holds_what_it_grew_by() -> None:
    judge = Judge("kafka")
    other: Series = {(kafka.DLQ_MESSAGES, ("old.dlq",)): 40.0}
    for at in range(0, 600, 15):
        take(judge, other, at)
    take(judge, {**other, (kafka.DLQ_MESSAGES, ("new.dlq",)): 2.0}, 600)
    assert [(over.labels, over.value) for over in judge.over] == [(("new.dlq",), 2.0)]


@pytest.mark.parametrize(
    ("limit", "value_", "labels", "said"),
    [
        (entries.HEAP_RATIO, 0.9712, (), "heap in use: 97.1 %, limit 90 %"),
        (entries.CERTIFICATE, 3 * 86400.0, (), "certificate still valid for: 3 d, limit 14 d"),
        (entries.CERTIFICATE, -5.0, (), "certificate still valid for: none left, limit 14 d"),
        (entries.LATENCY_P99, 1.4, (), "p99 of requests: 1.4 s, limit 500 ms"),
        (entries.CONSUMER_LAG, 12345.0, ("g", "t"), "messages of t that g has not read: 12,345, limit 1,000"),
    ],
)  # fmt: skip
def test_it_is_told_with_value_and_limit(limit: Limit, value_: float, labels: LabelValues, said: str) -> None:
    assert sentence(Over(limit, labels, value_, DEFAULTS[limit.threshold], 0, 0)) == said


def test_an_expired_certificate_is_another_alerts() -> None:
    over = Over(entries.CERTIFICATE, (), -5.0, 1.0, 0, 0)
    assert (over.alert, over.section) == ("CertificateExpired", "certificateexpired")


def test_every_kind_of_probe_is_judged_by_its_own_limits() -> None:
    assert [limit.threshold for limit in limits_of("tls")] == ["certificate"]
    assert limits_of("nothing") == ()


def test_shares_and_rises_are_what_is_remembered() -> None:
    """A check of a moment knows of no change, and says nothing of it."""
    for limit in LIMITS:
        if isinstance(limit.measure, Share | Risen):
            (family, labels) = next(iter(OF[limit.threshold][0]))
            assert judged_once(min(limit.kinds), outcome({(family, labels): 1e9}, 0), DEFAULTS) == []


def test_what_may_be_the_consequence_of_an_incident_waits_until_it_is_over() -> None:
    """A database that is down empties the cache: the cache's hit rate is none of its own, to the rule and here."""
    judge = Judge("redis")
    for at in range(0, 300, 15):
        judge.take(outcome(lookups(0, 100), at), DEFAULTS, STEP, calm=False)
    assert not judge.over
    judge.take(outcome(lookups(0, 100), 300), DEFAULTS, STEP)
    assert [over.limit.threshold for over in judge.over] == ["hit_ratio"]
