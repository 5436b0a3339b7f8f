"""Why something is down: a table of what is seen, and what is said of it."""

from __future__ import annotations

import pytest

from exporter.diagnosis.model import Confidence, Member
from exporter.verdict import PROBER_FAULTS, Reason
from tests.diagnosis.snapshots import DOWN, UNKNOWN, UP, causes, dependency, facts, first, found, seen, service

DB, DB_DOWN, DB_UNKNOWN = (dependency("postgres", "postgres", verdict) for verdict in (UP, DOWN, UNKNOWN))
NO_DB = facts(component={"db": 0, "ping": 1, "diskSpace": 0})
NESTED = facts(component={"db": 0, "db/primary": 0, "db/replica": 1})
FULL = facts(component={"db": 0}, connections={("Hikari", "pending"): 3, ("Hikari", "active"): 10}, pool={"Hikari": 1})
HUNG = facts(connections={("Hikari", "pending"): 3})
REPORTED, REFUSED = Reason.REPORTED_DOWN, Reason.CONNECT_REFUSED
LATER = dependency("postgres", "postgres", DOWN, well=(0.0, 80.0))


def case(*, reason: Reason = REPORTED, needs: tuple[str, ...] = ("postgres",), **more: object) -> Member:
    return service("case", DOWN, *needs, reason=reason, **more)


