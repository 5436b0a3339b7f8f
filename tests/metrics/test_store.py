"""The store and its two formats, held against prometheus_client's parsers and promtool."""

from __future__ import annotations

import math
import subprocess
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics.encoding import MAX_LABEL_LENGTH, format_value
from exporter.metrics.family import counter, gauge, histogram
from exporter.metrics.store import LARGE, Histogram, Samples, Settled, Store
from exporter.visible import told_apart

HEAP = gauge("probe_heap_bytes", 'Heap in use; "quoted" \\ and back.', "area")
GETS = counter("probe_gets_total", "Cache gets.", "result")
UP = gauge("probe_success", "1 while up.")
LATENCY = histogram("probe_latency_seconds", "Latency.", "outcome", buckets=(0.1, 1.0))
BASE = {"service": "identity", "probe": "actuator", "target": "a:1"}


def samples(store: Store, *, openmetrics: bool = False) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Parse what the store renders with prometheus_client."""
    text = store.render(openmetrics=openmetrics).decode()
    families = parse_openmetrics(text) if openmetrics else parse_text(text)  # type: ignore[no-untyped-call] # the library's
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def key(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted({**BASE, **labels}.items()))


@pytest.mark.parametrize("openmetrics", [False, True])
def test_what_is_published_is_what_a_parser_reads(openmetrics: bool) -> None:
    store = Store()
    owner = store.owner(BASE)
    owner.publish({HEAP: {("heap",): 5.0, ("nonheap",): 0.25}, UP: {(): 1.0}})
    owner.put(GETS, {("hit",): 3.0})
    assert samples(store, openmetrics=openmetrics) == {
        key("probe_heap_bytes", area="heap"): 5.0,
        key("probe_heap_bytes", area="nonheap"): 0.25,
        key("probe_success"): 1.0,
        key("probe_gets_total", result="hit"): 3.0,
    }


def test_a_fact_that_is_not_observed_again_is_withdrawn() -> None:
    store = Store()
    owner = store.owner(BASE)
    owner.publish({HEAP: {("heap",): 5.0}, UP: {(): 1.0}})
    owner.publish({UP: {(): 0.0}})
    assert samples(store) == {key("probe_success"): 0.0}


def test_what_holds_still_is_not_written_again_and_never_in_place_of_what_has_changed() -> None:
    store = Store()
    owner = store.owner(BASE)
    still, moved = Settled({("heap",): 5.0}), Settled({("heap",): 6.0})
    said: list[tuple[Samples, float | None]] = [
        ({HEAP: still}, 5.0), ({HEAP: still}, 5.0), ({HEAP: moved}, 6.0), ({HEAP: still}, 5.0),
        ({HEAP: {("heap",): 7.0}}, 7.0), ({HEAP: still}, 5.0), ({UP: {(): 1.0}}, None), ({HEAP: still}, 5.0),
    ]  # fmt: skip
    for published, value in said:
        owner.publish(published)
        assert samples(store).get(key("probe_heap_bytes", area="heap")) == value


def test_what_holds_still_is_written_again_after_an_observation_that_could_not_be() -> None:
    store = Store()
    owner = store.owner(BASE)
    still = Settled({("heap",): 5.0})
    owner.publish({HEAP: still})
    with pytest.raises(ValueError, match="takes labels"):
        owner.publish({HEAP: still, GETS: {(): 1.0}})
    assert not samples(store)
    owner.publish({HEAP: still})
    assert samples(store) == {key("probe_heap_bytes", area="heap"): 5.0}


def test_what_holds_still_takes_new_labels_and_moves() -> None:
    one, other = Store(), Store()
    owner = one.owner(BASE)
    still = Settled({("heap",): 5.0})
    owner.publish({HEAP: still})
    owner.relabel({**BASE, "target": "b:1"})
    owner.move(other)
    owner.publish({HEAP: still})
    assert not samples(one)
    assert samples(other) == {key("probe_heap_bytes", area="heap", target="b:1"): 5.0}


def test_what_was_encoded_ahead_is_published_unless_labels_have_changed() -> None:
    """The same bytes either way; lines with the labels of before are not used."""
    many = {(str(number),): float(number) for number in range(LARGE + 1)}
    stores = [Store() for _ in range(3)]
    plain, ahead, relabelled = (store.owner(BASE) for store in stores)
    for shift in (0.0, 0.5):
        observed: Samples = {HEAP: {labels: value + shift for labels, value in many.items()}, UP: {(): 1.0}}
        plain.publish(observed)
        ahead.publish(observed, ahead.encode(observed))
        encoded = relabelled.encode(observed)
        relabelled.relabel({**BASE, "zone": str(shift)})
        relabelled.publish(observed, encoded)
        assert set(encoded.families) == {HEAP}
        assert stores[0].render() == stores[1].render()
        assert set(samples(stores[2])) == {key("probe_success", zone=str(shift))} | {
            key("probe_heap_bytes", area=area, zone=str(shift)) for (area,) in many
        }


@given(st.lists(st.lists(st.tuples(st.integers(0, LARGE), st.floats()), max_size=3), max_size=4))
@settings(max_examples=20, deadline=None)
def test_of_many_series_those_that_have_changed_are_written_again(changes: list[list[tuple[int, float]]]) -> None:
    store = Store()
    observed: dict[tuple[str, ...], float] = {(str(number),): 0.0 for number in range(LARGE + 1)}
    owner = store.owner(BASE)
    for change in changes:
        observed = observed | {(str(number),): value for number, value in change}
        owner.publish({HEAP: observed}, owner.encode({HEAP: observed}) if len(change) % 2 else None)
        anew = Store()
        anew.owner(BASE).publish({HEAP: observed})
        assert store.render() == anew.render()


@pytest.mark.parametrize("back", [False, True])
def test_labels_that_change_while_lines_are_made_are_on_all_of_them(back: bool) -> None:
    """A reload may come while a thread encodes: its lines must not be taken for those of the labels of after."""
    store = Store()
    owner = store.owner(BASE)
    wanted = BASE if back else {**BASE, "zone": "b"}
    changes: list[dict[str, str]] = []

    class Values(dict[tuple[str, ...], float]):
        def __iter__(self) -> Any:  # before the beginnings of lines are there
            if len(changes) > 1:
                owner.relabel(changes.pop(0))
            return super().__iter__()

        def values(self) -> Any:  # and after
            while changes:
                owner.relabel(changes.pop(0))
            return super().values()

    observed: Samples = {HEAP: Values({(str(number),): float(number) for number in range(LARGE + 1)})}
    owner.publish({HEAP: dict.fromkeys(observed[HEAP], 0.0)})
    changes += [{**BASE, "zone": "a"}, wanted]
    for _ in range(2):  # beginnings that are wrong would be used again
        owner.publish(observed, owner.encode(observed))
        assert not changes
        assert set(samples(store)) == {
            ("probe_heap_bytes", tuple(sorted({**wanted, "area": area}.items()))) for (area,) in observed[HEAP]
        }


@pytest.mark.parametrize("values", [[1.0, 0.0, 10.0, 0.0, -0.0, 0.5, 1.0, math.inf, 100.0, 1.0, 1.0]])
def test_a_series_alone_in_its_family_is_rewritten_whatever_value_it_had(values: list[float]) -> None:
    """Whether its line is left as it is goes by how it ends: 10 and 100 end as 0 does, and labels may too."""
    store = Store()
    owner = store.owner(BASE)
    for value in values:
        owner.publish({UP: {(): value}, HEAP: {("a 0",): value}})
        assert samples(store) == {key("probe_success"): value, key("probe_heap_bytes", area="a 0"): value}
    owner.publish({UP: {(): 1.0}, HEAP: {("b",): 1.0}})
    assert samples(store) == {key("probe_success"): 1.0, key("probe_heap_bytes", area="b"): 1.0}


def test_a_family_published_empty_has_no_series() -> None:
    store = Store()
    owner = store.owner(BASE)
    owner.publish({HEAP: {("heap",): 5.0}})
    owner.publish({HEAP: {}})
    assert store.render() == b""


def test_counters_stay_when_an_observation_is_replaced() -> None:
    store = Store()
    owner = store.owner(BASE)
    owner.put(GETS, {("hit",): 3.0})
    owner.publish({UP: {(): 1.0}})
    owner.publish({})
    assert samples(store) == {key("probe_gets_total", result="hit"): 3.0}
    owner.put(GETS, {})
    assert store.render() == b""


def test_closing_an_owner_takes_its_series_and_ignores_late_writers() -> None:
    store = Store()
    gone, stays = store.owner(BASE), store.owner({**BASE, "target": "b:2"})
    for owner in (gone, stays):
        owner.publish({UP: {(): 1.0}})
        owner.put(GETS, {("hit",): 1.0})
        owner.put_histograms([Histogram(LATENCY, ("up",))])
    gone.close()
    gone.publish({UP: {(): 1.0}})
    gone.put(GETS, {("hit",): 1.0})
    gone.put_histograms([Histogram(LATENCY, ("up",))])
    assert {dict(labels)["target"] for _, labels in samples(store)} == {"b:2"}


def test_series_of_a_family_stay_together_whoever_wrote_last() -> None:
    store = Store()
    first, second = store.owner(BASE), store.owner({**BASE, "target": "b:2"})
    first.publish({UP: {(): 1.0}, HEAP: {("heap",): 1.0}})
    second.publish({UP: {(): 1.0}, HEAP: {("heap",): 1.0}})
    first.publish({UP: {(): 0.0}, HEAP: {("heap",): 2.0}})
    names = [line.split(b"{")[0] for line in store.render().splitlines() if not line.startswith(b"#")]
    assert names == sorted(names)
    assert store.render().count(b"# TYPE probe_success ") == 1


@pytest.mark.parametrize("openmetrics", [False, True])
def test_histogram_buckets_are_cumulative_and_hold_their_bound(openmetrics: bool) -> None:
    store = Store()
    latency = Histogram(LATENCY, ("up",))
    for value in (0.1, 0.5, 7.0):
        latency.observe(value)
    assert latency.count == 3
    store.owner(BASE).put_histograms([latency])
    found = samples(store, openmetrics=openmetrics)
    buckets = {dict(labels)["le"]: v for (name, labels), v in found.items() if name == "probe_latency_seconds_bucket"}
    assert buckets == {"0.1": 1.0, "1.0": 2.0, "+Inf": 3.0}
    assert found[key("probe_latency_seconds_count", outcome="up")] == 3.0
    assert found[key("probe_latency_seconds_sum", outcome="up")] == pytest.approx(7.6)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, b"1"), (0.1, b"0.1"), (-3.0, b"-3"), (1e15, b"1000000000000000.0"), (1e300, b"1e+300"),
     (math.inf, b"+Inf"), (-math.inf, b"-Inf"), (math.nan, b"NaN"), (1234567.891, b"1234567.891")],
)  # fmt: skip
def test_values_are_written_shortest(value: float, text: bytes) -> None:
    assert format_value(value) == text


@given(st.floats())
def test_every_float_reads_back_the_same(value: float) -> None:
    read = float(format_value(value))
    assert read == value or (math.isnan(read) and math.isnan(value))


@given(st.text(max_size=60), st.text(max_size=60), st.floats(allow_nan=False))
@settings(max_examples=300)
def test_any_label_value_survives_both_formats(area: str, service: str, value: float) -> None:
    store = Store()
    store.owner({"service": service}).publish({HEAP: {(area,): value}})
    shown = {name: told_apart(text, keep="\n") for name, text in (("service", service), ("area", area))}
    expected = {("probe_heap_bytes", tuple(sorted(shown.items()))): value}
    assert samples(store) == expected
    assert samples(store, openmetrics=True) == expected


def test_a_hostile_label_is_cut_and_what_would_be_obeyed_is_marked() -> None:
    store = Store()
    hostile = ["x" * 10_000, "\ud800", "a\x1b[2Jb", "\u202eevil", "\u200b", "\x00", "\x9b31m", "\u2028"]
    store.owner({}).publish({HEAP: {(text,): 1.0 for text in hostile}})
    areas = {dict(labels)["area"] for _, labels in samples(store)}
    shown = {"\\ud800", "a\\x1b[2Jb", "\\u202eevil", "\\u200b", "\\x00", "\\x9b31m", "\\u2028"}
    (cut,) = areas - shown
    assert len(cut) == MAX_LABEL_LENGTH
    assert cut.startswith("x" * 1000)


def test_labels_that_look_alike_once_they_are_marked_or_cut_are_series_of_their_own() -> None:
    """Else Prometheus takes one of them, and says nothing to whoever looks for the other."""
    store = Store()
    alike = ["a\x1b", "a\\x1b", "a\\x5cx1b", "\u200b", "\\u200b", "a\n", "a\\n", "x" * 2000, "x" * 2001, "x" * 1024]
    owner = store.owner({})
    owner.publish({HEAP: {(text,): float(number) for number, text in enumerate(alike)}})
    assert len(samples(store)) == len(alike)
    assert {labels: value for _, labels, value in owner.published()} == {(t,): float(n) for n, t in enumerate(alike)}


def test_promtool_finds_nothing_to_say() -> None:
    store = Store()
    owner = store.owner(BASE)
    owner.publish({HEAP: {('a"\n\\',): 5.0}, UP: {(): 1.0}})
    owner.put(GETS, {("hit",): 3.0})
    owner.put_histograms([Histogram(LATENCY, ("up",))])
    done = subprocess.run(["promtool", "check", "metrics"], input=store.render(), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_labels_must_be_those_declared() -> None:
    owner = Store().owner(BASE)
    with pytest.raises(ValueError, match="probe_heap_bytes takes labels"):
        owner.publish({HEAP: {(): 1.0}})


def test_two_declarations_of_one_name_are_refused() -> None:
    store = Store()
    store.owner({}).put(UP, {(): 1.0})
    with pytest.raises(ValueError, match="declared twice"):
        store.owner({}).put(gauge("probe_success", "Another."), {(): 1.0})


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: gauge("Probe", "x"), "is not a metric name"),
        (lambda: gauge("probe_x_total", "x"), "must not end in"),
        (lambda: counter("probe_x", "x"), "ends in _total"),
        (lambda: gauge("probe_x", "a\nb"), "one non-empty line"),
        (lambda: histogram("probe_x", "x", buckets=(2.0, 1.0)), "ascending"),
        (lambda: Histogram(UP), "is not a histogram"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(declare: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declare()


def test_forgotten_labels_leave_nothing_behind() -> None:
    """Labels that come and go, as pod names do, must not grow memory."""
    owner = Store().owner(BASE)
    for number in range(100):
        owner.publish({HEAP: {(str(number),): 1.0}})
    assert owner._shapes == {HEAP: (("99",),)}
    assert len(owner._store.render().splitlines()) == 3


def test_what_owners_have_alike_is_kept_once_and_not_for_ever() -> None:
    store = Store()
    owners = [store.owner({"target": str(number)}) for number in range(3)]
    for owner in owners:
        owner.publish({HEAP: {("heap",): 1.0, ("nonheap",): 2.0}})
    assert len({id(owner._shapes[HEAP]) for owner in owners}) == 1
    for number in range(60_000):
        store.shared((number,))
    assert len(store._shared) <= 50_000


@pytest.mark.parametrize("labels", [20, 400, 4000])
def test_labels_that_are_others_at_each_attempt_are_not_kept(labels: int) -> None:
    """As partitions that cannot be read, others each time: twenty thousand sets of them were kept, of any size."""
    store = Store()
    owner = store.owner({"target": "a"})
    tracemalloc.start()
    try:
        for attempt in range(150_000 // labels):
            owner.publish({HEAP: {(f"{attempt}-{number}",): 1.0 for number in range(labels)}})
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10 << 20


def test_labels_that_come_and_go_among_others_are_written_right() -> None:
    owner = Store().owner(BASE)
    steps: list[dict[tuple[str, ...], float]] = [
        {("a",): 1.0, ("b",): 2.0}, {("b",): 3.0, ("a",): 4.0}, {("c",): 5.0, ("b",): 6.0}, {("c",): 7.5}
    ]  # fmt: skip
    for values in steps:
        owner.publish({HEAP: values})
        found = [line.split(b'area="')[1] for line in owner._store.series_of(HEAP.name)]
        assert found == [b'%b"} %g' % (labels[0].encode(), value) for labels, value in values.items()]


def test_a_new_label_of_the_owner_is_on_all_its_series_and_on_no_other() -> None:
    store = Store()
    owner, other = store.owner({"service": "a", "probe": "p"}), store.owner({"service": "a", "probe": "p2"})
    odd = '{service="a",probe="p"}\n\r x'
    for each in (owner, other):
        each.publish({HEAP: {(odd,): 1.0, ("b",): 2.5}})
    owner.put(GETS, {("x",): 3.0})
    before = [line for line in store.render().split(b"\n") if b'probe="p2"' in line]
    owner.relabel({"service": "a", "probe": "p", "team": "t"})
    lines = [line for line in store.render().split(b"\n") if line and not line.startswith(b"#")]
    assert [line for line in lines if b'probe="p2"' in line] == before
    mine = [line for line in lines if line not in before]
    assert len(mine) == 3
    assert all(b'{service="a",probe="p",team="t"' in line for line in mine)
    assert [(labels, value) for _, labels, value in owner.published()] == [((odd,), 1.0), (("b",), 2.5)]
    owner.publish({HEAP: {("b",): 9.0}})
    assert b'team="t",area="b"} 9' in store.render()


def test_series_that_come_go_and_change_places_keep_their_values() -> None:
    """Lines are prepared for all series of a family together; a label may look like a place for a value."""
    store = Store()
    owner = store.owner(BASE)
    for names in (["%b", "%%", "b"], ["b", "%b"], ["new", "%b", "%d"], []):
        owner.publish({HEAP: {(name,): float(at) for at, name in enumerate(names)}})
        lines = [line.rpartition(b"} ") for line in store.series_of(HEAP.name)]
        assert [(head.rpartition(b'="')[2], value) for head, _, value in lines] == [
            (name.encode() + b'"', b"%d" % at) for at, name in enumerate(names)
        ]
