"""docs/first-steps.md, word for word: its commands in an empty folder, against a fleet; what they print is what it says.

Only addresses, the role and the database are others. What installs the command is left out: the tests' own is taken.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from exporter.demo.ports import free_port
from tests.fixtures.springboot import SpringFleet

PAGE = Path(__file__).parents[2] / "docs" / "first-steps.md"
FIVE_MINUTES = 300.0
_MARK = "=== "
COMMAND = """#!{python}
from exporter.cli.main import cli, main
patience = {{"timeout": "30s"}}
cli.context_settings["default_map"] = {{"check": patience, "explain": patience}}
main()
"""
"""The command, more patient than it is by default: machines that run tests are busy."""


def blocks(text: str) -> list[tuple[str, list[str]]]:
    """Return the commands of the page, each with what it prints."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            else:
                found[-1][1].append(line)
    return found


def blurred(lines: list[str]) -> list[str]:
    """Leave out what is another one each time: times, and how wide columns are for them. Order of series is none."""
    text = "\n".join(lines)
    text = re.sub(r"\b[0-9.]+ (ms|s|µs)\b", "TIME", text)
    kept = [" ".join(line.split()) for line in text.splitlines()]
    return sorted(kept) if text.startswith("probe_") else kept


def test_word_for_word(own_spring: SpringFleet, tmp_path: Path) -> None:
    postgres, port = own_spring.postgres, free_port()
    identity, risk_engine = own_spring.ports.values()
    others = {
        "localhost:8081": f"localhost:{identity}",
        "localhost-8081": f"localhost-{identity}",
        "localhost:8082": f"localhost:{risk_engine}",
        "monitor@localhost:5432/app": f"{postgres.user}@{postgres.address}/{postgres.database}",
        "localhost:6379": own_spring.valkey.address,
        "127.0.0.1:9818": f"127.0.0.1:{port}",
    }
    page = PAGE.read_text("utf-8")
    for shown, real in others.items():
        assert shown in page
        page = page.replace(shown, real)
    steps = blocks(page)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    command = bin_ / "hafnium-exporter"
    command.write_text(COMMAND.format(python=sys.executable))
    command.chmod(0o755)
    folder = tmp_path / "empty"
    folder.mkdir()
    script = "set -m\n" + "".join(f"echo '{_MARK}{n}'\n{line}\n" for n, (line, _) in enumerate(steps))
    environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "MONITOR_PASSWORD": postgres.password}
    environment.pop("HAFNIUM_EXPORTER_CONFIG", None)
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    took = time.monotonic() - began
    assert done.stderr == "", done.stderr
    printed = re.split(rf"^{_MARK}\d+\n", done.stdout, flags=re.MULTILINE)[1:]
    for (line, expected), out in zip(steps, printed, strict=True):
        assert blurred(out.splitlines()) == blurred(expected), f"{line}\n{done.stdout}"
    assert took < FIVE_MINUTES
    print(f"the commands of docs/first-steps.md took {took:.1f} s")  # noqa: T201 - the figure for who reads the log with -s
