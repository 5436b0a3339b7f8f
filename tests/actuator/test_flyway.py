"""Flyway's endpoint: expected, applied and behind, whatever the answer looks like."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.actuator import flyway
from exporter.actuator.flyway import MAX_BEANS, MAX_MIGRATIONS, MAX_TEXT, Migrations, parse
from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason, Stage
from tests.fixtures.formats import exported, published


def migration(version: str | None, state: str = "SUCCESS", kind: str = "SQL") -> dict[str, Any]:
    """One migration as Boot writes it; a repeatable one has no version."""
    return {"type": kind, "checksum": 1, "version": version, "description": "x", "script": "V.sql", "state": state}


def answer(*migrations: dict[str, Any], bean: str = "flyway", context: str = "application") -> bytes:
    """An answer of one Flyway bean."""
    return of({context: {bean: list(migrations)}})


def of(contexts: dict[str, dict[str, list[Any]]]) -> bytes:
    """An answer of several."""
    return json.dumps(
        {
            "contexts": {
                context: {"flywayBeans": {bean: {"migrations": found} for bean, found in beans.items()}, "parentId": None}
                for context, beans in contexts.items()
            }
        }
    ).encode()


def only(*migrations: dict[str, Any]) -> Migrations:
    """What the only bean says."""
    (found,) = parse(answer(*migrations))
    return found


def test_a_database_with_everything_is_not_behind() -> None:
    found = only(migration("1"), migration("2"))
    assert (found.bean, found.expected, found.applied, found.behind) == ("flyway", "2", "2", False)
    assert found.states == {"SUCCESS": 2, "PENDING": 0, "FAILED": 0}


@pytest.mark.parametrize("state", ["PENDING", "FAILED"])
def test_a_database_without_the_highest_version_is_behind(state: str) -> None:
    found = only(migration("1"), migration("2", state))
    assert (found.expected, found.applied, found.behind) == ("2", "1", True)
    assert found.states[state] == 1


def test_a_database_with_nothing_is_behind() -> None:
    found = only(migration("1", "PENDING"))
    assert (found.expected, found.applied, found.behind) == ("1", None, True)


@pytest.mark.parametrize("state", ["FUTURE_SUCCESS", "MISSING_SUCCESS"])
def test_a_database_that_is_ahead_is_not_behind(state: str) -> None:
    """As during a rollout, where a newer instance has migrated it."""
    found = only(migration("1"), migration("2", state))
    assert (found.expected, found.applied, found.behind) == ("1", "2", False)


@pytest.mark.parametrize("state", ["ABOVE_TARGET", "IGNORED", "BASELINE_IGNORED", "BELOW_BASELINE", "AVAILABLE"])
def test_what_the_application_does_not_mean_to_apply_is_not_expected(state: str) -> None:
    found = only(migration("1"), migration("9", state))
    assert (found.expected, found.applied, found.behind) == ("1", "1", False)
    assert found.states[state] == 1


@pytest.mark.parametrize(
    ("lower", "higher"),
    [("9.1", "10.2"), ("1", "1.1"), ("1_9", "1.10"), ("2.0.9", "2.1"), ("20240101", "20240102"), ("1." + "9" * 30, "2")],
)
def test_versions_are_compared_by_their_numbers(lower: str, higher: str) -> None:
    found = only(migration(lower), migration(higher, "PENDING"))
    assert (found.expected, found.applied, found.behind) == (higher, lower, True)
    assert not only(migration(higher), migration(lower, "PENDING")).behind


@pytest.mark.parametrize("written", ["2.0", "2_0_0", "02"])
def test_versions_that_flyway_holds_equal_are(written: str) -> None:
    """The database has what an older build wrote."""
    found = only(migration("2", "MISSING_SUCCESS"), migration(written, "PENDING"))
    assert not found.behind


def test_repeatable_migrations_have_no_version_but_a_state() -> None:
    found = only(migration("1"), migration(None), migration(None, "PENDING"), migration(None, "OUTDATED"))
    assert (found.expected, found.applied, found.behind) == ("1", "1", False)
    assert found.states == {"SUCCESS": 2, "PENDING": 1, "FAILED": 0, "OUTDATED": 1}


def test_an_application_with_repeatable_migrations_alone_is_not_behind() -> None:
    found = only(migration(None, "PENDING"))
    assert (found.expected, found.applied, found.behind) == (None, None, False)


def test_the_creation_of_the_schema_is_no_migration() -> None:
    assert only(migration("0", kind="SCHEMA"), migration("1")).states["SUCCESS"] == 1


def test_states_that_flyway_does_not_have_are_counted_together() -> None:
    found = only(*(migration("1", f"odd {number}") for number in range(50)))
    assert found.states == {"SUCCESS": 0, "PENDING": 0, "FAILED": 0, "OTHER": 50}


def test_no_migrations_and_no_beans_are_answers() -> None:
    assert only() == Migrations("flyway", None, None, {"SUCCESS": 0, "PENDING": 0, "FAILED": 0})
    assert parse(of({"application": {}})) == parse(of({})) == []


def test_beans_of_one_context_go_by_their_names() -> None:
    found = parse(of({"application": {"orders": [migration("2")], "audit": [migration("1")]}}))
    assert [(item.bean, item.applied) for item in found] == [("audit", "1"), ("orders", "2")]


def test_beans_of_several_contexts_are_told_apart() -> None:
    found = parse(of({"a": {"flyway": [migration("1")]}, "b": {"flyway": [migration("2", "PENDING")]}, "c": {}}))
    assert [(item.bean, item.behind) for item in found] == [("a/flyway", False), ("b/flyway", True)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>please log in</html>",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"1",
        b'"contexts"',
        b"{}",
        b'{"contexts":[]}',
        b'{"contexts":null}',
        b'{"contexts":{"a":null}}',
        b'{"contexts":{"a":{}}}',
        b'{"contexts":{"a":{"flywayBeans":[]}}}',
        b'{"contexts":{"a":{"flywayBeans":{"f":[]}}}}',
        b'{"contexts":{"a":{"flywayBeans":{"f":{}}}}}',
        b'{"contexts":{"a":{"flywayBeans":{"f":{"migrations":null}}}}}',
        b'{"contexts":{"a":{"flywayBeans":{"f":{"migrations":5}}}}}',
        b'{"contexts":{"a":{"flywayBeans":{"f":{"migrations":"text"}}}}}',
        b'{"contexts":{"a":{"flywayBeans":{"f":{"migrations":{"a":1}}}}}}',
        b'{"contexts":{"a":{"flywayBeans":{"f":{"migrations":[1]}}}}}',
        b'{"contexts":{"a":{"flywayBeans":{"f":{"migrations":[[]]}}}}}',
        b'{"contexts":{"a":{"flywayBeans":{"f":{"migrations":[{}]}}}}}',
        b'{"contexts":{"a":{"flywayBeans":{"f":{"migrations":[{"type":"SQL"}]}}}}}',
        b'{"contexts":' + b"9" * 5000 + b"}",
        b'{"contexts":' + b"[" * 100_000,
        b'{"contexts":' + b'{"a":' * 100_000,
    ],
)
def test_an_answer_that_is_not_flyways_is_malformed(body: bytes) -> None:
    with pytest.raises(Failure) as caught:
        parse(body)
    assert (caught.value.stage, caught.value.reason) == (Stage.CHECK, Reason.MALFORMED)
    assert caught.value.detail == "flyway: the answer is not what Boot's endpoint gives"


@pytest.mark.parametrize("version", [1, 1.5, True, [], {}, "", "latest", "²", "١٢", "1e5", "-3", "\ud800", "\x00", "..."])
def test_a_version_that_is_none_sorts_before_all_others(version: Any) -> None:
    """Text is shown where there is nothing better; only digits that Flyway would write are numbers."""
    found = only(migration("1", "PENDING"), migration(version), migration("2"))
    assert (found.expected, found.applied) == ("2", "2")


def test_a_very_long_version_is_cut_and_costs_nothing() -> None:
    started = time.thread_time()
    found = only(migration("7" * 1_000_000), migration("1." * 500_000))
    assert found.applied == "7" * MAX_TEXT
    assert time.thread_time() - started < 1


def test_ten_thousand_migrations_are_read() -> None:
    started = time.thread_time()
    found = only(*(migration(str(number)) for number in range(MAX_MIGRATIONS)))
    assert (found.applied, found.states["SUCCESS"]) == (str(MAX_MIGRATIONS - 1), MAX_MIGRATIONS)
    assert time.thread_time() - started < 2


def test_more_are_refused_rather_than_the_last_ones_left_out() -> None:
    """The highest versions come last: without them the database would seem to lack what it has, or to have what it lacks."""
    half = [migration("1")] * (MAX_MIGRATIONS // 2)
    with pytest.raises(Failure) as caught:
        parse(of({"a": {"one": half, "two": half, "three": [migration("1")]}}))
    assert (caught.value.stage, caught.value.reason) == (Stage.CHECK, Reason.TOO_LARGE)
    assert caught.value.detail == "flyway: more than 10000 migrations"


def test_of_many_beans_the_first_by_name_are_kept_with_short_names() -> None:
    found = parse(of({"a": {f"{number:03}" + "f" * 10_000: [] for number in reversed(range(300))}}))
    assert [item.bean[:3] for item in found] == [f"{number:03}" for number in range(MAX_BEANS)]
    assert {len(item.bean) for item in found} == {2 * MAX_TEXT}


async def recorded(body: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What is exported of an answer."""
    attempt = Attempt(5, lambda error, stage: Failure(stage, Reason.INTERNAL))
    attempt.record_all(flyway.samples_of(parse(body)))
    assert attempt.samples.keys() <= set(flyway.METRICS)
    return exported(published(attempt.samples))


