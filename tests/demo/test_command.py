"""What `hafnium-exporter demo` says to a person before anything starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporter", "demo", "--state", str(folder / "state"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "thesis.txt").write_text("years of work")
    done = demo(tmp_path, "--ports", "free")
    assert done.returncode == 3
    assert "holds other files" in done.stderr
    assert (tmp_path / "state" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--fault", "db-dwon"], "did you mean db-down?"), (["--duration", "soon"], "expected a duration")],
)
def test_bad_usage_says_what_to_do(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = demo(tmp_path, *arguments)
    assert done.returncode == 3
    assert message in done.stderr
    assert not (tmp_path / "state").exists()


def test_the_list_of_faults_is_for_people(tmp_path: Path) -> None:
    done = demo(tmp_path, "--list-faults")
    assert done.returncode == 0
    assert "db-down " in done.stdout
    assert "service-slow[:SERVICE]" in done.stdout