def other(name: str = "vault", *, needs: tuple[str, ...] = ("postgres",), **more: object) -> Member:
    return service(name, DOWN, *needs, reason=REPORTED, **more)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        # what it needs is down, by that one's own probe
        ([case(), DB_DOWN], [("dependency_down", "postgres")]),
        ([case(facts=NO_DB), DB_DOWN], [("dependency_down", "postgres")]),
        ([case(needs=("postgres", "redis")), DB_DOWN, dependency("redis", "redis")], [("dependency_down", "postgres")]),
        # over any number of steps, and two at once, what has been down longest first
        ([service("case", DOWN, "vault"), service("vault", DOWN, "postgres"), DB_DOWN], [("dependency_down", "postgres")]),
        (
            [
                service("case", DOWN, "postgres", "redis"),
                dependency("postgres", "postgres", DOWN, since=20.0),
                dependency("redis", "redis", DOWN, since=10.0),
            ],
            [("dependency_down", "redis"), ("dependency_down", "postgres")],
        ),
        # it says so of one that it does not name among what it needs
        ([case(needs=(), facts=NO_DB), DB_DOWN], [("dependency_down", "postgres")]),
        ([case(needs=(), facts=facts(component={"upstreams/vault": 0})), other(needs=())], [("dependency_down", "vault")]),
        # the dependency answers the exporter
        ([case(facts=NO_DB), DB], [("dependency_unreachable", "postgres")]),
        ([case(facts=NESTED), DB], [("dependency_unreachable", "postgres")]),
        ([case(facts=FULL), DB], [("pool_exhausted", "")]),
        ([case(facts=FULL), dependency("postgres", "postgres", facts=facts(lock=31))],
         [("pool_exhausted", ""), ("lock_held", "postgres")]),
        ([case(facts=FULL), dependency("postgres", "postgres", facts=facts(pooled={("d", "u"): 6}))],
         [("pool_exhausted", ""), ("pooler_exhausted", "postgres")]),
        ([case(facts=NO_DB), dependency("postgres", "postgres", facts=facts(pooled={("d", "u"): 6}))],
         [("pooler_exhausted", "postgres")]),
        ([case(facts=NO_DB), other(facts=NO_DB), dependency("postgres", "postgres", facts=facts(pooled={("d", "u"): 6}))],
         [("pooler_exhausted", "postgres")]),
        ([case(facts=NO_DB), dependency("postgres", "postgres", facts=facts(used_clients=100, max_clients=100))],
         [("pooler_full", "postgres")]),
        ([case(facts=FULL), dependency("postgres", "postgres", facts=facts(used_clients=101, max_clients=100))],
         [("pool_exhausted", ""), ("pooler_full", "postgres")]),
        ([case(facts=NO_DB), dependency("postgres", "postgres", facts=facts(used_clients=99, max_clients=100))],
         [("dependency_unreachable", "postgres")]),
        ([case(facts=NO_DB), dependency("postgres", "postgres", facts=facts(pooled={("d", "u"): 5}))],
         [("dependency_unreachable", "postgres")]),
        ([case(reason=Reason.CONNECT_REFUSED), dependency("postgres", "postgres", facts=facts(migration={"case": 301}))],
         [("connect_refused", ""), ("migration_stuck", "postgres")]),
        ([case(reason=Reason.CONNECT_REFUSED), dependency("postgres", "postgres", facts=facts(migration={"case": 300}))],
         [("connect_refused", "")]),
        ([case(reason=REPORTED), dependency("postgres", "postgres", facts=facts(migration={"vault": 301}))],
         [("reported_down", "")]),
        ([case(facts=HUNG, reason=Reason.TIMEOUT), DB], [("pool_exhausted", "")]),
        ([case(facts=facts(component={"redis": 0}, pool={"H": 1}), needs=("redis",)), dependency("redis", "redis")],
         [("dependency_unreachable", "redis"), ("pool_exhausted", "")]),
        # several say the same of what no probe calls down
        ([case(facts=NO_DB), other(facts=NO_DB), DB], [("dependency_unreachable", "postgres")]),
        ([case(facts=NO_DB), other(facts=NO_DB), DB_UNKNOWN], [("dependency_down", "postgres")]),
        ([case(facts=NO_DB, needs=()), other(facts=NO_DB, needs=())], [("dependency_down", "db")]),
        ([case(facts=NESTED, needs=()), other(facts=NO_DB, needs=())], [("dependency_down", "db")]),
        ([case(facts=facts(component={"upstreams/list": 0})), other(facts=facts(component={"upstreams/list": 0}))],
         [("dependency_down", "list")]),
        # one alone is not believed, nor are components that speak of the process itself
        ([case(facts=NO_DB), DB_UNKNOWN], [("reported_down", "")]),
        ([case(facts=NO_DB, needs=())], [("reported_down", "")]),
        ([case(facts=facts(component={"diskSpace": 0}), needs=()), other(facts=facts(component={"diskSpace": 0}), needs=())],
         [("reported_down", "")]),
        # the service needs no database that is configured: the one that there is, and is well, is another's
        ([case(facts=NO_DB, needs=()), DB], [("reported_down", "")]),
        # several of a kind
        (
            [
                case(facts=NO_DB, needs=("pg-a", "pg-b")),
                dependency("pg-a", "postgres"),
                dependency("pg-b", "postgres", DOWN),
            ],
            [("dependency_down", "pg-b")],
        ),
        # itself
        ([case(remembered={"restarts": 2})], [("restarting", "")]),
        ([case(remembered={"restarts": 1, "heap_ratio": 0.97})], [("memory_short", ""), ("restarting", "")]),
        ([case(facts=facts(heap={"heap": 98}, heap_max={"heap": 100}, gc=0.6))], [("memory_short", "")]),
        ([case(facts=facts(heap={"heap": 98}, heap_max={"heap": 100}, gc=0.01))], [("reported_down", "")]),
        ([case(facts=facts(heap={"heap": 50}, heap_max={"heap": 100}, gc=0.6))], [("reported_down", "")]),
        ([service("case", DOWN, reasons={Reason.TIMEOUT: 1, Reason.CONNECT_REFUSED: 3})],
         [("connect_refused", ""), ("timeout", "")]),
        ([service("case", DOWN, reasons={})], [("unknown", "")]),
        # it was down for over a minute while what it needs was well: its own cause stays, and comes first
        ([case(reason=REFUSED, needs=("postgres",), down_from=10.0), LATER],
         [("connect_refused", ""), ("dependency_down", "postgres")]),
        ([case(reason=REFUSED, down_from=10.0), dependency("postgres", "postgres", DOWN, well=(20.0, 79.9))],
         [("dependency_down", "postgres")]),
        ([case(reason=REFUSED, down_from=10.0), dependency("postgres", "postgres", DOWN, well=(0.0, 69.9))],
         [("dependency_down", "postgres")]),
        ([case(reason=REFUSED, down_from=100.0), LATER], [("dependency_down", "postgres")]),
        ([case(reason=REFUSED, needs=("redis", "postgres"), down_from=10.0), LATER, dependency("redis", "redis", DOWN)],
         [("connect_refused", ""), ("dependency_down", "redis"), ("dependency_down", "postgres")]),
        ([case(reason=REFUSED, down_from=10.0, remembered={"restarts": 2}), LATER],
         [("restarting", ""), ("dependency_down", "postgres")]),
        ([case(reason=REFUSED, needs=("vault",), down_from=10.0), other(down_from=80.0, well=(0.0, 80.0)), LATER],
         [("connect_refused", ""), ("dependency_down", "vault")]),
        ([case(needs=("vault",), down_from=11.0), other(down_from=10.0, facts=facts(component={"diskSpace": 0})), LATER],
         [("dependency_down", "vault")]),
        # it was well for over a minute while one of two was down already: the other comes first
        ([case(needs=("redis", "postgres"), reason=REFUSED, well=(0.0, 70.0)),
          dependency("redis", "redis", DOWN, down_from=10.0), dependency("postgres", "postgres", DOWN, since=50.0)],
         [("dependency_down", "redis"), ("dependency_down", "postgres")]),
        ([case(needs=("redis", "postgres"), reason=REFUSED, well=(0.0, 70.0)),
          dependency("redis", "redis", DOWN, down_from=10.0),
          dependency("postgres", "postgres", DOWN, since=50.0, down_from=50.0)],
         [("dependency_down", "postgres"), ("dependency_down", "redis")]),
        # what it says itself of what it needs is believed; of its own is told what else it says
        ([case(facts=facts(component={"db": 0}), down_from=10.0), LATER], [("dependency_down", "postgres")]),
        ([case(facts=NO_DB, down_from=10.0), LATER], [("reported_down", ""), ("dependency_down", "postgres")]),
        # circles
        ([service("case", DOWN, "vault"), service("vault", DOWN, "case")], [("timeout", "")]),
        ([case(needs=("vault",)), service("vault", DOWN, "case", "postgres"), DB_DOWN], [("dependency_down", "postgres")]),
    ],
)  # fmt: skip
def test_causes(members: list[Member], expected: list[tuple[str, str]]) -> None:
    assert causes(*members)["case"] == expected


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason not in PROBER_FAULTS])
def test_each_reason_is_a_cause(reason: Reason) -> None:
    suspicion = first("case", service("case", DOWN, reason=reason))
    assert suspicion.cause.name == reason.value
    assert suspicion.meaning("case")
    assert suspicion.steps("case")
    assert seen(suspicion)[f"targets that are down: {reason.value}"] == 1


