"""Running targets, each in a process of its own with limits of time and memory, and what came of it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from fuzz.model import MAX_INPUT, Target

__all__ = ["CORPUS", "ROOT", "Budget", "Outcome", "corpus_of", "fuzz"]

ROOT = Path(__file__).parents[1]
CORPUS = Path(__file__).parent / "corpus"

MAX_MIB = 1024
"""Memory that a target may take, the interpreter and the instrumentation included."""

_HANGS = 30
"""Seconds after which an input that is still being read is a finding of libFuzzer's; `Target.seconds` are CPU time."""

_PATIENCE = 120.0
"""Seconds for starting, importing and reading the corpus, on a machine that does something else too."""

_MOST_SAID = 3000
"""Characters of a finding that are told: of Python's traceback the beginning, which names the error, else the end."""

_UNITS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_PROGRESS = re.compile(r"^#(\d+)\s.*?cov: (\d+)", re.MULTILINE)
_WRITTEN = re.compile(r"Test unit written to (\S+)")
_ERROR = re.compile(r"Uncaught Python exception: ===\s*\n(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a target is fuzzed: until the first of both is used up; 0 is no limit.

    Attributes:
        seconds: Time.
        runs: Inputs.
    """

    seconds: int = 0
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a target.

    Attributes:
        name: The target.
        inputs: How many were fed.
        seconds: How long it took, imports included.
        coverage: Edges of the instrumented modules that were reached.
        said: Why it is a finding, in libFuzzer's words and Python's; empty where nothing was found.
        file: The input that was found; None where there is none.
    """

    name: str
    inputs: int
    seconds: float
    coverage: int
    said: str = ""
    file: Path | None = None


def corpus_of(name: str) -> list[Path]:
    """Return the committed inputs of a target."""
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())


def fuzz(target: Target, budget: Budget, work: Path) -> Outcome:
    """Fuzz a target.

    Args:
        target: It.
        budget: For how long.
        work: Where the corpus grows and findings are put; what is there from before is gone on from.
    """
    grown, findings = work / "corpus" / target.name, work / "findings"
    for folder in (grown, findings):
        folder.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={budget.seconds}",
        f"-runs={budget.runs or -1}",
        f"-max_len={MAX_INPUT}",
        f"-rss_limit_mb={MAX_MIB}",
        f"-timeout={_HANGS}",
        f"-artifact_prefix={findings}/{target.name}-",
        "-print_final_stats=1",
        "-verbosity=1",
        str(grown),
        *([str(CORPUS / target.name)] if corpus_of(target.name) else []),
    ]
    modules = ",".join((*target.covers, *target.also))
    began = time.monotonic()
    wait = budget.seconds + _PATIENCE if budget.seconds else None
    try:
        ended = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-u", "-m", "fuzz.child", target.run.__module__, target.name, modules, *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=wait,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(target.name, 0, time.monotonic() - began, 0, f"it has not ended within {wait:g} s")
    return _outcome(target.name, ended, time.monotonic() - began)


def _outcome(name: str, ended: subprocess.CompletedProcess[str], seconds: float) -> Outcome:
    text = ended.stdout + ended.stderr
    progress = _PROGRESS.findall(text)
    units = _UNITS.search(text)
    inputs = int(units[1]) if units is not None else int(progress[-1][0]) if progress else 0
    coverage = int(progress[-1][1]) if progress else 0
    if ended.returncode == 0 and inputs:
        return Outcome(name, inputs, seconds, coverage)
    error, written = _ERROR.search(ended.stdout), _WRITTEN.search(text)
    said = error[1][:_MOST_SAID].strip() if error is not None else text[-_MOST_SAID:].strip()
    return Outcome(
        name, inputs, seconds, coverage, said or f"exit {ended.returncode}", Path(written[1]) if written else None
    )
