"""Whatever a file holds, the loader answers with a configuration or with errors that have a place, within bounded time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.config.document import MAX_BYTES, parse_document
from exporter.config.errors import ConfigError, Problem
from exporter.config.loader import MOST_TOLD, load, validate
from exporter.config.models import Config
from tests.config.whole import WHOLE

PROBED = "services: {a: {instances: [h:1], probes: {redis: {interval: VALUE}}}}"


def refused(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        validate(parse_document(text, "exporter.yml", {}))
    problems: tuple[Problem, ...] = caught.value.problems
    assert problems
    assert all(problem.line >= 1 and problem.message for problem in problems)
    return problems


def file_refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    [problem] = caught.value.problems
    return str(problem).removeprefix(str(path))


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of this thread that something takes."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


# Files.


def test_a_directory_is_not_read(tmp_path: Path) -> None:
    assert file_refused(tmp_path) == ": cannot be read: Is a directory"


def test_want_of_memory_is_told_and_is_no_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_regular(_path: Path, _most: int) -> bytes:
        raise MemoryError

    monkeypatch.setattr("exporter.config.document.read_regular", read_regular)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "exporter.yml", {})
    assert str(caught.value).endswith("exporter.yml: cannot be read: the exporter has no memory left")
    assert not caught.value.unforeseen


async def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "exporter.yml"
    os.mkfifo(pipe)
    async with asyncio.timeout(5):
        assert await asyncio.to_thread(file_refused, pipe) == ": cannot be read: it is not a regular file"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_not_read(device: str) -> None:
    assert file_refused(Path(device)) == ": cannot be read: it is not a regular file"


def test_a_path_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert file_refused(file / "exporter.yml") == ": cannot be read: Not a directory"
    assert file_refused(tmp_path / ("x" * 5000)) == ": cannot be read: File name too long"
    assert file_refused(Path("exporter\0.yml")) == ": cannot be read: it is not a path"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "symbolic links" in file_refused(loop)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"services:\n  a\xff: x", ":2:4: is not UTF-8 text"),
        ("# ü\nb: ü".encode() + b"\xc3", ":2:5: is not UTF-8 text"),
        (b"services: {}\nx: a\0b", ":2:5: is not YAML: has a character that text cannot have"),
        (b"\x7fELF\x02\x01\x01\0", ":1:1: is not YAML: has a character that text cannot have"),
        ("services: {}".encode("utf-16"), ":1:1: is not UTF-8 text"),
        (b"", ":1:1: is empty; expected a mapping with the key services"),
        (b"# nothing\n", ":1:1: is empty; expected a mapping with the key services"),
        (b"a: 1\n---\nb: 2\n", ":2:1: is not YAML: but found another document"),
        (b"x" * (MAX_BYTES + 1), f": is larger than {MAX_BYTES} bytes"),
    ],
)
def test_bytes_that_are_no_text_have_a_place(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "exporter.yml"
    path.write_bytes(content)
    assert file_refused(path) == told


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "exporter.yml"
    path.write_text(yaml.safe_dump(WHOLE), "utf-8-sig")
    assert load(path, {}).services


def test_a_defect_of_the_loader_is_an_error_and_quotes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("hunter" + "2".strip())

    monkeypatch.setattr("exporter.config.loader.read_document", fail)
    assert file_refused(tmp_path / "x") == ": cannot be read: unexpected LookupError; see the log"
    assert "in fail" in caplog.text
    assert "hunter2" not in caplog.text


# Texts.


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &c\nservices: {<<: *c}", "exporter.yml:2:12: services: << merges a mapping, or a list of mappings"),
        ("a: &c x\nservices: {<<: *c}", "exporter.yml:2:12: services: << merges a mapping, or a list of mappings"),
        ("services: {<<: [{}, [x]]}", "exporter.yml:1:12: services: << merges a mapping, or a list of mappings"),
        ("<<: 1", "exporter.yml:1:1: << merges a mapping, or a list of mappings"),
        ("services: !!int ''", "exporter.yml:1:11: services: is not a valid int"),
        ("services: !!bool foo", "exporter.yml:1:11: services: is not a valid bool"),
        ("services: !!float foo", "exporter.yml:1:11: services: is not a valid float"),
        ("services: !!timestamp foo", "exporter.yml:1:11: services: has a tag; none is used here"),
        ("services: !!binary '%'", "exporter.yml:1:11: services: has a tag; none is used here"),
        ("services: !!python/name:os.system x", "exporter.yml:1:11: services: has a tag; none is used here"),
        ("services: !!set {a, b}", "exporter.yml:1:11: services: has a tag; none is used here"),
        ("services: {a: !x {}}", "exporter.yml:1:15: services.a: has a tag; none is used here"),
        ("? [a]\n: b", "exporter.yml:1:3: has a key that is not a plain word"),
        ("&a [*a]", "exporter.yml:1:1: is nested or repeated too much"),
        ("&a {b: *a}", "exporter.yml:1:1: is nested or repeated too much"),
        ("&a {<<: *a}", "exporter.yml:1:1: is nested or repeated too much"),
        ("&a {<<: [*a, *a]}", "exporter.yml:1:1: is nested or repeated too much"),
        ("a: *bc", "exporter.yml:1:4: is not YAML: found undefined alias …"),
        ('a: "\\U00110000"', "exporter.yml:1:7: is not YAML: has a number that is none of a character or a version"),
        ('a: "\\UFFFFFFFF"', "exporter.yml:1:7: is not YAML: has a number that is none of a character or a version"),
        (f"%YAML 1.{'1' * 5_000}\n---\na: b", "exporter.yml:1:9: is not YAML: has a number that is none of a character"),
    ],
)
def test_yaml_that_nobody_means_is_refused(text: str, told: str) -> None:
    assert any(str(problem).startswith(told) for problem in refused(text)), refused(text)


@pytest.mark.parametrize(
    "value",
    [
        "1" + ":59" * 20_000, "9" * 100_000, "9" * 400, "-" + "9" * 400, "1e400", ".inf", "-.inf", ".nan",
        "0x" + "f" * 5_000, "0b" + "1" * 50_000, "0x_", "0" * 30 + "h", "9" * 400 + "s", "1e309", "٣s", "1" + "_" * 50_000,
        "[]", "''", "2026-01-31", "2001-12-14t21:59:43.10+99:99",
    ],
    ids=lambda value: value[:12],
)  # fmt: skip
@pytest.mark.parametrize("key", ["interval: VALUE", "confirm: {failures: VALUE}", "labels: {tier: [VALUE]}", "tls: VALUE"])
def test_numbers_that_are_none_are_refused_where_they_stand(key: str, value: str) -> None:
    problems = refused(PROBED.replace("interval: VALUE", key.replace("VALUE", value)))
    assert {problem.key.partition(".probes.redis.")[2].partition(".")[0] for problem in problems} == {key.partition(":")[0]}
    assert all(len(problem.message) < 200 for problem in problems)


@pytest.mark.parametrize(
    "name",
    [
        "ü" * 60 + ".example",
        "a" * 64 + ".svc",
        "a..b",
        ".",
        "",
        "-a.b",
        "a b",
        "a\u0000b",
        "xn--" + "ü" * 30,
        "a/b",
        "a.b:",
        "١.example",
    ],
)
def test_a_name_that_cannot_be_looked_up_is_refused(name: str) -> None:
    quoted = yaml.safe_dump(name, default_style='"').strip()
    [problem] = refused(f"services: {{a: {{instances: {{dns: {quoted}, port: 1}}, probes: {{tls: }}}}}}")
    assert str(problem).startswith("exporter.yml:1:28: services.a.instances.dns: expected a DNS name")
    [problem] = refused(f"services: {{a: {{instances: [{quoted}], probes: {{tls: }}}}}}")
    assert problem.message.startswith("expected host:port")


@pytest.mark.parametrize("name", ["identity.svc.", "a" * 63 + ".svc", "10.0.0.1", "xn--bcher-kva.example", "_redis._tcp.x"])
def test_a_name_that_can_be_looked_up_is_taken(name: str) -> None:
    config = validate(
        parse_document(f"services: {{a: {{instances: {{dns: {name}, port: 1}}, probes: {{tls: }}}}}}", "x", {})
    )
    assert config.services["a"].instances.dns == name


def test_what_a_library_raises_has_a_place_too() -> None:
    """The regular expressions of Python raise OverflowError here."""
    text = (
        "services:\n  a:\n    instances: [h:1]\n    probes:\n      kafka:\n        groups: {include: ['a{1,99999999999}']}"
    )
    [problem] = refused(text)
    assert str(problem) == "exporter.yml:6:9: services.a.probes.kafka.groups: cannot be used: OverflowError"


# Amounts.


def many(count: int, line: str) -> str:
    return "\n".join(line.replace("N", str(n)) for n in range(count))


@pytest.mark.parametrize(
    "text",
    [
        lambda count: many(count, "keyN: valueN"),
        lambda count: many(count, "key: N"),
        lambda count: "services:\n" + many(count, "  sN: x"),
        lambda count: "services:\n" + many(count, "  s: x"),
        lambda count: (
            "services:\n  a:\n    instances: [h:1]\n    probes: {tls: }\n    labels:\n" + many(count, "      xN: N")
        ),
        lambda count: (
            "services:\n  a:\n    instances: [h:1]\n    probes: {tls: }\n    depends_on:\n" + many(count, "    - sN")
        ),
        lambda count: "services:\n  a:\n    probes: {tls: }\n    instances:\n" + many(count, "    - hN:x"),
        lambda count: "a: &a {" + many(count, "keyN: N,") + "}\nb: {<<: *a}",
        lambda count: "a: &a {x: 1}\nservices: {" + many(count, "<<: *a,") + "}",
    ],
)
def test_twice_as_much_takes_twice_as_long(text: Callable[[int], str]) -> None:
    """60,000 keys in one mapping took more than 25 s."""
    small, large = text(4_000), text(32_000)
    few = min(cpu(lambda: refused(small)) for _ in range(2))
    assert cpu(lambda: refused(large)) < 8 * 3 * few


def test_thousands_of_errors_are_told_up_to_a_number() -> None:
    problems = refused(many(60_000, "keyN: valueN"))
    assert len(problems) == MOST_TOLD + 1
    assert str(problems[-1]) == f"exporter.yml:{MOST_TOLD + 1}:1: {60_000 - MOST_TOLD} more, here and below"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "{a: " * 200_000,
        "- " * 200_000,
        "? " * 200_000,
        "!!seq " * 200_000,
        "[" * 200_000 + "]" * 200_000,
        "- \n" * 400_000,
        "a: &a [x]\n" + "\n".join(f"b{n}: &b{n} [{','.join([f'*b{n - 1}' if n else '*a'] * 9)}]" for n in range(12)),
        "a: &a {x: 1}\n"
        + "\n".join(f"b{n}: &b{n} {{<<: [{','.join([f'*b{n - 1}' if n else '*a'] * 9)}]}}" for n in range(12)),
        "a: &a {x: 1}\n"
        + "\n".join(f"b{n}: &b{n} {{<<: *b{n - 1}, y{n}: *b{n - 1}}}" if n else "b0: &b0 {<<: *a}" for n in range(60)),
        "services: {" + "a: 1, " * 120_000 + "}",
        "a" * 4_000_000 + ": 1",
        "a: " + "${X:-" * 500_000,
        'a: "' + "\\u0041" * 300_000 + '"',
        "a: |\n" + " x\n" * 300_000,
    ],
    ids=lambda text: text[:12],
)
def test_what_is_made_to_take_long_does_not(text: str) -> None:
    """Not much longer than a plain file of the greatest size."""
    plain = "a: |\n" + (" " + "x" * 98 + "\n") * (MAX_BYTES // 100)
    measure = max(cpu(lambda: refused(plain)), 0.5)
    assert cpu(lambda: refused(text)) < 30 * measure


# Anything.

PIECES = st.sampled_from(
    [
        "services", "defaults", "probes", "actuator", "labels", "a", "instances", "auth", "bearer", ": ", ":", "- ", "\n",
        "\n  ", "\n    ", "{", "}", "[", "]", ", ", "&a ", "*a", "<<: *a", "<<", "!!int ", "!!bool ", "!!timestamp ",
        "!!binary ", "!x ", "'", '"', "|", ">", "#", "%", "@", "`", "?", "---", "...", "${", "}", "${A}", "~", "1:59", "0x",
        "0x_", "1e5", ".nan", "=", "\t", "\x00", "\ufeff", "ü", "\u2028", "😀", "\ud800", "\\", "yes", "null", "2026-99-99",
        "[h:1]",
    ]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join))
@example("\ud800")
@settings(deadline=2_000, max_examples=400)
def test_any_text_is_a_configuration_or_errors_with_places(text: str) -> None:
    answer: Config | ConfigError
    try:
        answer = validate(parse_document(text, "exporter.yml", {"A": "b: c"}))
    except ConfigError as error:
        answer = error
    if isinstance(answer, ConfigError):
        assert answer.problems
        assert all(problem.line >= 1 and problem.message for problem in answer.problems)


@given(st.binary(max_size=200), st.integers(0, 2_000))
@settings(deadline=2_000, max_examples=200)
def test_any_damage_to_a_good_file_is_answered(damage: bytes, where: int) -> None:
    good = yaml.safe_dump(WHOLE).encode()
    text = (good[:where] + damage + good[where:]).decode("utf-8", "replace")
    try:
        assert validate(parse_document(text, "exporter.yml", {})) is not None
    except ConfigError as error:
        assert str(error)  # noqa: PT017 - either is right


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3))
@settings(max_examples=50)
def test_any_environment_is_put_in(environment: dict[str, str]) -> None:
    text = "services: {a: {instances: ['${A:-h}:1'], labels: {x: '${B:-}'}, probes: {redis: {password: '${C:-p}'}}}}"
    try:
        assert validate(parse_document(text, "exporter.yml", {**environment, "C": "\udcff"})) is not None
    except ConfigError as error:
        assert str(error)  # noqa: PT017 - either is right
