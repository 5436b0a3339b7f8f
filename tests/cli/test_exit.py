"""How the command line ends where something is wrong with itself or its output: never as if a fleet were merely degraded."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import click
import pytest

from exporter.cli.main import cli
from tests.cli.terminal import EXPORTER
from tests.cli.test_config import run

CHECK = [*EXPORTER, "check", "tls://127.0.0.1:1", "--output"]
FULL = Path("/dev/full")


def test_a_defect_is_3_and_told_in_full(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command
    def broken() -> None:
        raise RuntimeError("boom")

    monkeypatch.setitem(cli.commands, "broken", broken)
    code, out, err = run(capsys, "broken")
    assert (code, out) == (3, "")
    assert "RuntimeError: boom" in err
    assert err.endswith("Error: this is a defect of hafnium-exporter; please report it with the lines above\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory", "a folder of modules"),
        ImportError("libx.so: failed to map segment from shared object"),
    ],
    ids=["python", "system", "library"],
)
def test_want_of_memory_is_3_and_one_line_and_no_defect(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    @click.command
    def broken() -> None:
        raise error

    monkeypatch.setitem(cli.commands, "broken", broken)
    code, out, err = run(capsys, "broken")
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        "Error: there is no memory left: look at the limits of the container, of the unit or of the shell"
    ]


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_a_full_disk_is_3_and_one_line(output: str) -> None:
    with FULL.open("wb") as full:
        done = subprocess.run([*CHECK, output], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=180)
    told = "Error: what is printed cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (3, told)


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_a_reader_that_is_gone_is_141_and_no_word(output: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run([*CHECK, output], stdout=gone, stderr=subprocess.PIPE, text=True, check=False, timeout=180)
    assert (done.returncode, done.stderr) == (141, "")
