"""How the command line starts: help, the version and errors of usage come at once; `serve` silences nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal

HEAVY = {
    "aiohttp",
    "aiokafka",
    "asyncpg",
    "cryptography",
    "jinja2",
    "kubernetes",
    "pydantic",
    "redis",
    "rich",
    "uvloop",
    "yaml",
}
LISTS_MODULES = """
import sys
from exporter.cli.main import main
sys.argv[0] = "hafnium-exporter"
try:
    main()
finally:
    probes = {name for name in sys.modules if name.startswith("exporter.probes.")}
    print("\\nmodules:", *sorted({name.partition(".")[0] for name in sys.modules} | probes))
"""
FAILS_UNSEEN = """
import asyncio, gc, sys
import exporter.app

async def fail():
    raise RuntimeError("nobody waits for this")

async def run(self):
    asyncio.get_running_loop().create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()

exporter.app.App.run = run
from exporter.cli.main import main
main()
"""
QUICK = [
    (["--version"], 0, "hafnium-exporter, version "),
    (["--help"], 0, "Write, check and show configurations"),
    (["check", "--help"], 0, "Examples:"),
    (["config", "init", "--help"], 0, "Examples:"),
    (["config", "init", "--in-cluster", "http://a"], 3, "not both"),
    (["completion", "bash"], 0, "complete -o nosort"),
    (["check", "--probe", "tsl"], 3, "did you mean tls"),
    (["explain", "case", "--url", "x"], 3, "expected a URL"),
    (["serve", "--help"], 0, "--log-level"),
    (["chekc"], 3, "No such command 'chekc'"),
    (["serve", "--lisen", "x"], 3, "No such option"),
    (["serve", "--listen", "x"], 3, "expected host:port"),
    (["serve"], 3, "File 'config/exporter.yml' does not exist"),
    (["serve", "--config", "none.yml"], 3, "File 'none.yml' does not exist"),
    (["check", "--config", "none.yml"], 3, "File 'none.yml' does not exist"),
    (["check", "--timeout", "soon"], 3, "expected a duration"),
    (["explain"], 3, "Missing argument 'SERVICE'"),
    (["explain", "case", "--config", "none.yml"], 3, "File 'none.yml' does not exist"),
    (["runbook", "chekc"], 3, "No such command 'chekc'"),
    (["runbook", "check", "--config", "none.yml"], 3, "File 'none.yml' does not exist"),
    (["config", "valdiate"], 3, "No such command 'valdiate'"),
    (["demo", "--duration", "soon"], 3, "expected a duration"),
]


def run(code: str, arguments: list[str], folder: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run Python code; return how it ended and the CPU seconds it took."""
    before = os.times()
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, cwd=folder)
    after = os.times()
    return done, after.children_user + after.children_system - before.children_user - before.children_system


@pytest.mark.parametrize(
    ("arguments", "code", "told"), QUICK, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_nothing_heavy_is_imported_to_say_what_is_wrong(arguments: list[str], code: int, told: str, tmp_path: Path) -> None:
    done, _ = run(LISTS_MODULES, arguments, tmp_path)
    said, _, modules = done.stdout.partition("\nmodules:")
    assert done.returncode == code
    assert told in said + done.stderr
    assert "Traceback" not in done.stderr
    assert HEAVY & set(modules.split()) == set()
    assert "click" in modules.split()


@pytest.mark.measures
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["chekc"], ["serve", "--lisen"], ["serve"]], ids=" ".join)
def test_it_costs_little_more_than_the_library_of_commands(arguments: list[str], tmp_path: Path) -> None:
    """Half as much again on a quiet machine; with the libraries of every probe it was twelve times as much."""
    start = "from exporter.cli.main import main; main()"
    run(start, arguments, tmp_path)  # compiles what is not compiled yet
    costs, bare = 0.0, 0.0
    for _ in range(5):  # in turns, and summed: the kernel counts in ticks of 10 ms
        costs += run(start, arguments, tmp_path)[1]
        bare += run("import click", [], tmp_path)[1]
    assert costs < 3 * bare


