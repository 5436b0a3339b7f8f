"""The release command, in a copy of the repository that has a history of its own."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from house.release import Changelog, released, with_version
from tests.house.copies import ROOT, copied

LOG = """# Changelog

## Unreleased

### Added

- A thing.

## 0.1.0 - 2026-01-01

- The first.
"""


def test_what_is_not_released_becomes_a_release() -> None:
    text = released(LOG, "0.2.0", "2026-12-01")
    assert (
        "## Unreleased\n\n## 0.2.0 - 2026-12-01\n\n### Added\n\n- A thing.\n\n## 0.1.0 - 2026-01-01\n\n- The first.\n"
        in text
    )
    with pytest.raises(ValueError, match="no change"):
        Changelog.of(text)


def test_a_first_release_has_none_after_it() -> None:
    first = LOG.partition("\n## 0.1.0")[0]
    assert released(first, "0.1.0", "2026-12-01").endswith("## 0.1.0 - 2026-12-01\n\n### Added\n\n- A thing.\n")


def test_the_version_is_replaced_where_it_is() -> None:
    text = '[project]\nname = "x"\nversion = "1.0.0"\n[tool.x]\ntarget-version = "py311"\n'
    assert with_version(text, "1.1.0") == text.replace("1.0.0", "1.1.0")
    with pytest.raises(ValueError, match="one line"):
        with_version("[project]", "1.1.0")


class Repository:
    """A copy of the repository under version control, whose `make` notes what it was asked for, and makes the wheel."""

    def __init__(self, folder: Path) -> None:
        self.folder = copied(folder)
        self.calls = folder / "calls"
        tools = folder / "tools"
        tools.mkdir()
        self.make = tools / "make"
        self.make_exits(0)
        self._environment = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
            **{f"GIT_{who}_{what}": "a@b.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        self.git("init", "--quiet", "--initial-branch=main")
        (self.folder / ".gitignore").write_text("/dist/\n__pycache__/\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "All of it")

    def make_exits(self, code: int) -> None:
        """Have `make` end with a code from now on."""
        wheel = f'[ "$1" = dist ] && exec {sys.executable} -m shipping.wheel dist'
        self.make.write_text(f'#!/bin/sh\necho "$@" >> {self.calls}\n{wheel}\nexit {code}\n')
        self.make.chmod(self.make.stat().st_mode | stat.S_IXUSR)

    def git(self, *arguments: str) -> str:
        """Run git in it."""
        return self._run("git", *arguments).stdout

    def release(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command in it."""
        return self._run(sys.executable, "-m", "house.release", *arguments, check=False)

    def _run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, check=check, timeout=300
        )

    def state(self) -> tuple[str, str, str]:
        """Return its commits, tags and what is not committed."""
        return self.git("log", "--format=%H"), self.git("tag"), self.git("status", "--porcelain")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("release"))


def test_it_says_what_it_would_do_and_does_nothing(repository: Repository) -> None:
    before = repository.state()
    told = repository.release("9.8.7")
    assert told.returncode == 0, told.stderr
    assert "→ 9.8.7" in told.stdout
    assert Changelog.of((ROOT / "CHANGELOG.md").read_text("utf-8")).changes in told.stdout
    assert repository.state() == before
    assert not repository.calls.exists()


@pytest.mark.parametrize(
    ("version", "why"),
    [("9.8", "not a version"), ("v9.8.7", "not a version"), ("09.1.0", "not a version"), ("0.0.1", "comes before")],
)
def test_a_wrong_version_is_refused(version: str, why: str, repository: Repository) -> None:
    told = repository.release(version, "--really")
    assert (told.returncode, why in told.stderr) == (1, True)


def test_all_that_is_in_the_way_is_told_at_once(repository: Repository) -> None:
    repository.git("tag", "v9.0.0")
    repository.git("switch", "--quiet", "--create", "other")
    (repository.folder / "new.txt").write_text("new")
    try:
        told = repository.release("9.0.0", "--really").stderr
        assert all(part in told for part in ("v9.0.0 is there already", "the branch is other", "not clean", "new.txt"))
    finally:
        (repository.folder / "new.txt").unlink()
        repository.git("switch", "--quiet", "main")


def test_a_check_that_fails_leaves_everything_as_it_was(repository: Repository) -> None:
    before = repository.state()
    repository.make_exits(1)
    try:
        told = repository.release("9.8.7", "--really")
    finally:
        repository.make_exits(0)
    assert told.returncode == 1
    assert "Nothing was released" in told.stderr
    assert repository.state() == before


def test_a_release(repository: Repository) -> None:
    repository.calls.unlink(missing_ok=True)
    told = repository.release("9.8.7", "--really")
    assert told.returncode == 0, told.stderr
    assert repository.calls.read_text().split("\n")[:3] == ["generate", "check", "dist"]
    assert repository.git("log", "-1", "--format=%s").strip() == "Release 9.8.7"
    assert sorted(repository.git("show", "--format=", "--name-only", "HEAD").split()) == ["CHANGELOG.md", "pyproject.toml"]
    assert repository.git("rev-parse", "v9.8.7^{commit}") == repository.git("rev-parse", "HEAD")
    assert repository.git("status", "--porcelain") == ""
    assert "## 9.8.7 - " in (repository.folder / "CHANGELOG.md").read_text("utf-8")
    with zipfile.ZipFile(repository.folder / "dist" / "hafnium_exporter-9.8.7-py3-none-any.whl") as wheel:
        assert "exporter/cli/main.py" in wheel.namelist()
        of_it = ("exporter/", "hafnium_exporter-9.8.7.dist-info/", "hafnium_exporter-9.8.7.data/data/share/man/")
        assert not [name for name in wheel.namelist() if not name.startswith(of_it)]
    with tarfile.open(repository.folder / "dist" / "hafnium_exporter-9.8.7.tar.gz") as source:
        assert "hafnium_exporter-9.8.7/pyproject.toml" in source.getnames()
    again = repository.release("9.8.7", "--really")
    assert "tells of no change" in again.stderr
