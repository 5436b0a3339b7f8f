"""What targets add up to for a service, and that it costs the same however many there are."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.models import MemberSettings
from exporter.discovery.source import Discovered
from exporter.engine.quorum import Quorum, count_instances, deciding_kinds, service_verdict
from exporter.engine.service import ServiceState
from exporter.engine.target import Standing
from exporter.metrics.store import Store
from exporter.verdict import Failure, Reason, Stage, Verdict

U, D, X = Verdict.UP, Verdict.DOWN, Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("verdicts", "needed", "complete", "expected"),
    [
        ([U], 1, True, U),
        ([U, D, D], 1, True, U),  # a rollout keeps its floor
        ([U, D], 2, True, D),
        ([D, X], 1, True, X),
        ([D, D], 1, True, D),
        ([], 1, True, D),  # zero instances is down
        ([], 1, False, X),  # unless the list could not be read
        ([], 0, True, U),  # scaled to zero on purpose
        ([D], 2, False, X),
    ],
)
def test_quorum(verdicts: list[Verdict], needed: int, complete: bool, expected: Verdict) -> None:
    assert Quorum(needed, complete).verdict(Counter(verdicts)) is expected


def settings(*kinds: str, min_ready: int = 1) -> MemberSettings:
    probes: dict[str, Any] = {kind: {} for kind in kinds}
    if "postgres" in probes:
        probes["postgres"] = {"user": "u", "database": "d", "password": "p"}
    if "oidc" in probes:
        probes["oidc"] = {"issuer_path": "/realms/r"}
    return MemberSettings.model_validate({"instances": ["h:1"], "min_ready": min_ready, "probes": probes})


@pytest.mark.parametrize(
    ("tallies", "expected"),
    [
        ({"actuator": [U], "redis": [U]}, U),
        ({"actuator": [U], "redis": [D]}, D),
        ({"actuator": [U], "redis": [X]}, X),
        ({"actuator": [X], "redis": [D]}, D),
        ({"actuator": [U], "redis": [U], "tls": [D]}, U),  # a certificate does not decide where something else does
        ({"actuator": [U]}, D),  # no target of a probe that decides
    ],
)
def test_the_worst_deciding_probe_counts(tallies: dict[str, list[Verdict]], expected: Verdict) -> None:
    counted = {kind: Counter(verdicts) for kind, verdicts in tallies.items()}
    assert service_verdict(settings("actuator", "redis", "tls"), counted, complete=True) is expected


def test_where_no_vital_probe_is_configured_all_decide() -> None:
    """What the world sees of a fleet is often a certificate alone: its being gone is that service's being down."""
    assert deciding_kinds(settings("tls")) == ("tls",)
    assert service_verdict(settings("tls"), {"tls": Counter([D])}, complete=True) is D


class Fed(ServiceState):
    """A service whose targets are standings alone."""

    def feed(self, kind: str, name: str, standing: Standing | None) -> None:
        self._count((self.name, kind, name), standing)


def fed(*kinds: str, complete: bool = True) -> Fed:
    service = Fed("s", settings(*kinds), Store())
    service.current = True
    service.discovered = Discovered((), None if complete else Failure(Stage.RESOLVE, Reason.PROBER_DNS))
    return service


@pytest.mark.parametrize(
    ("kinds", "targets", "expected"),
    [
        (("actuator", "kubernetes"), {("actuator", "a"): U, ("actuator", "b"): D, ("kubernetes", "s"): D}, {U: 1, D: 1}),
        (("tls", "kubernetes"), {("tls", "a"): U, ("tls", "b"): U, ("kubernetes", "s"): U}, {U: 2}),
        (("actuator", "redis"), {("actuator", "a"): U, ("redis", "a"): X, ("actuator", "b"): U}, {X: 1, U: 1}),
        (("tls", "oidc"), {("tls", "a:1"): D, ("oidc", "a:1"): U}, {U: 1}),
        (("kubernetes",), {("kubernetes", "s"): U}, {U: 1}),  # nothing else is known of it
        (("kafka",), {}, {}),
    ],
)  # fmt: skip
def test_what_covers_the_whole_is_no_instance(
    kinds: tuple[str, ...], targets: dict[tuple[str, str], Verdict], expected: dict[Verdict, int]
) -> None:
    service = fed(*kinds)
    for (kind, name), verdict in targets.items():
        service.feed(kind, name, Standing(verdict, None if verdict is U else Reason.TIMEOUT))
    assert service.instances == {verdict.value: expected.get(verdict, 0) for verdict in Verdict}
    assert count_instances(service.settings, ((*key, verdict) for key, verdict in targets.items())) == expected


