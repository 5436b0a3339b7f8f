"""The tests' own layout: groups stay together, nothing heavy is started by every worker, and no failure gets lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.side_by_side import GROUPS, HEAVY, rank

ROOT = Path(__file__).parents[1]

NOTES = """
import os, pytest

@pytest.mark.parametrize("number", range({count}))
def test_{name}(number, request):
    with open("{log}", "a") as log:
        print("{name}", os.environ.get("PYTEST_XDIST_WORKER"), file=log)

@pytest.mark.measures
def test_{name}_cost(): ...
"""


def layout(folder: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], list[tuple[str, str]]]:
    """Run a suite of two groups and 40 other tests; return what it said, and which test ran in which worker."""
    log = folder / "log"
    log.touch()
    for path, name, count in (
        ("demo/test_fleet.py", "demo", 7),
        ("demo/test_faults.py", "faults", 5),
        ("a/test_a.py", "a", 40),
    ):
        file = folder / "tests" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(NOTES.format(name=name, count=count, log=log))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = measures\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.side_by_side", "-p", "no:cacheprovider", *options, "tests"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        environment.pop(name, None)  # of the run that this test is in
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done, [(name, worker) for name, worker in map(str.split, log.read_text().splitlines())]


def test_a_group_stays_on_one_worker_and_the_rest_is_spread(tmp_path: Path) -> None:
    done, ran = layout(tmp_path, "-n", "2")
    assert "55 passed" in done.stdout, done.stdout + done.stderr
    workers = {name: {worker for other, worker in ran if other == name} for name in ("demo", "faults", "a")}
    assert {name: len(found) for name, found in workers.items()} == {"demo": 1, "faults": 1, "a": 2}
    assert workers["demo"] != workers["faults"]
    assert {next(name for name, other in ran if other == worker) for worker in ("gw0", "gw1")} == {"demo", "faults"}


@pytest.mark.parametrize(("choice", "passed"), [("without", 52), ("only", 3)])
def test_what_measures_can_be_left_out_or_run_alone(choice: str, passed: int, tmp_path: Path) -> None:
    done, _ = layout(tmp_path, f"--measuring={choice}")
    assert f" {passed} passed" in done.stdout, done.stdout + done.stderr


def test_a_heavy_fixture_outside_of_every_group_is_refused(tmp_path: Path) -> None:
    fixture = min(HEAVY)
    text = f"import pytest\n@pytest.fixture\ndef {fixture}(): ...\ndef test_it({fixture}): ...\n"
    (tmp_path / "test_it.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.side_by_side", "-p", "no:cacheprovider", "test_it.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"test_it.py::test_it uses {fixture}: put it in a group of tests/side_by_side.py" in done.stderr


def test_every_group_has_tests_and_the_long_come_before_the_short() -> None:
    for beginnings in GROUPS.values():
        assert all((ROOT / beginning).exists() for beginning in beginnings)
    names = ["tests/net/test_http.py::test_x", "tests/cli/test_check.py::test_x", "tests/conformance/test_meters.py::test_x"]
    assert sorted(names, key=rank) == names[::-1]


@pytest.mark.parametrize(
    ("measured", "others", "expected"),
    [
        (0, 0, 0),
        (1, 0, 1),
        (0, 1, 1),
        (5, 0, 0),
        (0, 5, 0),
        (5, 5, 5),
        (1, 5, 1),
        (5, 1, 1),
        (0, 3, 3),
        (2, 0, 2),
        (0, 2, 2),
    ],
)
def test_both_runs_count_and_one_without_tests_does_not(measured: int, others: int, expected: int, tmp_path: Path) -> None:
    """pytest's codes: 1 for failed tests, 2 for an interruption, 5 for no tests."""
    python = tmp_path / "python"
    codes = f'case "$*" in *--measuring=only*) exit {measured};; *) exit {others};; esac'
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/log\n{codes}\n')
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "WORKERS": "3", "TMPDIR": str(tmp_path)}
    done = subprocess.run([ROOT / "scripts" / "test", "-k", "a name"], env=environment, timeout=180, check=False)
    assert done.returncode == expected
    said = [line for line in (tmp_path / "log").read_text().splitlines() if "--last-failed" not in line]
    assert len(said) == (1 if measured == 2 else 2)
    assert all(line.endswith("-k a name") for line in said)


def test_a_failure_of_which_nothing_can_be_run_again_stays_one(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$*" in *--last-failed*) exit 5;; *--measuring=only*) exit 0;; *) exit 1;; esac\n')
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "WORKERS": "3", "TMPDIR": str(tmp_path)}
    assert subprocess.run([ROOT / "scripts" / "test"], env=environment, timeout=180, check=False).returncode == 1


FLAKY = """
import pathlib, pytest

def test_always_wrong():
    assert {right}

def test_right_when_alone(request):
    assert not hasattr(request.config, "workerinput")

{mark}
def test_right_the_second_time():
    been = pathlib.Path({been!r})
    before = been.exists()
    been.touch()
    assert before

def test_right(): ...
"""


@pytest.mark.parametrize(("right", "expected"), [(True, 0), (False, 1)])
@pytest.mark.parametrize("mark", ["", "@pytest.mark.measures"])
def test_what_failed_is_run_once_more_alone_and_counts_if_it_fails_again(
    right: bool, expected: int, mark: str, tmp_path: Path
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = measures\naddopts = -p tests.side_by_side\n")
    text = FLAKY.format(right=right, been=str(tmp_path / "been"), mark=mark)
    (tmp_path / "test_it.py").write_text(text if mark == "" else "import pytest\n" + text)
    environment = {**os.environ, "PYTHON": sys.executable, "WORKERS": "2", "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        environment.pop(name, None)
    script = [str(ROOT / "scripts" / "test"), "test_it.py"]
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == expected, done.stdout + done.stderr
    assert done.stdout.count("run once more, alone") == (2 if mark else 1)
    assert ("1 failed" in done.stdout.splitlines()[-1]) is not right
