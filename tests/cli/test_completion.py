"""Completion, by the shells themselves: verbs, options, values, and the names of a configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal

CONFIG = """
services: {case: {instances: ['a:1'], probes: {actuator: {}}}, casting: {instances: ['b:1'], probes: {actuator: {}}}}
dependencies: {postgres: {instances: ['c:1'], probes: {postgres: {user: u, database: d}, tls: {}}}}
"""
TYPED = [
    ("hafnium-exporter ch", {"check"}),
    ("hafnium-exporter config in", {"init"}),
    ("hafnium-exporter runbook ", {"check"}),
    ("hafnium-exporter check --pr", {"--probe"}),
    ("hafnium-exporter check --output ", {"table", "json", "yaml"}),
    ("hafnium-exporter check ca", {"case", "casting"}),
    ("hafnium-exporter check --config other.yml ", {"other"}),
    ("hafnium-exporter check case --probe ", {"actuator", "postgres", "tls"}),
    ("hafnium-exporter check --config odd.yml o", {"on"}),
    ("hafnium-exporter check --config odd.yml 1", {"123"}),
    ("hafnium-exporter check --config odd.yml x", {"xyz"}),
    ("hafnium-exporter explain po", {"postgres"}),
    ("hafnium-exporter completion ", {"bash", "zsh", "fish"}),
]
ODD = """
services:
  on: &any {instances: ['a:1'], probes: {actuator: {}}}
  123: *any
  'x$(touch owned)': *any
  "x\\e[31m": *any
  xyz: *any
"""
WITHOUT_A_CONFIGURATION = [("hafnium-exporter check --config broken.yml --probe re", {"redis"})]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with configurations, the command, and the scripts of all shells."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "exporter.yml").write_text(CONFIG)
    (tmp_path / "other.yml").write_text("services: {other: {instances: ['a:1'], probes: {actuator: {}}}}")
    (tmp_path / "odd.yml").write_text(ODD)
    (tmp_path / "broken.yml").write_text("services: {")
    command = tmp_path / "bin" / "hafnium-exporter"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom exporter.cli.main import main\nmain()\n")
    command.chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        script = subprocess.run([command, "completion", shell], capture_output=True, text=True, check=True, timeout=180)
        assert script.stderr == ""
        (tmp_path / f"script.{shell}").write_text(script.stdout)
    return tmp_path


def shell(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    environment.pop("HAFNIUM_EXPORTER_CONFIG", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=180)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


BASH = r"""
source script.bash
complete -p hafnium-exporter >/dev/null
while IFS= read -r line; do
  read -ra COMP_WORDS <<<"$line"
  [[ $line == *' ' ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
  _hafnium_exporter_completion hafnium-exporter
  echo "${COMPREPLY[*]}"
done <lines
"""


def test_bash(folder: Path) -> None:
    typed = TYPED + WITHOUT_A_CONFIGURATION
    (folder / "lines").write_text("".join(line + "\n" for line, _ in typed))
    found = shell(folder, "bash", "--norc", "-c", BASH).splitlines()
    assert [set(line.split()) for line in found] == [completed for _, completed in typed]


def test_bash_at_a_terminal(folder: Path) -> None:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    with Terminal(["bash", "--norc", "-i"], folder, {"PATH": path, "PS1": "> "}) as terminal:
        terminal.enter("source script.bash\n")
        terminal.enter("hafnium-exporter explain pos\t--he\t\n")
        terminal.until("hafnium-exporter explain postgres --help")
        terminal.until("Say what is wrong with a service")


def test_fish(folder: Path) -> None:
    for line, completed in TYPED + WITHOUT_A_CONFIGURATION:
        found = shell(folder, "fish", "--no-config", "-c", f'source script.fish; complete -C"{line}"')
        assert {each.partition("\t")[0] for each in found.splitlines()} == completed, line


def test_zsh_at_a_terminal(folder: Path) -> None:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "PS1": "> ", "HOME": str(folder), "ZDOTDIR": str(folder)}
    with Terminal(["zsh", "-f", "-i"], folder, environment) as terminal:
        terminal.enter("autoload -Uz compinit; compinit -u; source script.zsh; echo re''ady\n")
        terminal.until("ready")
        terminal.forget()
        terminal.enter("hafnium-exporter explain pos\t")
        terminal.until("explain postgres")
        terminal.enter("\x15hafnium-exporter chec\t")
        terminal.until("hafnium-exporter check ")
