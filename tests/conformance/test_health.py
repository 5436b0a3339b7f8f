"""Health as real applications tell it, in every version and setting."""

from __future__ import annotations

import pytest

from exporter.actuator import mainport
from exporter.actuator.health_samples import COMPONENT_STATUS, COMPONENT_UP, STATUS
from exporter.probes.actuator import GROUP_UP, STATUS_CODE
from exporter.probing.probe import SharedClients
from exporter.verdict import Verdict
from tests.conformance.conftest import Cell
from tests.conformance.reading import Reader, series
from tests.conformance.subjects import Subject
from tests.fixtures.boot_applications import BootApplications
from tests.probes.doing import reason

HEALTH_ALONE = {"metrics": False}


@pytest.mark.feature("Health: status and components")
async def test_an_application_that_is_up_has_its_components_up(subject: Subject, shared: SharedClients) -> None:
    outcome = await Reader(shared, subject.application, **HEALTH_ALONE)()
    assert outcome.verdict is Verdict.UP
    assert series(outcome, STATUS) == {("UP",): 1}
    assert series(outcome, STATUS_CODE) == {(): 200}
    found = series(outcome, COMPONENT_UP)
    assert {("db",), ("redis",), ("diskSpace",), (subject.component,)} <= found.keys()
    assert set(found.values()) == {1}


@pytest.mark.feature("Health: components inside of components")
async def test_components_are_found_at_every_depth(subject: Subject, shared: SharedClients) -> None:
    found = series(await Reader(shared, subject.application, **HEALTH_ALONE)(), COMPONENT_UP)
    assert subject.nested <= {component for (component,) in found}


@pytest.mark.feature("Health: a component that is down, and why")
async def test_a_component_that_is_down_is_named_with_its_error(subject: Subject, shared: SharedClients) -> None:
    read = Reader(shared, subject.application, **HEALTH_ALONE)
    with subject.component_down():
        outcome = await read()
    assert reason(outcome) == ("check", "reported_down")
    assert outcome.failure is not None
    assert outcome.failure.detail == f"status DOWN: {subject.component} ({subject.complaint})"
    assert series(outcome, COMPONENT_UP)[subject.component,] == 0
    assert series(outcome, STATUS_CODE) == {(): 503}
    assert (await read()).verdict is Verdict.UP


@pytest.mark.feature("Health: a custom status of a component")
async def test_a_custom_status_is_recorded_as_it_is(boot: BootApplications, shared: SharedClients) -> None:
    with boot.full.switched("component", {"status": "UP"}, status="DEGRADED"):
        outcome = await Reader(shared, boot.full, **HEALTH_ALONE)()
    assert outcome.verdict is Verdict.UP, "Boot leaves statuses that it does not order out of the whole"
    assert series(outcome, COMPONENT_STATUS)["switchable", "DEGRADED"] == 1


@pytest.mark.feature("Health: a custom status of the whole")
async def test_a_custom_status_of_the_whole_is_down_if_its_code_says_so(
    boot: BootApplications, shared: SharedClients
) -> None:
    with boot.hidden.switched("component", {"status": "UP"}, status="DEGRADED"):
        outcome = await Reader(shared, boot.hidden, **HEALTH_ALONE)()
    assert series(outcome, STATUS) == {("DEGRADED",): 1}
    assert series(outcome, STATUS_CODE) == {(): 503}
    assert reason(outcome) == ("check", "reported_down")


@pytest.mark.feature("Health: details hidden, on a management port and path of its own")
async def test_hidden_details_leave_the_status(boot: BootApplications, shared: SharedClients) -> None:
    outcome = await Reader(shared, boot.hidden, **HEALTH_ALONE)()
    assert outcome.verdict is Verdict.UP
    assert series(outcome, STATUS) == {("UP",): 1}
    assert series(outcome, COMPONENT_UP) == {}


@pytest.mark.feature("Health: an HTTP mapping of one's own, where the body decides")
async def test_down_is_down_though_its_code_is_200(boot: BootApplications, shared: SharedClients) -> None:
    with boot.hidden.switched("component", {"status": "UP"}, status="DOWN"):
        outcome = await Reader(shared, boot.hidden, **HEALTH_ALONE)()
    assert series(outcome, STATUS_CODE) == {(): 200}
    assert reason(outcome) == ("check", "reported_down")


