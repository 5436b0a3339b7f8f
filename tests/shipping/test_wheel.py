"""The wheel: the same bytes from everywhere, whole, and of use without a checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from exporter import __version__
from shipping.wheel import ROOT, TWO, build

SUITE = Path(yaml.__file__).parents[1]
"""Where the packages are that tests run with."""


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment with the wheel alone, and the packages that it needs beside it."""

    python: Path

    def run(self, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        command = [str(self.python.parent / "hafnium-exporter"), *words]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Path]]:
    """What two builds under different circumstances made."""
    return [build(tmp_path_factory.mktemp("build"), circumstances) for circumstances in TWO]


@pytest.fixture(scope="module")
def wheel(builds: list[dict[str, Path]]) -> Path:
    (found,) = [file for name, file in builds[0].items() if name.endswith(".whl")]
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    place = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True)
    (own,) = place.glob("lib/python3.*/site-packages")
    (own / "beside.pth").write_text(f"{SUITE}\n")
    return Installed(python)


def test_two_builds_are_the_same_bytes(builds: list[dict[str, Path]]) -> None:
    one, other = ({name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in made.items()} for made in builds)
    assert one == other
    assert set(one) == {f"hafnium_exporter-{__version__}-py3-none-any.whl", f"hafnium_exporter-{__version__}.tar.gz"}


def test_its_manual_page_is_where_man_finds_it(installed: Installed) -> None:
    """`man` looks beside the folder of a program that is in PATH."""
    place = installed.python.parents[1]
    page = place / "share" / "man" / "man1" / "hafnium-exporter.1"
    assert page.read_bytes() == (ROOT / "docs" / "hafnium-exporter.1").read_bytes()
    if shutil.which("man") is None:
        return
    asked = {**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}", "MANPATH": ""}
    found = subprocess.run(["man", "--where", "hafnium-exporter"], env=asked, capture_output=True, text=True, check=False)
    assert found.stdout.strip() == str(page), found.stderr


def test_it_has_every_file_of_the_package_and_nothing_else(wheel: Path, builds: list[dict[str, Path]]) -> None:
    tracked = subprocess.run(["git", "ls-files", "exporter"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name and ".data/" not in name}
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    assert files == {name for name in tracked.split() if (ROOT / name).exists()}
    assert {Path(name).suffix for name in files} >= {".py", ".html", ".css", ".svg", ".typed"}
    (sdist,) = [file for name, file in builds[0].items() if name.endswith(".tar.gz")]
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "requirements.lock", "exporter/py.typed"} <= names
    assert not {name for name in names if name.startswith((".venv", ".cache", ".git/"))}


def test_the_command_is_there(installed: Installed, tmp_path: Path) -> None:
    said = installed.run("--version", folder=tmp_path)
    assert said.stdout.strip() == f"hafnium-exporter, version {__version__}"
    assert yaml.safe_load(installed.run("config", "schema", folder=tmp_path).stdout)["properties"]
    assert "--fault" in installed.run("demo", "--help", folder=tmp_path).stdout
    assert "db-down" in installed.run("demo", "--list-faults", folder=tmp_path).stdout
    where = subprocess.run(
        [installed.python, "-c", "import exporter; print(exporter.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout).is_relative_to(installed.python.parents[1])


def test_the_demo_runs_with_prometheus_and_its_rules(installed: Installed, tmp_path: Path) -> None:
    done = installed.run("demo", "--ports", "free", "--duration", "1s", "--state", "state", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    config = yaml.safe_load((tmp_path / "state" / "prometheus" / "prometheus.yml").read_text())
    (rules,) = config["rule_files"]
    assert list(Path(rules).parent.glob("*.yml"))
    assert Path(rules).is_relative_to(tmp_path)