def test_what_asyncio_complains_of_is_logged(tmp_path: Path) -> None:
    """An exception in a task that nobody waits for reaches people through asyncio's logger alone."""
    (tmp_path / "exporter.yml").write_text("services: {a: {instances: ['127.0.0.1:1'], probes: {tls: }}}")
    done, _ = run(FAILS_UNSEEN, ["serve", "--config", "exporter.yml"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Task exception was never retrieved" in done.stderr
    assert "RuntimeError: nobody waits for this" in done.stderr


@pytest.mark.measures
def test_check_begins_to_speak_long_before_its_libraries_are_there(tmp_path: Path) -> None:
    """At a terminal the first byte comes after some five times what an empty Python takes; the libraries take forty."""
    (tmp_path / "exporter.yml").write_text("dependencies: {gone: {instances: ['127.0.0.1:1'], probes: {redis: {}}}}")
    command = [sys.executable, "-m", "exporter", "check", "--config", "exporter.yml"]

    def first_byte() -> float:
        began = time.monotonic()
        with Terminal(command, tmp_path) as terminal:
            terminal.until("reading")
            took = time.monotonic() - began
            terminal.end()
        return took

    def empty() -> float:
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        return time.monotonic() - began

    first_byte()  # compiles what is not compiled yet
    times = [(first_byte(), empty()) for _ in range(5)]
    assert min(took for took, _ in times) < 15 * min(bare for _, bare in times)


ONE_KIND = "dependencies: {gone: {instances: ['127.0.0.1:1'], probes: {redis: {}}}}"
ALL_KINDS = """
dependencies:
  postgres: {instances: ["127.0.0.1:1"], probes: {postgres: {user: monitor, database: app}}}
  redis: {instances: ["127.0.0.1:1"], probes: {redis: {}}}
  kafka: {instances: ["127.0.0.1:1"], probes: {kafka: {}}}
  keycloak: {instances: ["127.0.0.1:1"], probes: {oidc: {issuer_path: /realms/a}, tls: {}}}
services: {case: {instances: ["127.0.0.1:1"], probes: {actuator: {}}}}
"""


@pytest.mark.measures
@pytest.mark.parametrize(("config", "most"), [(ONE_KIND, 5.7), (ALL_KINDS, 8.2)], ids=["one kind", "all kinds"])
def test_check_imports_no_more_than_it_uses(config: str, most: float, tmp_path: Path) -> None:
    """What a whole check costs beside the libraries of commands and settings: some five times as much, eight of all kinds.

    Into a pipe the table is the first byte. What is printed is what docs/architecture.md says.
    """
    (tmp_path / "exporter.yml").write_text(config)
    start = "from exporter.cli.main import main; main()"
    run(start, ["check", "--config", "exporter.yml"], tmp_path)  # compiles what is not compiled yet
    run("import click, pydantic", [], tmp_path)
    costs, bare = 0.0, 0.0
    for _ in range(5):
        costs += run(start, ["check", "--config", "exporter.yml"], tmp_path)[1]
        bare += run("import click, pydantic", [], tmp_path)[1]
    print(f"a check takes {costs / 5:.2f} s of CPU, {costs / bare:.1f} times what the libraries take")  # noqa: T201 - pytest -s
    assert costs < most * bare


def test_check_leaves_alone_what_it_does_not_use(tmp_path: Path) -> None:
    (tmp_path / "exporter.yml").write_text("dependencies: {gone: {instances: ['127.0.0.1:1'], probes: {redis: {}}}}")
    done, _ = run(LISTS_MODULES, ["check", "--config", "exporter.yml"], tmp_path)
    said, _, modules = done.stdout.partition("\nmodules:")
    assert done.returncode == 2
    assert "connect_refused" in said
    unused = {
        "aiohttp",
        "aiokafka",
        "asyncpg",
        "cryptography",
        "jinja2",
        "kubernetes",
        "prometheus_client",
        "rich",
        "scramp",
    }
    assert unused & set(modules.split()) == set()
    assert [name for name in modules.split() if name.startswith("exporter.")] == ["exporter.probes.redis"]
