"""The JSON API and its description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from jsonschema import Draft202012Validator

from exporter.diagnosis.model import Diagnosis, Evidence, Suspicion, Symptom
from exporter.engine.diagnosis_views import incident_view
from tests.web.samples import DEPENDENCY, REFUSED, FakeBackend, database_down, service, target, troubled_fleet

OPENAPI = json.loads(Path(__file__).with_name("openapi-3.1.schema.json").read_text("utf-8"))


async def get(client: ClientSession, path: str, status: int = 200) -> Any:
    async with client.get(path) as answer:
        assert answer.status == status
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        return await answer.json()


@pytest.fixture(params=["well", "troubled", "empty"])
def any_fleet(request: pytest.FixtureRequest, backend: FakeBackend) -> None:
    if request.param == "troubled":
        backend.view = troubled_fleet()
    elif request.param == "empty":
        backend.view = backend.view.model_copy(update={"services": [service("none", [])]})


@pytest.mark.usefixtures("any_fleet")
async def test_everything_is_as_the_views_say(client: ClientSession, backend: FakeBackend) -> None:
    assert await get(client, "/api/v1/services") == (await backend.fleet()).model_dump(mode="json")
    for each in backend.view.services:
        assert await get(client, f"/api/v1/services/{each.name}") == each.model_dump(mode="json")
    answer = await get(client, "/api/v1/targets")
    assert answer["generated_at"] == backend.view.generated_at
    assert answer["targets"] == [t.model_dump(mode="json") for each in backend.view.services for t in each.targets]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("verdict=down", {"10.4.4.11:8084", "10.4.4.12:8084", "10.4.7.12:8087", "postgres:5432"}),
        ("verdict=unknown", {"10.4.5.11:8085", "10.4.6.13:8086"}),
        ("service=case", {"10.4.4.11:8084", "10.4.4.12:8084"}),
        ("service=signals&verdict=up", {"10.4.7.11:8087"}),
        ("probe=postgres", {"postgres:5432"}),
        ("service=case&verdict=up", set()),
    ],
)
async def test_targets_are_filtered(client: ClientSession, backend: FakeBackend, query: str, found: set[str]) -> None:
    backend.view = troubled_fleet()
    answer = await get(client, f"/api/v1/targets?{query}")
    assert {item["target"] for item in answer["targets"]} == found


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/v1/services/nobody", 404, "no service or dependency 'nobody'; there are: api-facade"),
        ("/api/v1/targets?service=nobody", 404, "no service or dependency 'nobody'"),
        (
            "/api/v1/targets?probe=http",
            404,
            "no target has a probe 'http'; there are: actuator, kafka, postgres, redis, tls",
        ),
        ("/api/v1/targets?verdict=broken", 400, "no verdict 'broken'; there are: up, down, unknown"),
        ("/api/v1/targets?state=down", 400, "unknown parameter 'state': the filters are service, probe, verdict"),
        ("/api/v1/targets?verdict=up&verdict=down", 400, "verdict is given more than once"),
        ("/api/v1/services?verdict=up", 400, "unknown parameter 'verdict'"),
        ("/api/v2/services", 404, "There is nothing at this address."),
    ],
)
async def test_errors_are_json_and_say_what_would_do(client: ClientSession, path: str, status: int, says: str) -> None:
    assert says in (await get(client, path, status))["error"]


async def test_a_method_that_is_not_served_is_refused_in_json(client: ClientSession) -> None:
    async with client.delete("/api/v1/services") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert "GET, HEAD only" in (await answer.json())["error"]


async def test_a_fact_that_is_no_number_is_null(client: ClientSession, backend: FakeBackend) -> None:
    odd = target("odd", "actuator", "h:1", 0.0, facts={"probe_a": float("nan"), "probe_b": float("inf"), "probe_c": 1.5})
    backend.view = backend.view.model_copy(update={"services": [service("odd", [odd])]})
    [found] = (await get(client, "/api/v1/services/odd"))["targets"]
    assert found["facts"] == {"probe_a": None, "probe_b": None, "probe_c": 1.5}
    _validator(await get(client, "/openapi.json"), "TargetView").validate(found)


async def test_incidents_are_told_with_their_causes(client: ClientSession, backend: FakeBackend) -> None:
    assert (await get(client, "/api/v1/incidents"))["incidents"] == []
    why = Suspicion(REFUSED, evidence=(Evidence("refused", 9, "probe_success"),))
    other = Suspicion(DEPENDENCY, "postgres")
    diagnoses = {
        "postgres": (Diagnosis("postgres", Symptom.DOWN, (why,), ("case",)),),
        "case": (Diagnosis("case", Symptom.DOWN, (other,)), Diagnosis("case", Symptom.SLOW, (why,))),
    }
    since = {"postgres": 100.0, "case": 90.0}
    backend.pages = [incident_view("postgres", ("case", "postgres"), since, diagnoses)]
    answer = await get(client, "/api/v1/incidents")
    _validator(await get(client, "/openapi.json"), "IncidentsView").validate(answer)
    [found] = answer["incidents"]
    assert (found["name"], found["since"], found["services"]) == ("postgres", 90.0, ["case", "postgres"])
    assert [cause["meaning"] for cause in found["causes"]] == ["Nobody listens on the port of postgres."]
    # Of what no probe watches, its dependents say what there is to say.
    [told] = incident_view("db", ("a", "b"), {"a": 5.0}, {
        name: (Diagnosis(name, Symptom.DOWN, (Suspicion(DEPENDENCY, "db"), Suspicion(REFUSED))),) for name in "ab"
    }).causes  # fmt: skip
    assert (told.cause, told.meaning) == ("dependency_down", "db is down, and a needs it.")


async def test_a_service_tells_its_incident_and_what_speaks_for_the_cause(
    client: ClientSession, backend: FakeBackend
) -> None:
    backend.view = database_down()
    listed = {each["name"]: each for each in (await get(client, "/api/v1/services"))["services"]}
    found = await get(client, "/api/v1/services/case")
    assert listed["case"]["incident"] == found["incident"] == "postgres"
    [diagnosis] = found["diagnoses"]
    assert listed["case"]["diagnoses"] == [diagnosis]
    assert diagnosis["symptom"] == "down"
    [cause] = diagnosis["causes"]
    assert (cause["cause"], cause["dependency"], cause["confidence"]) == ("dependency_down", "postgres", "high")
    assert cause["steps"] == ["Mend postgres first."]
    assert cause["evidence"][0]["series"] == 'probe_success{service="postgres"}'
    assert listed["redis"]["incident"] is None


def _validator(document: Any, name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", **document})


async def test_the_description_is_valid_openapi(client: ClientSession) -> None:
    document = await get(client, "/openapi.json")
    Draft202012Validator(OPENAPI).validate(document)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for field in document["components"]["schemas"]["TargetView"]["properties"].values():
        assert field["description"]


@pytest.mark.usefixtures("any_fleet")
async def test_the_description_is_true(client: ClientSession, backend: FakeBackend) -> None:
    document = await get(client, "/openapi.json")
    name = backend.view.services[0].name
    for path, item in document["paths"].items():
        if not path.startswith("/api/"):
            continue
        for status, query in (("200", ""), ("400", "?nonsense=1"), ("404", "")):
            if status in item["get"]["responses"]:
                schema = item["get"]["responses"][status]["content"]["application/json"]["schema"]
                real = path.replace("{name}", name if status != "404" else "nobody")
                if status == "404" and real == path:
                    query = "?service=nobody"  # noqa: PLW2901 - this path is missed by its filter
                answer = await get(client, real + query, int(status))
                Draft202012Validator({**document, **schema}).validate(answer)


async def test_a_wrong_answer_would_be_noticed(client: ClientSession, backend: FakeBackend) -> None:
    validator = _validator(await get(client, "/openapi.json"), "FleetView")
    wrong = (await backend.fleet()).model_dump(mode="json")
    wrong["services"][0]["targets"][0]["verdict"] = "broken"
    assert not validator.is_valid(wrong)


async def test_the_description_of_what_is_no_json_is_true(client: ClientSession, backend: FakeBackend) -> None:
    """Every endpoint for pages, pictures and streams that it names answers as it says."""
    document = await get(client, "/openapi.json")
    others = {path: item for path, item in document["paths"].items() if not path.startswith("/api/")}
    assert set(others) == {"/events", "/badge/{name}.svg", "/embed/{name}", "/probe/now"}
    service = backend.view.services[0]
    known = {"service": service.name, "probe": "actuator", "target": service.targets[0].target}
    for name, status in ((service.name, "200"), ("nobody", "404")):
        for path, item in others.items():
            ((method, described),) = item.items()
            if status not in described["responses"]:
                continue
            data = {**known, "service": name} if "requestBody" in described else None
            async with client.request(method, path.replace("{name}", name), data=data) as answer:
                assert str(answer.status) == status, path
                assert [answer.content_type] == list(described["responses"][status]["content"]), path
