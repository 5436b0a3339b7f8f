"""The reader of Prometheus text, held against prometheus_client's."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.clients.spring.prometheus_text import Summed, parse
from exporter.verdict import Failure, Reason, Stage

LABELS = ("area", "pool", "uri")
WANTED = {"jvm_x_bytes": LABELS, "http_x_total": LABELS, "plain": LABELS}


def one(line: bytes, labels: tuple[str, ...] = LABELS) -> tuple[tuple[str, ...], float]:
    """Read the only sample of `x`."""
    found = parse(line, {"x": labels})
    assert found.malformed == 0
    (sample,) = found.samples["x"]
    return sample


def test_only_wanted_names_are_read() -> None:
    body = b"# HELP a A\n# TYPE a gauge\na 1\nab 2\n\nb{} 3\na_total 4\nc 5"
    found = parse(body, {"a": (), "b": (), "nowhere": ()})
    assert found.samples == {"a": [((), 1.0)], "b": [((), 3.0)], "nowhere": []}
    assert found.malformed == 0


def test_wanted_labels_come_in_the_order_asked_for_and_absent_ones_empty() -> None:
    assert one(b'x{uri="/a",other="o",area="heap"} 1') == (("heap", "", "/a"), 1.0)
    assert one(b"x 1") == (("", "", ""), 1.0)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (rb"a\\b", "a\\b"),
        (rb"a\"b", 'a"b'),
        (rb"a\nb", "a\nb"),
        (rb"\\n", "\\n"),
        (rb"\\\"", '\\"'),
        (rb"\x", "\\x"),
        (b"{}", "{}"),
        (b"}, 5", "}, 5"),
        (b"a,b=c", "a,b=c"),
        ("ä€".encode(), "ä€"),
        (b"\xff", "\ufffd"),
        (b"", ""),
    ],
)
@pytest.mark.parametrize("escape", [b"", b'other="\\\\",'])
def test_label_values_are_read_whatever_is_in_them(written: bytes, value: str, escape: bytes) -> None:
    assert one(b"x{" + escape + b'area="' + written + b'",uri="/"} 1') == ((value, "", "/"), 1.0)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"x 1.5E7", 1.5e7),
        (b"x +Inf", math.inf),
        (b"x -Inf", -math.inf),
        (b"x 0", 0.0),
        (b"x 1 1395066363000", 1.0),
        (b"x{} 1 -5", 1.0),
        (b" \tx\t 1 \r", 1.0),
        (b'x { area = "heap" , } 1', 1.0),
        (b'x{area="heap",}1', 1.0),
    ],
)
def test_values_and_blanks(line: bytes, value: float) -> None:
    assert one(line)[1] == value


def test_not_a_number_is_a_value() -> None:
    assert math.isnan(one(b"x NaN")[1])


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b"x{} ",
        b"x one",
        b"x 1_000",
        b"x 1 2 3",
        b"x 1 soon",
        b"x one 5",
        b"x{ 1",
        b'x{area="heap 1',
        b'x{area="heap" 1',
        b'x{area="heap"uri="/"} 1',
        b"x{area=heap} 1",
        b'x{"} 1',
        b"x{area} 1",
        b'x{1a="b"} 1',
        b"x{,} 1",
        b'x{area="a"} } 1',
        b'x{area="a\\"} 1',
        b'x{area="a\\\\",uri} 1',
        b'x{area="heap"} 1 # {trace_id="a"} 1',
    ],
)
def test_a_malformed_line_is_skipped_and_counted(line: bytes) -> None:
    found = parse(line + b'\nx{area="ok"} 2', {"x": ("area",)})
    assert found.samples["x"] == [(("ok",), 2.0)]
    assert found.malformed == 1


@pytest.mark.parametrize("after", [b"", b'\nx{le="5"} 6'], ids=["last", "amid"])
@pytest.mark.parametrize("odd", [b'x{le="3"4} 8', b'x{le="3"4} 0', b'x{le="} 3"8'])
def test_a_bucket_whose_parts_are_in_another_order_is_malformed_like_any_line(odd: bytes, after: bytes) -> None:
    found = parse(b'x{le="1"} 1\nx{le="2"} 2\n' + odd + after, {"x": Summed(("le",))})
    assert dict(found.samples["x"]) == {("1",): 1.0, ("2",): 2.0} | ({("5",): 6.0} if after else {})
    assert found.malformed == 1


def test_limits_refuse_an_answer_that_is_too_large() -> None:
    for body, limits in ((b"\n" * 10, {"max_lines": 10}), (b"x 1\n" * 6, {"max_samples": 5})):
        with pytest.raises(Failure) as caught:
            parse(body, {"x": ()}, **limits)
        assert (caught.value.stage, caught.value.reason) == (Stage.CHECK, Reason.TOO_LARGE)
    assert len(parse(b"x 1\n" * 5, {"x": ()}, max_samples=5, max_lines=6).samples["x"]) == 5


@pytest.mark.measures
@pytest.mark.parametrize("wanted", ["tomcat_x", "http_server_requests_seconds_bucket"])
def test_a_megabyte_is_read_in_a_fraction_of_the_time_that_the_usual_parser_takes(wanted: str) -> None:
    """Also where nearly all lines are wanted, which costs most; both are measured in one run, since machines differ."""
    labels = 'application="a",error="none",method="GET",outcome="SUCCESS",uri="/{}",le="{}"'
    line = "http_server_requests_seconds_bucket{{" + labels + "}} 17"
    body = "\n".join(line.format(n // 70, n % 70) for n in range(9_000)).encode()
    times = []
    tracing = sys.gettrace()
    sys.settrace(None)  # coverage's tracer would be measured with it
    try:
        for _ in range(5):
            started = time.thread_time()
            parse(body, {wanted: ("le",)})
            times.append(time.thread_time() - started)
        started = time.thread_time()
        assert sum(1 for _ in text_string_to_metric_families(body.decode())) > 1
        usual = time.thread_time() - started
    finally:
        sys.settrace(tracing)
    assert min(times) < usual / 8


names = st.sampled_from([*WANTED, "unwanted_total"])
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=12) | st.sampled_from(
    ['"', "\\", "\n", "}", "{", ",", '="', "\\n", '\\"', "heap"]
)
numbers = st.floats() | st.integers(-(10**6), 10**6).map(float)
series = st.tuples(names, st.dictionaries(st.sampled_from([*LABELS, "le"]), text, max_size=4), numbers)


def escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def written(name: str, labels: dict[str, str], value: float) -> str:
    block = ",".join(f'{key}="{escaped(item)}"' for key, item in labels.items())
    number = "NaN" if math.isnan(value) else repr(value).replace("inf", "Inf")
    return f"{name}{{{block}}} {number}" if labels else f"{name} {number}"


def known(samples: list[tuple[str, tuple[str, ...], float]]) -> Counter[tuple[str, tuple[str, ...], str]]:
    return Counter((name, labels, repr(value)) for name, labels, value in samples)


@settings(max_examples=300)
@given(st.lists(series, max_size=15))
def test_it_agrees_with_prometheus_client(lines: list[tuple[str, dict[str, str], float]]) -> None:
    body = "".join(written(*line) + "\n" for line in lines)
    found = parse(body.encode(), WANTED)
    assert found.malformed == 0
    ours = [(name, labels, value) for name, samples in found.samples.items() for labels, value in samples]
    theirs = [
        (sample.name, tuple(sample.labels.get(label, "") for label in LABELS), sample.value)
        for family in text_string_to_metric_families(body)
        for sample in family.samples
        if sample.name in WANTED
    ]
    assert known(ours) == known(theirs)


@settings(max_examples=300)
@given(st.lists(series, min_size=1, max_size=3), st.data())
def test_a_damaged_answer_is_skipped_not_fatal(lines: list[tuple[str, dict[str, str], float]], data: st.DataObject) -> None:
    """And what is read of a line is never something that was not written in it."""
    body = "".join(written(*line) + "\n" for line in lines).encode()
    at = data.draw(st.integers(0, len(body) - 1))
    damaged = body[:at] + data.draw(st.binary(max_size=3)) + body[at + data.draw(st.integers(0, 3)) :]
    found = parse(damaged, WANTED)
    assert sum(map(len, found.samples.values())) + found.malformed <= damaged.count(b"\n") + 1


@given(st.binary(max_size=300).map(lambda junk: b"plain{" + junk))
def test_any_bytes_are_survived(body: bytes) -> None:
    parse(body, WANTED)
