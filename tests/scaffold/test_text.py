"""The file that is written: valid, every setting explained once, nothing in it that YAML or variables would change."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from exporter.config.document import parse_document
from exporter.config.errors import ConfigError
from exporter.scaffold.draft import Draft, Entry
from exporter.scaffold.text import checked, written


def draft() -> Draft:
    made = Draft("a test")
    made.add(
        "case", Entry({"instances": ["case-1:8084"], "probes": {"actuator": {"groups": ["liveness"]}}}, uses=("postgres",))
    )
    made.add(
        "case", Entry({"instances": ["case-2:8084"], "probes": {"actuator": {"groups": ["liveness"]}}}, uses=("postgres",))
    )
    login = {"user": "monitor", "database": "app", "password_file": "secrets/postgres-password"}
    made.add("postgres", Entry({"instances": ["db:5432"], "probes": {"postgres": login}}, ["A remark."]))
    made.connect()
    return made


def text_of(made: Draft) -> str:
    return written(made, "exporter.yml", listen="127.0.0.1:9818")


def test_it_is_valid_and_says_what_was_meant() -> None:
    config = checked(text_of(draft()), "exporter.yml")
    case = config.services["case"]
    assert [str(each) for each in case.instances.static] == ["case-1:8084", "case-2:8084"]
    assert case.depends_on == ("postgres",)
    assert config.dependencies["postgres"].probe_settings["postgres"].timeout == 5


def test_each_setting_is_explained_where_it_comes_first() -> None:
    lines = text_of(draft()).splitlines()
    known: set[str] = set()
    for number, line in enumerate(lines):
        key = re.match(r" *([a-z_]+):", line)
        if key is None or key[1] in known or key[1] in ("server", "defaults", "case", "postgres"):
            continue
        known.add(key[1])
        assert lines[number - 1].lstrip().startswith("# ") or " # " in line, line
    assert {"instances", "probes", "groups", "user", "password_file", "depends_on", "interval"} <= known
    assert "  # A remark." in lines
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize("name", ["on", "null", "123", "010", "2026-01-01", "true", "y"])
def test_a_name_is_text_for_whoever_reads_the_file(name: str) -> None:
    made = Draft("somewhere")
    made.add(name, Entry({"instances": ["a:1"], "probes": {"actuator": {}}}))
    assert list(yaml.safe_load(text_of(made))["services"]) == [name]
    assert list(checked(text_of(made), "x.yml").services) == [name]


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028", "\u2029"])
def test_what_others_say_ends_no_comment(end: str) -> None:
    foreign = f"x{end}services: {{}}{end}\x1b[2J"
    made = Draft(foreign, remarks=[foreign])
    made.add("case", Entry({"instances": ["a:1"], "probes": {"actuator": {}}}, [foreign]))
    text = written(made, f"a{end}services: {{}}.yml", listen="127.0.0.1:9818")
    assert list(checked(text, "x.yml").services) == ["case"]
    assert text.replace("\n", "").isprintable()


def test_where_it_listens_is_one_value() -> None:
    made = Draft("somewhere")
    made.add("case", Entry({"instances": ["a:1"], "probes": {"actuator": {}}}))
    text = written(made, "x.yml", listen="127.0.0.1:1\nlogging: {level: debug}")
    with pytest.raises(ConfigError, match=r"server\.listen: expected host:port"):
        checked(text, "x.yml")


def test_what_nothing_probes_is_told_with_what_to_type() -> None:
    made = draft()
    made.services["case"].uses = ("postgres", "redis", "kafka")
    text = " ".join(text_of(made).replace("# ", "").split())
    assert "case uses redis, which nothing here probes" in text
    assert "config init … kafka://host:9092" in text
    assert made.missing() == {"redis": ["case"], "kafka": ["case"]}


@pytest.mark.parametrize("value", ["a${HOME}b", "yes", "1.0", "a: b", "x, y", "[z]", "'", '"', "# no", "ä", "null", "{}"])
def test_a_value_comes_back_as_it_was(value: str) -> None:
    made = draft()
    login: dict[str, Any] = made.dependencies["postgres"].settings["probes"]["postgres"]
    login["user"] = value
    found = parse_document(text_of(made), "exporter.yml", {"HOME": "wrong"}).value
    assert found["dependencies"]["postgres"]["probes"]["postgres"]["user"] == value


def test_the_limits_that_are_shown_are_those_of_the_code_and_valid() -> None:
    lines = text_of(draft()).splitlines()
    first = lines.index(next(line for line in lines if line.startswith("  # thresholds:")))
    for number in range(first, len(lines)):
        if not lines[number].startswith("  #"):
            break
        lines[number] = lines[number].replace("  # ", "  ", 1).replace("  #   ", "    ", 1)
    text = "\n".join(lines)
    assert yaml.safe_load(text)["defaults"]["thresholds"]["heap_ratio"] == 0.9
    assert checked(text, "exporter.yml").services["case"].limits == checked(text_of(draft()), "x").services["case"].limits
