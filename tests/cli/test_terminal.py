"""`check` at a terminal: colours and their absence, narrow screens, progress, the live screen and its end."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from exporter.demo.processes import free_port
from exporter.demo.servers.valkey import ValkeyServer
from tests.cli.terminal import EXPORTER, Terminal
from tests.cli.test_check import cache
from tests.waiting import until

ENTERS, LEAVES = "\x1b[?1049h", "\x1b[?1049l"
WIPES = "\x1b[K"


@pytest.fixture
def folder(tmp_path: Path, valkey_server: ValkeyServer) -> Path:
    """Give a folder with the configuration of a cache that is up and one that is not."""
    down = cache(f"127.0.0.1:{free_port()}")
    config = {"dependencies": {"cache": cache(valkey_server.address), "gone": down}}
    (tmp_path / "exporter.yml").write_text(yaml.safe_dump(config))
    return tmp_path


CHECK = [*EXPORTER, "check", "--config", "exporter.yml"]


def test_it_is_coloured_and_says_how_far_it_is(folder: Path) -> None:
    with Terminal(CHECK, folder) as terminal:
        assert terminal.end() == 2
    assert "reading the configuration …" in terminal.text
    assert "\x1b[1;31mDOWN" in terminal.raw
    assert terminal.raw.index("reading") < terminal.raw.rindex(WIPES) < terminal.raw.index("SERVICE")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_done_without(folder: Path, name: str, value: str) -> None:
    with Terminal(CHECK, folder, {name: value}) as terminal:
        assert terminal.end() == 2
    assert re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.raw) is None
    assert "DOWN" in terminal.text
    if name == "TERM":
        assert "\x1b" not in terminal.raw


def test_a_narrow_screen_gets_lines_that_fit(folder: Path) -> None:
    with Terminal(CHECK, folder, size=(40, 20)) as terminal:
        assert terminal.end() == 2
    lines = terminal.text.rpartition("\r")[2].splitlines()
    assert max(map(len, lines)) <= 40
    assert any(line.startswith("DOWN gone 0/1") for line in lines)
    assert any(line.startswith("  redis 127.0.0.1:") for line in lines)


@pytest.mark.parametrize("how", ["ctrl-c", "SIGTERM"])
def test_the_live_screen_follows_its_size_and_leaves_the_last_result_behind(folder: Path, how: str) -> None:
    with Terminal([*CHECK, "--watch=100ms"], folder) as terminal:
        terminal.until("Ctrl-C ends it")
        terminal.until("look at gone")
        terminal.resize(44, 15)
        terminal.forget()
        terminal.until("DOWN gone 0/1")  # as a narrow screen has it
        if how == "ctrl-c":
            terminal.enter("\x03")
        else:
            terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 130
    screen, left, after = terminal.raw.rpartition(LEAVES)
    assert left
    assert "\x1b[2J" not in screen  # it is written over, not cleared: that would flicker
    assert "look at gone" in after
    assert "Traceback" not in terminal.text


def test_a_live_screen_of_few_lines_says_what_it_leaves_out_and_how_it_is_as_a_whole(folder: Path) -> None:
    with Terminal([*CHECK, "--watch=100ms"], folder, size=(30, 5)) as terminal:
        terminal.until("look at gone")
        terminal.until("more lines")
        terminal.enter("\x03")
        assert terminal.end() == 130


def test_without_a_terminal_each_round_follows_the_last(folder: Path) -> None:
    with subprocess.Popen(
        [*CHECK, "--watch=50ms", "--output", "json"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        rounds = [yaml.safe_load(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
        assert process.stderr.read() == ""
    assert [each["exit_code"] for each in rounds] == [2, 2, 2]


def test_what_is_watched_follows_the_configuration(folder: Path) -> None:
    """A service that was renamed is not shown by its old name for ever; a file that cannot be used is told once."""
    written = folder / "exporter.yml"
    with subprocess.Popen(
        [*CHECK, "--watch=50ms", "--output", "json"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None

        def names() -> list[str]:
            assert process.stdout is not None
            return sorted(each["name"] for each in yaml.safe_load(process.stdout.readline())["services"])

        assert names() == ["cache", "gone"]
        replace(written, written.read_text().replace("gone:", "renamed:"))
        until(lambda: names() == ["cache", "renamed"], 5, "the new name")
        replace(written, "dependencies: {cache: 1}")
        told = process.stderr.readline()
        assert names() == ["cache", "renamed"]
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
        assert process.stderr.read() == ""
    assert told.startswith("the configuration has changed and is left unused: exporter.yml:1:")


def test_the_live_screen_says_that_what_is_asked_for_is_gone(folder: Path) -> None:
    written = folder / "exporter.yml"
    with Terminal([*CHECK, "--watch=100ms", "gone"], folder) as terminal:
        terminal.until("look at gone")
        replace(written, written.read_text().replace("gone:", "renamed:"))
        terminal.until("left unused: no such service: gone")
        replace(written, written.read_text().replace("renamed:", "gone:"))
        terminal.forget()
        terminal.until("look at gone")
        terminal.enter("\x03")
        assert terminal.end() == 130


def replace(path: Path, text: str) -> None:
    """Put a whole file in the place of another, as editors do."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)
