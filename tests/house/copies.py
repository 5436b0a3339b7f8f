"""A copy of the repository, to change and to run things in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LEFT_OUT = shutil.ignore_patterns(".*", "*.pyc", "__pycache__", "dist", "target", "node_modules")


def copied(to: Path) -> Path:
    """Copy the repository without what is made there; return the copy."""
    return Path(shutil.copytree(ROOT, to / "copy", ignore=_LEFT_OUT))


def python(copy: Path, *arguments: str) -> str:
    """Run Python in a copy, whose packages come before those that are installed; return what it prints.

    Raises:
        AssertionError: It ends with an error.
    """
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
