"""The one writer: configuration and instances become targets, and what is believed of a target outlives both."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from exporter.config.errors import ConfigError
from exporter.verdict import Failure, Reason, Stage, Verdict
from tests.engine.bench import at, config, down, failed, hang, running, up

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

BY_NAME = "services: {case: {instances: {dns: case, port: 1}, probes: {actuator: {}}}}"
KAFKA = "dependencies: {kafka: {instances: {dns: kafka, port: 1}, probes: {kafka: {}}}}"


async def test_instances_come_and_go_with_their_name_and_take_their_series_along() -> None:
    async with running() as bench:
        bench.names["case"] = at("a")
        await bench.configure(BY_NAME)
        assert set(bench.values("probe_interval_seconds")) == {"a:1"}
        await bench.say("case", at("b", "c"))
        assert set(bench.values("probe_interval_seconds")) == {"b:1", "c:1"}
        assert bench.values("probe_discovery_instances", "service") == {"case": 2}
        await bench.say("case", at())
        assert bench.lines("probe_interval_seconds{") == []
        assert bench.values("probe_service_up", "service") == {"case": 0}  # nobody runs it


async def test_a_source_that_fails_makes_nobody_down_and_takes_nothing_away() -> None:
    async with running() as bench:
        bench.names["case"] = at("a")
        await bench.configure(BY_NAME)
        await asyncio.sleep(16)
        await bench.say("case", failed("a"))
        assert bench.values("probe_discovery_success", "service") == {"case": 0}
        assert bench.values("probe_service_up", "service") == {"case": 1}
        bench.play = down
        await asyncio.sleep(31)
        assert bench.values("probe_success") == {"a:1": 0}
        assert bench.lines("probe_service_up") == []  # there may be others that are up
        await bench.say("case", at("a"))
        assert bench.values("probe_service_up", "service") == {"case": 0}


async def test_a_service_whose_instances_were_never_known_is_unknown_and_says_so() -> None:
    """F25: it had no series at all, and so no alert."""
    async with running() as bench:
        await bench.configure(BY_NAME)
        assert bench.values("probe_service_unknown", "reason") == {"not_discovered": 1}
        await bench.say("case", failed())
        assert bench.values("probe_service_unknown", "reason") == {"not_discovered": 1}
        assert bench.values("probe_discovery_success", "service") == {"case": 0}
        assert bench.values("probe_discovery_last_success_timestamp_seconds", "service") == {}
        await bench.say("case", at("a"))
        assert bench.values("probe_service_unknown", "reason") == {"not_yet_probed": 1}
        assert bench.values("probe_discovery_last_success_timestamp_seconds", "service") != {}


async def test_a_broker_that_comes_or_goes_changes_nothing_of_the_cluster() -> None:
    """F3: verdict, counters and service verdict were lost in the moment of a broker's incident."""
    async with running() as bench:
        bench.names["kafka"] = at("a", "b", "c")
        await bench.configure(KAFKA)
        (state,) = bench.engine.find("kafka", "kafka")
        await asyncio.sleep(16)
        state.missed()
        await bench.say("kafka", at("a", "b"))
        assert bench.values("probe_success") == {"kafka": 1}
        assert bench.values("probe_service_up", "service") == {"kafka": 1}
        assert bench.values("probe_runs_missed_total") == {"kafka": 1}
        await asyncio.sleep(16)
        assert bench.engine.find("kafka", "kafka") == [state]
        assert [address.host for address in bench.attempts[-1][1].addresses] == ["a", "b"]
        assert len([probe for probe in bench.built if not probe.closed]) == 1  # the connections were kept


async def test_failures_in_a_row_are_counted_across_changes_of_address() -> None:
    """A crash-looping broker changes the name's addresses at each look; two failures in a row must be reached even so."""
    async with running() as bench:
        bench.names["kafka"] = at("a", "b")
        await bench.configure(KAFKA)
        await asyncio.sleep(16)
        bench.play = down
        for n in range(4):
            await bench.say("kafka", at("a", "b") if n % 2 else at("a"))
            await asyncio.sleep(7.5)
        assert bench.values("probe_success") == {"kafka": 0}