@pytest.mark.feature("Health: groups")
async def test_a_group_is_asked_for(boot: BootApplications, shared: SharedClients, cell: Cell) -> None:
    outcome = await Reader(shared, boot.full, groups=["storage"], **HEALTH_ALONE)()
    assert outcome.verdict is Verdict.UP
    if boot.full.version_key >= (2, 2):
        assert series(outcome, GROUP_UP) == {("storage",): 1}
        assert outcome.parts == {"groups": None}
    else:
        assert outcome.parts["groups"] is not None
        assert outcome.parts["groups"].detail == "group storage: HTTP 404"
        cell.absent()


@pytest.mark.feature("Health: readiness that refuses traffic")
async def test_readiness_is_told_apart_from_liveness(subject: Subject, shared: SharedClients, cell: Cell) -> None:
    read = Reader(shared, subject.application, groups=["liveness", "readiness"], **HEALTH_ALONE)
    if subject.application.version_key < (2, 3):
        assert (await read()).parts["groups"] is not None
        cell.absent()
        return
    assert series(await read(), GROUP_UP) == {("liveness",): 1, ("readiness",): 1}
    with subject.refusing_traffic():
        refusing = await read()
    assert series(refusing, GROUP_UP) == {("liveness",): 1, ("readiness",): 0}
    assert series(refusing, STATUS) == {("OUT_OF_SERVICE",): 1}
    assert reason(refusing) == ("check", "reported_down")


@pytest.mark.feature("Health: liveness that is broken")
async def test_liveness_is_told_apart_from_readiness(boot: BootApplications, shared: SharedClients, cell: Cell) -> None:
    read = Reader(shared, boot.full, groups=["liveness", "readiness"], **HEALTH_ALONE)
    if boot.full.version_key < (2, 3):
        assert (await read()).parts["groups"] is not None
        cell.absent()
        return
    with boot.full.switched("liveness", {"state": "CORRECT"}, state="BROKEN"):
        assert series(await read(), GROUP_UP) == {("liveness",): 0, ("readiness",): 1}


@pytest.mark.feature("Health: /livez and /readyz on the main port")
async def test_additional_paths_follow_the_readiness(subject: Subject, shared: SharedClients, cell: Cell) -> None:
    read = Reader(shared, subject.application, main={}, **HEALTH_ALONE)
    if subject.application.version_key < (2, 6):
        assert reason(await read()) == ("check", "http_status")
        cell.absent()
        return
    assert series(await read(), mainport.UP) == {("/livez",): 1, ("/readyz",): 1}
    with subject.refusing_traffic():
        refusing = await read()
    assert series(refusing, mainport.UP) == {("/livez",): 1, ("/readyz",): 0}
    assert series(refusing, mainport.STATUS_CODE) == {("/livez",): 200, ("/readyz",): 503}


@pytest.mark.feature("Main port beside the management port: /livez and /readyz")
async def test_the_main_port_is_asked_beside_the_management_port(
    boot: BootApplications, shared: SharedClients, cell: Cell
) -> None:
    outcome = await Reader(shared, boot.hidden, main={}, **HEALTH_ALONE)()
    if boot.hidden.version_key >= (2, 6):
        assert outcome.verdict is Verdict.UP
        assert series(outcome, mainport.UP) == {("/livez",): 1, ("/readyz",): 1}
    else:
        assert reason(outcome) == ("check", "http_status")
        assert outcome.failure is not None
        assert outcome.failure.detail == "main port /livez: HTTP 404"
        cell.absent()


@pytest.mark.feature("Main port that fails while the management port is healthy")
async def test_a_main_port_that_fails_is_down(boot: BootApplications, shared: SharedClients) -> None:
    served = await Reader(shared, boot.hidden, main={"paths": ["/work/slow/a"]}, **HEALTH_ALONE)()
    assert served.verdict is Verdict.UP
    outcome = await Reader(shared, boot.hidden, main={"paths": ["/work/slow/a", "/work/fail"]}, **HEALTH_ALONE)()
    assert reason(outcome) == ("check", "http_status")
    assert outcome.failure is not None
    assert outcome.failure.detail == "main port /work/fail: HTTP 500"
    assert series(outcome, mainport.UP) == {("/work/slow/a",): 1, ("/work/fail",): 0}
    assert series(outcome, STATUS) == {("UP",): 1}