def test_what_is_up_or_cannot_be_told_has_no_diagnosis_though_what_it_needs_is_down() -> None:
    assert causes(service("a", UP, "postgres"), service("b", UNKNOWN, "postgres"), DB_DOWN).keys() == {"postgres"}


def test_evidence_of_a_dependency_that_is_down() -> None:
    suspicion = first("case", case(facts=NO_DB), DB_DOWN)
    assert suspicion.confidence is Confidence.HIGH
    assert [(each.text, each.value, each.series) for each in suspicion.evidence] == [
        ("verdict on postgres by its own probe (connect_refused)", 0, 'probe_service_up{service="postgres"}'),
        ("health component db", 0, 'probe_actuator_component_up{service="case",component="db"}'),
    ]
    assert suspicion.meaning("case") == "postgres is down, which it needs"


def test_evidence_of_a_pool() -> None:
    suspicion = first("case", case(facts=FULL), DB)
    assert seen(suspicion) == {
        "threads waiting for a connection of Hikari": 3, "share of Hikari in use": 1, "health component db": 0
    }  # fmt: skip
    assert suspicion.evidence[0].series == 'probe_hikari_connections{service="case",pool="Hikari",state="pending"}'


def test_confidence_is_less_where_it_is_concluded() -> None:
    assert first("case", case(facts=NO_DB), DB).confidence is Confidence.MEDIUM
    assert first("case", case(facts=NO_DB, needs=()), other(facts=NO_DB, needs=())).confidence is Confidence.MEDIUM
    assert first("case", service("case", DOWN, reasons={})).confidence is Confidence.LOW


def test_nothing_is_offered_to_be_explained_that_is_not_configured() -> None:
    known = first("case", case(facts=NO_DB), DB_DOWN)
    assert "hafnium-exporter explain postgres" in known.steps("case")
    said = first("case", case(facts=NO_DB, needs=()), other(facts=NO_DB, needs=()))
    assert said.cause is known.cause
    assert said.steps("case") == ("Mend db; what needs it comes back by itself",)


def test_what_it_takes_down_with_it() -> None:
    these = found(service("a", DOWN, "b"), service("b", DOWN, "postgres"), service("c", UP, "postgres"), DB_DOWN)
    assert these["postgres"][0].takes_down == ("a", "b")
    assert these["b"][0].takes_down == ()


def test_what_servers_call_things_is_bounded_and_clean() -> None:
    name = "db/" + "x\n" * 400 + '"\u202e'
    suspicion = first("case", case(facts=facts(component={name: 0})), DB)
    assert all(len(each.text) <= 120 and each.text.isprintable() for each in suspicion.evidence)
    alone = [case(facts=facts(component={name[3:]: 0}), needs=()), other(facts=facts(component={name[3:]: 0}), needs=())]
    assert len(first("case", *alone).dependency) <= 120
    many = facts(component={f"db/{n}": 0 for n in range(1000)})
    assert len(first("case", case(facts=many), DB).evidence) == 5


def test_at_most_five_causes() -> None:
    roots = [dependency(f"d{n}", "redis", DOWN) for n in range(9)]
    assert len(causes(service("case", DOWN, *(root.name for root in roots)), *roots)["case"]) == 5


def test_the_same_snapshot_has_the_same_diagnosis_whatever_its_order() -> None:
    members = [case(facts=NO_DB), other(facts=NO_DB), DB, dependency("redis", "redis", DOWN), service("z", DOWN, "redis")]
    assert found(*members) == found(*reversed(members))
