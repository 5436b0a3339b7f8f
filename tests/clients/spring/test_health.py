"""Health answers of every shape, and the verdict that comes from the body."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.spring.health import MAX_COMPONENTS, MAX_DEPTH, Component, Health, judge, parse, refusal
from exporter.verdict import Failure, Reason, Stage, Verdict

BOOT_3 = b"""{"status":"UP","groups":["liveness","readiness"],"components":{
  "db":{"status":"UP","components":{"ds1":{"status":"UP","details":{"database":"PostgreSQL","validationQuery":"isValid()"}},
                                    "ds2":{"status":"DOWN","details":{"error":"java.sql.SQLException: refused"}}}},
  "redis":{"status":"UP","details":{"version":"7.2"}},
  "diskSpace":{"status":"UP","details":{"total":1,"free":1,"threshold":10485760,"path":"/.","exists":true}}}}"""
BOOT_2_1 = b"""{"status":"DOWN","details":{
  "db":{"status":"DOWN","details":{"ds1":{"status":"DOWN","details":{"error":"x"}}}},
  "diskSpace":{"status":"UP","details":{"total":1,"free":1}}}}"""
BOOT_1_5 = b'{"status":"UP","diskSpace":{"status":"UP","total":1,"free":1},"db":{"status":"DOWN","error":"java.sql.X"}}'
CIRCUIT_BREAKERS = b"""{"status":"UP","components":{"circuitBreakers":{"status":"UP","details":{
  "backend":{"status":"CIRCUIT_OPEN","details":{"state":"OPEN","failureRate":"80.0%"}}}}}}"""


def paths(health: Health) -> dict[str, str]:
    return {component.path: component.status for component in health.components}


def malformed(body: bytes) -> Failure:
    with pytest.raises(Failure) as caught:
        parse(body)
    assert (caught.value.stage, caught.value.reason) == (Stage.CHECK, Reason.MALFORMED)
    return caught.value


def test_components_of_boot_3_are_found_at_any_depth() -> None:
    health = parse(BOOT_3)
    assert (health.status, health.groups, health.truncated) == ("UP", ("liveness", "readiness"), False)
    assert list(paths(health).items()) == [
        ("db", "UP"),
        ("db/ds1", "UP"),
        ("db/ds2", "DOWN"),
        ("redis", "UP"),
        ("diskSpace", "UP"),
    ]
    assert [component.leaf for component in health.components] == [False, True, True, True, True]
    assert health.components[2].error == "java.sql.SQLException: refused"


def test_details_of_boot_2_1_are_components() -> None:
    assert paths(parse(BOOT_2_1)) == {"db": "DOWN", "db/ds1": "DOWN", "diskSpace": "UP"}


def test_boot_1_5_has_them_beside_the_status() -> None:
    health = parse(BOOT_1_5)
    assert paths(health) == {"diskSpace": "UP", "db": "DOWN"}
    assert health.components[1].error == "java.sql.X"


def test_details_that_carry_a_status_are_components_too() -> None:
    """Circuit breakers report so."""
    assert paths(parse(CIRCUIT_BREAKERS)) == {"circuitBreakers": "UP", "circuitBreakers/backend": "CIRCUIT_OPEN"}


@pytest.mark.parametrize(
    "details", [b"", b',"components":{}', b',"components":null', b',"details":"hidden"', b',"groups":{}']
)
def test_hidden_details_leave_the_status(details: bytes) -> None:
    assert parse(b'{"status":"UP"' + details + b"}") == Health("UP")


def test_what_is_no_component_is_passed_over() -> None:
    components = b'{"a":null,"b":{"status":5},"c":[],"d":{"status":" "},"e":{"status":" UP "}}'
    health = parse(b'{"status":"UP","components":' + components + b',"groups":[1,"x"]}')
    assert paths(health) == {"e": "UP"}
    assert health.groups == ("x",)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"OK",
        b"<html>",
        b"[]",
        b'"UP"',
        b"null",
        b"{}",
        b'{"status":null}',
        b'{"status":503,"error":"Service Unavailable"}',
        b'{"status":""}',
        b'{"status":"UP"',
        b'{"status":"UP"}{}',
        b'{"status":"UP","x":NaN}',
        b'{"status":"UP","x":-Infinity}',
        b'\xff\xfe{"status":"UP"}',
        b'{"status":"\xff"}',
        b'{"status":"UP","a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_health_answer_is_malformed(body: bytes) -> None:
    malformed(body)


@pytest.mark.parametrize("number", ["9" * 100_000, "-" + "9" * 100_000, "0." + "9" * 100_000, "1e999999", "1E-999999"])
def test_a_number_of_any_length_is_no_reason_to_doubt_the_answer(number: str) -> None:
    body = f'{{"status":"UP","components":{{"disk":{{"status":"UP","details":{{"free":{number}}}}}}}}}'
    assert parse(body.encode()) == Health("UP", (Component("disk", "UP", "", leaf=True),))


def test_a_long_number_costs_no_more_than_its_length() -> None:
    def cost(digits: int) -> float:
        body = b'{"status":"UP","free":' + b"9" * digits + b"}"
        parse(body)
        began = time.thread_time()
        parse(body)
        return time.thread_time() - began

    assert cost(1_000_000) < 60 * max(min(cost(100_000) for _ in range(5)), 1e-4)


def nested(depth: int) -> dict[str, Any]:
    node: dict[str, Any] = {"status": "UP"}
    for _ in range(depth):
        node = {"status": "UP", "components": {"n": node}}
    return node


def test_a_tree_that_is_too_deep_is_cut_and_keeps_its_verdict() -> None:
    fits, too_deep = parse(json.dumps(nested(MAX_DEPTH)).encode()), parse(json.dumps(nested(MAX_DEPTH + 1)).encode())
    assert (len(fits.components), fits.truncated) == (MAX_DEPTH, False)
    assert (len(too_deep.components), too_deep.truncated, too_deep.status) == (MAX_DEPTH, True, "UP")


def test_too_many_components_are_cut() -> None:
    many = {"status": "DOWN", "components": {f"c{n}": {"status": "DOWN"} for n in range(MAX_COMPONENTS + 1)}}
    health = parse(json.dumps(many).encode())
    assert (len(health.components), health.truncated) == (MAX_COMPONENTS, True)
    failure = judge(503, health)
    assert failure is not None
    assert f"and {MAX_COMPONENTS - 10} more" in failure.detail


def test_strings_are_cut_and_made_fit_for_labels() -> None:
    node = {"status": "S" * 1000, "details": {"error": "e" * 1000}}
    health = parse(json.dumps({"status": "T" * 1000, "components": {"c" * 1000: node, "\ud800": {"status": "UP"}}}).encode())
    first, second = health.components
    assert (len(health.status), len(first.path), len(first.status), len(first.error)) == (64, 128, 64, 200)
    assert second.path == "?"


def test_a_path_that_grows_too_long_is_left_out() -> None:
    node: dict[str, Any] = {"status": "UP"}
    for _ in range(8):
        node = {"status": "UP", "components": {"n" * 128: node}}
    health = parse(json.dumps(node).encode())
    assert health.truncated
    assert max(len(component.path) for component in health.components) <= 512


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("cannot reach postgresql://user:hunter2@db:5432/x", "cannot reach postgresql://***@db:5432/x"),
        ("login failed, password=hunter2;ssl=true", "login failed, password=***;ssl=true"),
        ("Token: hunter2 rejected", "Token: *** rejected"),
    ],
)
def test_credentials_in_errors_are_masked(error: str, shown: str) -> None:
    body = {"status": "DOWN", "components": {"db": {"status": "DOWN", "details": {"error": error}}}}
    health = parse(json.dumps(body).encode())
    assert health.components[0].error == shown
    assert "hunter2" not in str(judge(503, health))


@pytest.mark.parametrize(
    ("status", "code", "up"),
    [
        ("UP", 200, True),
        ("UP", 503, True),  # a custom http-mapping: the body counts
        ("UNKNOWN", 200, True),
        ("UNKNOWN", 503, True),
        ("DOWN", 503, False),
        ("DOWN", 200, False),
        ("OUT_OF_SERVICE", 200, False),
        ("out-of-service", 503, False),
        ("DEGRADED", 200, True),
        ("DEGRADED", 503, False),
        ("FATAL", 200, False),  # the manual's own example of a custom severity: Boot sends it with 200
        ("fatal", 503, False),
    ],
)
def test_the_verdict_comes_from_the_body(status: str, code: int, up: bool) -> None:
    """The code decides over custom statuses only."""
    failure = judge(code, Health(status))
    assert (failure is None) is up
    if failure is not None:
        assert (failure.stage, failure.reason, failure.verdict) == (Stage.CHECK, Reason.REPORTED_DOWN, Verdict.DOWN)


def test_custom_statuses_can_be_told_to_mean_down() -> None:
    assert judge(200, Health("BROKEN"), ("DOWN", "broken")) is not None
    assert judge(200, Health("FATAL"), ("DOWN",)) is None
    assert judge(200, Health("OUT_OF_SERVICE"), ("DOWN",)) is None


def test_the_failure_names_the_components_that_are_down() -> None:
    """The innermost ones: that a composite is down follows."""
    body = json.loads(BOOT_3)
    body["status"] = body["components"]["db"]["status"] = "DOWN"
    body["components"]["redis"]["status"] = "OUT_OF_SERVICE"
    failure = judge(503, parse(json.dumps(body).encode()))
    assert failure is not None
    assert failure.detail == "status DOWN: db/ds2, redis (java.sql.SQLException: refused)"


def test_a_composite_is_named_where_none_of_its_parts_is_down() -> None:
    body = b'{"status":"DOWN","components":{"db":{"status":"DOWN","components":{"ds1":{"status":"UP"}}}}}'
    failure = judge(503, parse(body))
    assert failure is not None
    assert failure.detail == "status DOWN: db"


def test_without_components_the_status_is_all_there_is() -> None:
    failure = judge(503, Health("DOWN"))
    assert failure is not None
    assert failure.detail == "status DOWN"


def test_a_custom_status_counts_against_components_only_if_the_whole_has_it() -> None:
    health = parse(b'{"status":"FATAL","components":{"a":{"status":"FATAL"},"b":{"status":"DEGRADED"}}}')
    assert health.down(503, ("DOWN",)) == {"DOWN", "FATAL"}
    assert health.down(200, ("DOWN",)) == {"DOWN"}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (401, Reason.AUTH),
        (403, Reason.AUTH),
        (301, Reason.REDIRECT),
        (307, Reason.REDIRECT),
        (404, Reason.HTTP_STATUS),
        (500, Reason.HTTP_STATUS),
        (503, Reason.HTTP_STATUS),
    ],
)
def test_without_a_usable_body_the_code_is_what_there_is(code: int, reason: Reason) -> None:
    failure = refusal(code, {"Location": "https://user:hunter2@login.example.test/oauth?state=secret"})
    assert failure is not None
    assert failure.reason is reason
    assert "hunter2" not in failure.detail
    assert "state" not in failure.detail
    assert str(code) in failure.detail


def test_a_code_of_success_refuses_nothing() -> None:
    assert refusal(200, {}) is None
    assert refusal(204, {}) is None


def tree_or_none(body: bytes) -> Health | None:
    """Parse; nothing but `malformed` may be raised."""
    try:
        return parse(body)
    except Failure as failure:
        if failure.reason is not Reason.MALFORMED:
            raise
        return None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["UP", "DOWN"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "components", "details", "groups", "error", "db"]) | st.text(), inner, max_size=5
        )
    ),
    max_leaves=40,
)


@given(json_values)
def test_any_json_gives_a_tree_or_is_malformed(value: Any) -> None:
    """And what comes out can always be encoded."""
    health = tree_or_none(json.dumps(value).encode())
    if health is None:
        return
    for component in health.components:
        f"{component.path}{component.status}{component.error}".encode()
    judge(503, health)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_tree_or_are_malformed(body: bytes) -> None:
    tree_or_none(body)