STANDINGS = st.one_of(
    st.just(Standing(U, None)),
    st.sampled_from([Reason.TIMEOUT, Reason.CONNECT_REFUSED]).map(lambda reason: Standing(D, reason)),
    st.sampled_from([Reason.AUTH, Reason.STALE]).map(lambda reason: Standing(X, reason)),
    st.none(),
)


@given(st.lists(st.tuples(st.sampled_from(["actuator", "redis", "tls"]), st.sampled_from("abc"), STANDINGS), max_size=40))
def test_what_is_counted_as_it_changes_is_what_counting_anew_would_find(
    changes: list[tuple[str, str, Standing | None]],
) -> None:
    service = fed("actuator", "redis", "tls")
    now: dict[tuple[str, str], Standing] = {}
    for kind, name, standing in changes:
        service.feed(kind, name, standing)
        if standing is None:
            now.pop((kind, name), None)
        else:
            now[kind, name] = standing
    deciding = {key: standing for key, standing in now.items() if key[0] != "tls"}
    worst = {
        name: min((s.verdict for (_, other), s in deciding.items() if other == name), key=[D, X, U].index)
        for name in {name for _, name in deciding}
    }
    assert service.instances == {verdict.value: list(worst.values()).count(verdict) for verdict in Verdict}
    tallies = {kind: Counter(s.verdict for (k, _), s in now.items() if k == kind) for kind in ("actuator", "redis")}
    assert service.verdict is service_verdict(service.settings, tallies, complete=True)
    down = {standing.reason for standing in deciding.values() if standing.verdict is D}
    assert service.reasons_down.keys() == (down or {Reason.NO_INSTANCES})


def test_a_change_costs_the_same_among_five_and_among_five_thousand_instances() -> None:
    """F8: the verdict over 5,000 instances was worked out anew at each change, which took 13.7 s of the event loop."""

    def steps(instances: int) -> int:
        service = fed("actuator", "tls")
        for n in range(instances):
            service.feed("actuator", f"h{n}", Standing(U, None))
        count = 0

        def trace(frame: Any, event: str, arg: Any) -> Any:
            nonlocal count
            count += 1
            return trace

        sys.settrace(trace)
        try:
            service.feed("actuator", "h1", Standing(D, Reason.TIMEOUT))
            service.publish()
        finally:
            sys.settrace(None)
        return count

    few = steps(5)
    assert few > 50
    assert steps(5000) < 1.1 * few  # a larger number takes some more to write


@pytest.mark.parametrize(
    ("discovered", "standings", "expected"),
    [
        (None, [], Reason.NOT_DISCOVERED),
        (Discovered((), Failure(Stage.RESOLVE, Reason.PROBER_DNS)), [], Reason.NOT_DISCOVERED),
        (Discovered(()), [Standing(X, Reason.AUTH)] * 2 + [Standing(X, Reason.STALE)], Reason.AUTH),
        (Discovered(()), [], Reason.NOT_YET_PROBED),
    ],
)
def test_an_unknown_service_says_why(discovered: Discovered | None, standings: list[Standing], expected: Reason) -> None:
    service = fed("actuator")
    service.discovered = discovered
    for n, standing in enumerate(standings):
        service.feed("actuator", f"h{n}", standing)
    assert service.unknown_reason is expected
