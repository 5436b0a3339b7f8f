"""The engine under change, by a state machine: whatever comes together in whatever order, what is exported stays true.

The invariants, checked after every step:

1. What is exported of a target is what is believed of it: `probe_success` while it is up or down, `probe_unknown` with the
   reason while it is unknown, never both and never neither.
2. There are series of the targets that configuration and instances ask for, and of no other.
3. No verdict is older than three intervals and a deadline.
4. The exposition is valid, without a series twice.
5. A service's verdict is what counting its targets anew comes to.
6. A counter does not go back while its series lives on.
7. No probe is used after it was closed, and none is left open that no target has.
8. A service that is down has at the most one incident, and ten seconds after it was found to be down it has one; no other
   has any. Nothing is suspected of what is not asked for.
9. Once it is settled, the exporter is ready.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import looptime
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from prometheus_client.parser import text_string_to_metric_families

from exporter.config.errors import ConfigError
from exporter.config.models import Config
from exporter.discovery.source import Discovered
from exporter.engine.quorum import service_verdict
from exporter.engine.service import Key
from exporter.engine.target import STALE_INTERVALS, TargetState
from exporter.engine.targets import wanted_targets
from exporter.metrics.family import gauge
from exporter.probing.attempt import Attempt
from exporter.verdict import Verdict
from tests.engine.bench import Bench, at, broken, config, down, failed, hang, unknown, up

ODD = gauge("probe_test_odd", "A family that a probe gives the wrong labels.", "one")

SWEEP = 1.0


async def mislabelled(attempt: Attempt) -> None:
    """Record what cannot be published."""
    attempt.samples[ODD] = {("one", "too many"): 1.0}


PLAYS = [up, up, up, down, down, unknown, broken, hang, mislabelled]
HOSTS = st.sets(st.sampled_from("abc"))
NAMES = st.sampled_from(["case", "kafka", "other"])
TARGETS = st.sampled_from(["a:1", "b:1", "c:1", "kafka", "h:1", "g:1", "0.0.0.0:1"])

CASE = "case: {instances: {dns: case, port: 1}, depends_on: [kafka], probes: {actuator: %s, tls: {interval: 1h}}%s}"
KAFKA = "kafka: {instances: {dns: kafka, port: 1}, probes: {kafka: %s}}"
STATIC = "static: {instances: [%s], probes: {redis: {interval: 5s, timeout: 2s}}}"
CONFIGURATIONS = [
    f"services: {{{CASE % ('{}', '')}}}\ndependencies: {{{KAFKA % '{}'}, {STATIC % 'h:1, g:1'}}}",
    f"services: {{{CASE % ('{}', ', labels: {team: x}')}}}\ndependencies: {{{KAFKA % '{}'}}}",
    f"services: {{{CASE % ('{interval: 5s, confirm: {failures: 3, successes: 2}}', '')}}}\n"
    f"dependencies: {{{KAFKA % '{interval: 7s}'}, {STATIC % 'h:1'}}}",
    f"services: {{{CASE.replace('dns: case', 'dns: other') % ('{timeout: 1s}', '')}}}\ndependencies: {{{KAFKA % '{}'}}}",
    f"dependencies: {{{KAFKA % '{timeout: 2s}'}, {STATIC % 'g:1'}}}",
]


class Machine(RuleBasedStateMachine):
    """An engine on a fake clock, and what it must come to."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = looptime.new_event_loop(start=1000.0)
        self.loop.set_exception_handler(self._unhandled)
        self.unhandled: list[dict[str, Any]] = []
        self.config = Config()
        self.order = count()
        self.numbers: WeakKeyDictionary[TargetState, int] = WeakKeyDictionary()
        self.counters: dict[str, tuple[int, float]] = {}
        self.bench = self.run(self._start())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def _unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.unhandled.append(context)

    async def _start(self) -> Bench:
        bench = Bench()
        bench.names = {name: at("a") for name in ("case", "kafka", "other")}
        bench.start()
        return bench

    @initialize()
    def begin(self) -> None:
        self.run(self._configure(CONFIGURATIONS[0]))

    @rule(text=st.sampled_from(CONFIGURATIONS))
    def reload(self, text: str) -> None:
        self.run(self._configure(text))

    async def _configure(self, text: str) -> None:
        try:
            await self.bench.configure(text)
        except ConfigError:
            assert self.bench.unbuildable & {"0.0.0.0:1", "kafka"}
        else:
            self.config = config(text)

    @rule(name=NAMES, hosts=HOSTS)
    def instances_are(self, name: str, hosts: set[str]) -> None:
        self.run(self._say(name, at(*sorted(hosts))))

    @rule(name=NAMES, hosts=HOSTS)
    def source_cannot_tell(self, name: str, hosts: set[str]) -> None:
        self.run(self._say(name, failed(*sorted(hosts))))

    @rule(name=NAMES, sets=st.lists(HOSTS, max_size=5))
    def instances_come_and_go_in_a_burst(self, name: str, sets: list[set[str]]) -> None:
        for hosts in sets:
            self.run(self._say(name, at(*sorted(hosts)), wait=False))

    async def _say(self, name: str, found: Discovered, *, wait: bool = True) -> None:
        self.bench.names[name] = found
        if name in self.bench.reports:
            self.bench.reports[name](found)
        if wait:
            await self.bench.engine.settled()

    @rule(name=NAMES)
    def source_raises(self, name: str) -> None:
        if name in self.bench.ends:
            self.bench.ends[name].set()
        self.run(asyncio.sleep(0.2))
        self.run(asyncio.sleep(5.5))  # it runs anew

    @rule(which=TARGETS, play=st.sampled_from(PLAYS))
    def target_does(self, which: str, play: Any) -> None:
        self.bench.plays[which] = play

    @rule(play=st.sampled_from(PLAYS))
    def all_do(self, play: Any) -> None:
        self.bench.plays.clear()
        self.bench.play = play

    @rule(which=st.sets(TARGETS))
    def probes_cannot_be_built(self, which: set[str]) -> None:
        self.bench.unbuildable = which

    @rule(seconds=st.sampled_from([0.0, 0.02, 1.0, 6.0, 20.0, 80.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(which=TARGETS)
    def on_demand(self, which: str) -> None:
        states = [state for each in self._services().values() for state in each.targets.values() if state.key[2] == which]
        for state in states[:1]:
            if which not in self.bench.unbuildable:
                body = self.run(self.bench.engine.run_on_demand(state))
                assert (b"probe_success{" in body) != (b"probe_unknown{" in body)

    def _services(self) -> Any:
        return self.bench.engine._reconciler.services

    @invariant()
    def what_is_exported_is_true(self) -> None:
        self.run(self.bench.engine.settled())
        samples = self._samples()
        self._targets_are_those_that_are_asked_for(samples)
        for service in self._services().values():
            for state in service.targets.values():
                self._verdict_is_exported(samples, state)
            self._service_adds_up(samples, service)
        self._incidents_are_true(samples)
        assert samples["probe_exporter_ready", frozenset()] == 1
        self._counters_go_on(samples)
        assert self.bench.violations == []
        assert self.unhandled == []

    def _samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(self.bench.store.render().decode()):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in found, f"twice: {key}"
                found[key] = sample.value
        return found

    def _targets_are_those_that_are_asked_for(self, samples: dict[Any, float]) -> None:
        asked: set[Key] = set()
        for name, each in self.config.everything.items():
            known = self.bench.engine._discovery.known(name).discovered
            asked |= {wanted.target.key for wanted in wanted_targets(name, each, known.instances if known else ())}
        exported = set()
        for _, labels in samples:
            by_name = dict(labels)
            if "target" in by_name:
                exported.add((by_name["service"], by_name["probe"], by_name["target"]))
        assert exported <= asked
        assert {key for key in asked - exported if key[2] not in self.bench.unbuildable} == set() or self._retrying()
        assert self._services().keys() == self.config.everything.keys()

    def _retrying(self) -> bool:
        """Whether a service waits to be tried again, after its probes could not be built."""
        return bool(self.bench.engine._reconciler._retries)

    def _verdict_is_exported(self, samples: dict[Any, float], state: Any) -> None:
        labels = frozenset(state.target.series_labels.items())
        success = samples.get(("probe_success", labels))
        unknown_of = [dict(found)["reason"] for name, found in samples if name == "probe_unknown" and found > labels]
        if state.confirmed.verdict is Verdict.UNKNOWN:
            assert success is None
            assert unknown_of == [str(state.confirmed.reason)]
        else:
            assert success == float(state.confirmed.verdict is Verdict.UP)
            assert unknown_of == []
            age = self.loop.time() - state._completed
            assert age <= STALE_INTERVALS * state.interval + state.timeout + 2 * SWEEP

    def _service_adds_up(self, samples: dict[Any, float], service: Any) -> None:
        tallies: dict[str, Counter[Verdict]] = {}
        for state in service.targets.values():
            tallies.setdefault(state.key[1], Counter())[state.confirmed.verdict] += 1
        complete = service.current is True and service.discovered is not None and service.discovered.complete
        verdict = service_verdict(service.settings, tallies, complete=complete)
        assert service.verdict is verdict
        labels = frozenset({"service": service.name, **service.settings.labels}.items())
        known = verdict is not Verdict.UNKNOWN
        assert samples.get(("probe_service_up", labels)) == (float(verdict is Verdict.UP) if known else None)
        assert any(name == "probe_service_unknown" and found > labels for name, found in samples) is not known

    def _incidents_are_true(self, samples: dict[Any, float]) -> None:
        found: dict[str, str] = {}
        for name, labels in samples:
            if name == "probe_incident":
                by_name = dict(labels)
                assert by_name["service"] not in found
                found[by_name["service"]] = by_name["incident"]
            elif name.startswith("probe_suspected"):
                assert dict(labels)["service"] in self.config.everything
        services = self._services()
        for name in found:
            assert services[name].verdict is Verdict.DOWN
        for name, watched in self.bench.engine._diagnostician._watched.items():
            if name in services and services[name].verdict is Verdict.DOWN and self.loop.time() - watched.since > 11:
                assert name in found

    def _counters_go_on(self, samples: dict[Any, float]) -> None:
        now: dict[str, tuple[int, float]] = {}
        states = {state.key: self._number(state) for each in self._services().values() for state in each.targets.values()}
        for (name, labels), value in samples.items():
            by_name = dict(labels)
            key = (by_name.get("service", ""), by_name.get("probe", ""), by_name.get("target", ""))
            if name.endswith("_total") and key in states:
                told = " ".join([name, *(f"{label}={text}" for label, text in sorted(labels) if label != "team")])
                now[told] = (states[key], value)
                before = self.counters.get(told)
                assert before is None or before[0] != states[key] or before[1] <= value
        for told, (identity, _) in self.counters.items():
            assert told in now or identity not in states.values(), f"{told} has gone"
        self.counters = now

    def _number(self, state: Any) -> int:
        """Tell targets apart that had the same key one after the other."""
        if state not in self.numbers:
            self.numbers[state] = next(self.order)
        return self.numbers[state]

    def teardown(self) -> None:
        try:
            self.run(self.bench.stop())
            assert 'service="' not in self.bench.store.render().decode()
            assert self.unhandled == []
        finally:
            self.run(self.loop.shutdown_default_executor())
            self.loop.close()


class TestMachine:
    """The machine as a test."""

    def test_whatever_comes_what_is_exported_stays_true(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("CRITICAL")  # defects are played here by the hundred
        case = Machine.TestCase
        case.settings = settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        )
        case("runTest").runTest()
