"""Every target, in short: its corpus, some thousand inputs; that what is planted is found; and that no parser is without."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter import clients
from fuzz.__main__ import BEGIN, END, main, write_table
from fuzz.model import Finding, Target, checked, run_one
from fuzz.registry import READS_NOTHING, TARGETS
from fuzz.runs import CORPUS, Budget, Outcome, corpus_of, fuzz
from tests.fuzz import planted

SHORT = Budget(seconds=1, runs=2_000)
MAX_CORPUS = 200_000


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_the_corpus_shows_nothing(target: Target) -> None:
    inputs = corpus_of(target.name)
    assert inputs
    for path in inputs:
        run_one(target, path.read_bytes())


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_some_thousand_inputs_show_nothing(target: Target, tmp_path: Path) -> None:
    outcome = fuzz(target, SHORT, tmp_path)
    assert not outcome.said, f"{outcome.said}\nThe input: {outcome.file and outcome.file.read_bytes()!r}"
    assert outcome.inputs > len(corpus_of(target.name))
    assert outcome.coverage > 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "KeyError: 'status'"),
        ("hangs", "s of CPU time, three times over"),
        ("grows", "an output of more than 100000"),
        ("surrogates", "a text that UTF-8 cannot carry"),
        ("swallows", "out-of-memory"),
    ],
)
def test_a_planted_defect_is_found_with_its_input(name: str, said: str, tmp_path: Path) -> None:
    target = next(each for each in planted.TARGETS if each.name == name)
    outcome = fuzz(target, Budget(runs=200_000), tmp_path)
    assert said in outcome.said
    assert outcome.file is not None
    if name not in ("swallows", "hangs"):
        with pytest.raises((Finding, KeyError)):
            run_one(target, outcome.file.read_bytes())


def test_a_parser_that_is_imported_by_its_first_use_is_covered(tmp_path: Path) -> None:
    target = next(each for each in planted.TARGETS if each.name == "late")
    assert fuzz(target, Budget(runs=1000), tmp_path).coverage > 1


def test_a_finding_ends_the_command_with_1_and_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = tmp_path / "resp-crash-1"
    monkeypatch.setattr("fuzz.__main__.fuzz", lambda target, **_: Outcome(target.name, 7, 1.0, 3, "KeyError: 'x'", found))
    result = CliRunner().invoke(main, ["resp", "--runs", "7"])
    assert result.exit_code == 1
    assert str(found) in result.output
    assert "KeyError" in result.output


def test_a_clean_run_ends_with_0(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["kafka-codes", "--runs", "500", "--work", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "none" in result.output


def test_a_target_that_there_is_not_is_an_error_of_use() -> None:
    result = CliRunner().invoke(main, ["nosuch"])
    assert result.exit_code == 2
    assert "nosuch" in result.output


def test_a_file_is_replayed(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"+OK\r\n")
    assert CliRunner().invoke(main, ["resp", "--replay", str(file)]).exit_code == 0


def test_the_table_keeps_rows_of_what_was_not_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    write_table(page, [Outcome("resp", 1_000, 2.0, 50), Outcome("health", 10, 1.0, 5)])
    write_table(page, [Outcome("health", 30, 1.0, 5)])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| `resp` | 1,000 | 500 | 50 | none |" in text
    assert "| `health` | 30 | 30 | 5 | none |" in text
    assert "| 10 |" not in text


def test_inputs_of_earlier_runs_are_added_where_that_is_asked_for_and_they_found_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    write_table(page, [Outcome("resp", 748_978, 2.0, 50), Outcome("health", 10, 1.0, 5, "a finding")], more=True)
    write_table(page, [Outcome("resp", 251_100, 2.0, 60), Outcome("health", 30, 1.0, 6)], more=True)
    text = page.read_text()
    assert "| `resp` | 1,000,078 | 125,550 | 60 | none |" in text
    assert "| `health` | 30 | 30 | 6 | none |" in text


def test_every_module_of_the_clients_has_a_target_or_a_reason() -> None:
    modules = {found.name for found in pkgutil.walk_packages(clients.__path__, "exporter.clients.") if not found.ispkg}
    covered = {module for target in TARGETS.values() for module in target.covers}
    assert modules - covered - READS_NOTHING.keys() == set()
    assert not READS_NOTHING.keys() & covered
    assert READS_NOTHING.keys() <= modules
    for module in covered:
        importlib.import_module(module)


def test_corpora_are_small_and_each_is_of_a_target() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_CORPUS
    assert {path.parent.name for path in files} == TARGETS.keys()


@pytest.mark.parametrize("output", ["\ud800", ["x"] * 1_000_001, {"a": {"b": "x" * 1_000_001}}])
def test_what_is_not_bounded_or_cannot_be_written_is_a_finding(output: object) -> None:
    with pytest.raises(Finding):
        checked(output)