async def test_a_changed_setting_keeps_verdict_counters_and_recents() -> None:
    """F10: they were withdrawn until the next grid time, with long intervals for hours."""
    text = "services: {case: {instances: [h:1], probes: {tls: {interval: 6h}}}}"
    async with running() as bench:
        await bench.configure(text)
        await asyncio.sleep(15.1)
        assert bench.values("probe_success") == {"h:1": 1}  # the first result does not take six hours
        await bench.configure(text.replace("6h", "5h, timeout: 4s"))
        assert bench.values("probe_success") == {"h:1": 1}
        assert bench.values("probe_service_up", "service") == {"case": 1}
        (state,) = bench.engine.find("case", "tls")
        assert len(state.recents) == 1
        await asyncio.sleep(15.1)
        assert len(state.recents) == 2  # the new setting is tried soon
        assert bench.values("probe_interval_seconds") == {"h:1": 18000}


async def test_a_changed_label_renames_the_series_and_keeps_what_is_believed() -> None:
    text = "services: {case: {instances: [h:1], probes: {actuator: {}}}}"
    async with running() as bench:
        await bench.configure(text)
        await asyncio.sleep(16)
        (state,) = bench.engine.find("case", "actuator")
        state.missed()
        await bench.configure(text.replace("probes:", "labels: {team: x}, probes:"))
        exported = [line for line in bench.lines("probe_") if 'service="case"' in line]
        assert all('team="x"' in line for line in exported)
        assert bench.values("probe_success") == {"h:1": 1}
        assert bench.values("probe_runs_missed_total") == {"h:1": 1}
        assert bench.values("probe_service_up", "team") == {"x": 1}


async def test_a_late_answer_of_a_source_that_was_replaced_is_not_heard() -> None:
    """F5: a refresh that began before a reload put the old addresses back."""
    async with running() as bench:
        bench.names |= {"case": at("old"), "other": at("new")}
        await bench.configure(BY_NAME)
        late = bench.reports["case"]
        await bench.configure(BY_NAME.replace("dns: case", "dns: other"))
        late(at("older"))
        await asyncio.sleep(1)
        assert set(bench.values("probe_interval_seconds")) == {"new:1"}


async def test_a_source_that_says_nothing_holds_nobody_else_back() -> None:
    """F4: names were asked one after the other."""
    names = {f"s{n}": f"n{n}" for n in range(20)}
    text = "services: {" + ", ".join(
        f"{service}: {{instances: {{dns: {name}, port: 1}}, probes: {{actuator: {{}}}}}}" for service, name in names.items()
    ) + "}"  # fmt: skip
    async with running() as bench:
        bench.names |= {name: at("a") for name in names.values() if name != "n0"}
        await bench.configure(text)
        assert bench.values("probe_discovery_success", "service") == {f"s{n}": 1 for n in range(1, 20)}
        assert bench.values("probe_service_unknown", "service").keys() == set(names)


async def test_a_change_touches_only_what_changed() -> None:
    both = "services: {a: {instances: [h:1], probes: {actuator: {}}}, b: {instances: [h:2], probes: {actuator: {}}}}"
    async with running() as bench:
        await bench.configure(both)
        built = len(bench.built)
        await bench.configure(both.replace("[h:2], probes: {actuator: {}}", "[h:2], probes: {actuator: {interval: 9s}}"))
        assert len(bench.built) == built + 2  # one to see whether it can be built, one to use
        await bench.configure("services: {a: {instances: [h:1], probes: {actuator: {}}}}")
        assert bench.engine.find("b", "actuator") == []
        assert bench.engine.known() == [("a", "actuator")]
        assert [line for line in bench.lines("probe_") if 'service="b"' in line] == []


async def test_a_configuration_whose_probes_cannot_be_built_changes_nothing() -> None:
    async with running() as bench:
        await bench.configure("services: {a: {instances: [h:1], probes: {actuator: {}}}}")
        before = bench.store.render()
        bench.unbuildable.add("0.0.0.0:1")
        with pytest.raises(ConfigError, match=r"b/actuator/0\.0\.0\.0:1: as the test says"):
            await bench.engine.check(config("services: {b: {instances: [h:2], probes: {actuator: {}}}}"))
        assert bench.store.render() == before


