"""docs/hafnium-exporter.1: whole, and in order by those who read such pages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from exporter.cli.described import Described, described
from exporter.cli.manual import manual

PAGE = Path(__file__).parents[2] / "docs" / "hafnium-exporter.1"
NO_DATE = 'WARNING: missing date, using "": TH'
"""It says of each build the same, and is of no day."""


@pytest.fixture(scope="module")
def read() -> str:
    """The page as a terminal shows it, without what makes it bold, and as one line."""
    done = subprocess.run(["mandoc", "-T", "ascii", "-O", "width=400", PAGE], capture_output=True, text=True, check=True)
    return " ".join(re.sub(".\b", "", done.stdout).split())


def test_the_page_is_in_order() -> None:
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True, text=True, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if NO_DATE not in line] == []


def test_a_page_that_is_not_is_told(tmp_path: Path) -> None:
    """What the test above looks for can be found."""
    broken = tmp_path / "broken.1"
    broken.write_text(manual().replace(".SH COMMANDS", ".SHH COMMANDS"))
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", broken], capture_output=True, text=True, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if NO_DATE not in line] != []


@pytest.mark.parametrize("verb", list(described()), ids=lambda verb: verb.name)
def test_every_verb_is_read_as_it_was_written(verb: Described, read: str) -> None:
    """Its usage, each option and each example, every character of them."""
    wanted = [verb.usage, *(" ".join(pair) for pair in verb.options), *(f"$ {line}" for line, _ in verb.examples)]
    plain = [" ".join(text.replace("`", "").replace("…", "...").split()) for text in wanted]
    assert [text for text in plain if text not in read] == []