async def test_what_is_recorded_names_bean_versions_and_states() -> None:
    found = await recorded(answer(migration("1"), migration("1.1", "PENDING")))
    base = (("flyway", "flyway"), ("service", "identity"))
    assert found == {
        ("probe_flyway_version", (*base, ("version", "1.1"), ("which", "expected"))): 1,
        ("probe_flyway_version", (*base, ("version", "1"), ("which", "applied"))): 1,
        ("probe_flyway_migrations", (*base, ("state", "SUCCESS"))): 1,
        ("probe_flyway_migrations", (*base, ("state", "PENDING"))): 1,
        ("probe_flyway_migrations", (*base, ("state", "FAILED"))): 0,
        ("probe_flyway_behind", base): 1,
    }


async def test_versions_that_are_not_there_have_no_series() -> None:
    assert not [name for name, _ in await recorded(answer(migration(None))) if name == "probe_flyway_version"]


@pytest.mark.parametrize("text", ['"quoted"', "back\\slash", "new\nline", "\r\n", "\x00", "}", "\u2028", "ä" * 200, ""])
async def test_hostile_texts_are_exported_readably(text: str) -> None:
    found = await recorded(answer(migration(text), bean=text))
    assert len([name for name, _ in found if name == "probe_flyway_version"]) == 2


async def test_names_that_utf8_cannot_carry_do_not_make_a_series_twice() -> None:
    found = await recorded(of({"a": {chr(surrogate): [migration(chr(surrogate))] for surrogate in (0xD800, 0xD801)}}))
    assert len([name for name, _ in found if name == "probe_flyway_behind"]) == 1


@given(st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=4), min_size=1, max_size=20), st.data())
def test_behind_is_what_comparing_numbers_says(versions: list[list[int]], data: st.DataObject) -> None:
    done = data.draw(st.lists(st.booleans(), min_size=len(versions), max_size=len(versions)))
    texts = [".".join(map(str, version)) for version in versions]
    found = only(*(migration(text, "SUCCESS" if applied else "PENDING") for text, applied in zip(texts, done, strict=True)))

    def padded(version: list[int]) -> list[int]:
        return version + [0] * (4 - len(version))

    applied = [padded(version) for version, is_done in zip(versions, done, strict=True) if is_done]
    assert found.behind == (not applied or max(applied) < max(map(padded, versions)))