async def test_what_cannot_be_built_is_that_services_and_is_tried_again() -> None:
    async with running() as bench:
        bench.names["case"] = at("a")
        await bench.configure(BY_NAME + "\ndependencies: {db: {instances: [d:1], probes: {redis: {}}}}")
        bench.unbuildable.add("b:1")
        await bench.say("case", at("a", "b"))
        assert bench.values("probe_service_targets_current", "service") == {"case": 0, "db": 1}
        assert set(bench.values("probe_interval_seconds")) == {"a:1", "d:1"}
        bench.unbuildable.clear()
        await asyncio.sleep(31)
        assert bench.values("probe_service_targets_current", "service") == {"case": 1, "db": 1}
        assert set(bench.values("probe_interval_seconds")) == {"a:1", "b:1", "d:1"}


async def test_a_service_of_which_nothing_can_be_probed_is_unknown_and_not_down() -> None:
    """A certificate file that has gone is the exporter's trouble: the service may be well."""
    async with running() as bench:
        bench.names["case"] = at("a")
        await bench.configure(BY_NAME)
        await asyncio.sleep(16)
        bench.unbuildable |= {"b:1", "c:1"}
        await bench.say("case", at("b", "c"))
        assert bench.values("probe_service_up", "service") == {}
        assert bench.values("probe_service_unknown", "reason") == {"not_built": 1}
        bench.unbuildable.clear()
        await asyncio.sleep(50)
        assert bench.values("probe_service_up", "service") == {"case": 1}


async def test_other_instances_do_not_make_a_service_down_on_their_way() -> None:
    async with running() as bench:
        bench.names["case"] = at("a", "b", "c")
        await bench.configure(BY_NAME.replace("probes:", "min_ready: 3, probes:"))
        await asyncio.sleep(16)
        seen: list[dict[str, float]] = []
        service = bench.engine._reconciler.services["case"]
        publish = service.publish

        def watched() -> Verdict:
            verdict = publish()
            seen.append(bench.values("probe_service_up", "service"))
            return verdict

        service.publish = watched  # type: ignore[method-assign] # every verdict that is published is looked at
        await bench.say("case", at("d", "e", "f"))
        await asyncio.sleep(16)
        assert {"case": 0.0} not in seen
        assert seen[-1] == {"case": 1}


async def test_a_source_that_raises_is_a_defect_of_its_own_service_and_runs_anew(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        bench.names |= {"case": at("a")}
        await bench.configure(BY_NAME)
        original = bench.engine._discovery._make

        def make(settings: object) -> object:
            raise ZeroDivisionError("a defect")

        bench.engine._discovery._make = make  # type: ignore[assignment] # a source that cannot even be made
        await bench.configure(BY_NAME.replace("port: 1", "port: 2"))
        await asyncio.sleep(0.1)
        assert bench.values("probe_discovery_success", "service") == {"case": 0}
        assert bench.defects() == {"discovery": 1}
        bench.engine._discovery._make = original
        await asyncio.sleep(5.1)
        assert bench.values("probe_discovery_success", "service") == {"case": 1}
    assert "ZeroDivisionError" in caplog.text


async def test_bursts_of_changes_are_one_piece_of_work() -> None:
    async with running() as bench:
        bench.names["case"] = at("a")
        await bench.configure(BY_NAME)
        built = len(bench.built)
        for n in range(50):
            bench.reports["case"](at("a", f"b{n}"))
        await bench.engine.settled()
        assert len(bench.built) == built + 1
        assert set(bench.values("probe_interval_seconds")) == {"a:1", "b49:1"}


async def test_a_run_under_way_ends_with_its_own_probe_and_the_next_has_the_new_one() -> None:
    text = "services: {case: {instances: [h:1], probes: {actuator: {}}}}"
    async with running() as bench:
        await bench.configure(text)
        gate = asyncio.Event()

        async def wait(_: object) -> None:
            await gate.wait()

        bench.play = wait
        while not bench.attempts:
            await asyncio.sleep(0.1)
        await bench.configure(text.replace("actuator: {}", "actuator: {timeout: 4s}"))
        await bench.configure(text.replace("actuator: {}", "actuator: {timeout: 3s}"))
        gate.set()
        bench.play = up
        await asyncio.sleep(31)
        assert bench.values("probe_success") == {"h:1": 1}
        assert len([probe for probe in bench.built if not probe.closed]) == 1
        assert bench.defects() == {}


async def test_an_instance_that_goes_while_it_hangs_leaves_nothing() -> None:
    async with running() as bench:
        bench.play = hang
        bench.names["case"] = at("a")
        await bench.configure(BY_NAME)
        await asyncio.sleep(15)
        await bench.say("case", at("b"))
        assert [line for line in bench.lines("probe_") if "a:1" in line] == []


async def test_a_target_that_was_dropped_is_forgotten_at_once() -> None:
    """F13: the schedule kept it for up to its interval. And no cycle may hold it: what is frozen is never collected."""
    async with running() as bench:
        bench.names["case"] = at(*(f"h{n}" for n in range(200)))
        await bench.configure(BY_NAME.replace("actuator: {}", "actuator: {interval: 6h}"))
        await asyncio.sleep(16)
        states = [weakref.ref(state) for state in bench.engine.find("case", "actuator")]
        assert len(states) == 200
        gc.disable()
        try:
            await bench.say("case", at("other"))
            bench.attempts.clear()
            assert sum(state() is not None for state in states) == 0
        finally:
            gc.enable()


async def test_the_order_of_services_is_that_of_the_configuration() -> None:
    text = "services: {%s}"
    one = "{instances: [h:1], probes: {actuator: {}}}"
    async with running() as bench:
        await bench.configure(text % ", ".join(f"{name}: {one}" for name in ("b", "d")))
        await bench.configure(text % ", ".join(f"{name}: {one}" for name in ("a", "b", "c", "d")))
        assert [view.name for view in await bench.engine.views()] == ["a", "b", "c", "d"]


async def test_causes_are_told_while_a_service_is_down_and_withdrawn_after() -> None:
    text = """
        dependencies: {db: {instances: {dns: db, port: 1}, probes: {redis: {}}}}
        services:
          broker: {instances: {dns: broker, port: 1}, depends_on: [db], probes: {actuator: {}}}
          case: {instances: {dns: case, port: 1}, depends_on: [broker], probes: {actuator: {}}}
        """
    async with running() as bench:
        bench.names |= {"db": at(), "broker": at(), "case": at()}
        await bench.configure(text)
        await asyncio.sleep(0.2)
        assert sorted(bench.lines("probe_suspected_cause{")) == [
            'probe_suspected_cause{service="broker",cause="dependency_down",dependency="db"} 1',
            'probe_suspected_cause{service="case",cause="dependency_down",dependency="db"} 1',
            'probe_suspected_cause{service="db",cause="no_instances",dependency=""} 1',
        ]
        for name in ("db", "broker", "case"):
            await bench.say(name, at(name))
        await asyncio.sleep(0.2)
        assert bench.lines("probe_suspected_cause{") == []


async def test_a_run_on_demand_changes_nothing() -> None:
    """F15: it went on with the probe of the schedule, and with what that remembers."""
    async with running() as bench:
        await bench.configure("services: {case: {instances: [h:1], probes: {actuator: {}}}}")
        await asyncio.sleep(16)
        (state,) = bench.engine.find("case", "actuator")
        before, built = bench.store.render(), len(bench.built)
        bench.play = down
        assert b"probe_success{" in await bench.engine.run_on_demand(state)
        assert bench.store.render() == before
        assert len(bench.built) == built + 1
        assert bench.built[-1].closed
        gate = asyncio.create_task(bench.engine.run_on_demand(state))
        await asyncio.sleep(0)
        await bench.configure("services: {other: {instances: [h:2], probes: {actuator: {}}}}")
        assert b"probe_success{" in await gate  # the target has gone meanwhile: the answer is of when it was asked


async def test_a_failure_carries_its_reason_to_the_service() -> None:
    async def refused(_: object) -> None:
        raise Failure(Stage.AUTH, Reason.AUTH)

    async with running() as bench:
        bench.play = refused
        await bench.configure("services: {case: {instances: [h:1], probes: {actuator: {}}}}")
        await asyncio.sleep(16)
        assert bench.values("probe_service_unknown", "reason") == {"auth": 1}
        assert bench.values("probe_service_instances", "verdict") == {"up": 0, "down": 0, "unknown": 1}
