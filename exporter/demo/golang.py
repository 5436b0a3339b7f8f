"""Programs built from Go modules into the repository's cache, or a user's, once; an interrupted build is taken up again.

Any `go` will do, Debian's too, which is too old to compile most of them: it fetches, with checksums verified, the toolchain
that does. Sources are as published; what a build reads beside them is named in its recipe.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.demo.processes import bound

__all__ = ["CACHE", "TOOLCHAIN", "BuildError", "Go", "Recipe", "built", "is_built"]

_CHECKOUT = Path(__file__).parents[2]
_USERS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hafnium-exporter"
CACHE = (_CHECKOUT / ".cache" if (_CHECKOUT / "pyproject.toml").is_file() else _USERS) / "go"
TOOLCHAIN = "golang.org/toolchain@v0.0.1-go1.24.9.linux-{architecture}"
PATIENCE = 3600.0
"""Seconds that one command may take: with one slow core for everything, the longest needs a quarter of it."""

Recipe = Callable[["Go", Path], None]
"""Builds everything into a folder."""


class BuildError(RuntimeError):
    """Something cannot be fetched or does not compile, or was given up; the text says what, and what was said."""


class Go:
    """The toolchain, with caches of its own below a folder: gigabytes, none of it kept once everything is built.

    Args:
        work: Folder for sources and what is compiled on the way.
        progress: Told of each thing that begins.
        given_up: Set: whatever runs is ended.

    Raises:
        BuildError: There is no `go`, or it cannot fetch the toolchain.
    """

    def __init__(self, work: Path, progress: Callable[[str], None], given_up: threading.Event) -> None:
        self.work = work
        self.progress = progress
        self._given_up = given_up
        self._environment = os.environ | {
            "GO111MODULE": "on", "GOTOOLCHAIN": "local", "GOFLAGS": "-modcacherw", "GOWORK": "off", "CGO_ENABLED": "0",
            "GOMODCACHE": str(work / "modules"), "GOCACHE": str(work / "compiled"),
        }  # fmt: skip
        self._environment.pop("GOROOT", None)
        self._go = "go"
        self.use(TOOLCHAIN)

    def use(self, toolchain: str) -> None:
        """Build with another toolchain from now on: some modules need a newer one.

        Args:
            toolchain: Its module and version, with a place for the machine's architecture.

        Raises:
            BuildError: It cannot be had.
        """
        architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
        folder = self.fetched(toolchain.format(architecture=architecture))
        for tool in (*(folder / "bin").iterdir(), *(folder / "pkg" / "tool").glob("*/*")):
            tool.chmod(0o755)  # modules are archived without it
        self._go = str(folder / "bin" / "go")

    def fetched(self, module: str) -> Path:
        """Fetch a module; Go holds it against the checksum database, and what it needs against its own list of checksums.

        Raises:
            BuildError: It cannot be had.
        """
        told: dict[str, Any] = json.loads(self.run("mod", "download", "-json", module, folder=self.work))
        return Path(told["Dir"])

    def run(self, *arguments: str, folder: Path) -> str:
        """Run one of its commands, and return what it says.

        Raises:
            BuildError: It fails, takes longer than an hour, or was given up.
        """
        what = f"{Path(self._go).name} {' '.join(arguments)}"
        try:
            process = subprocess.Popen(
                bound([self._go, *arguments]), cwd=folder, env=self._environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        except OSError as error:
            raise BuildError(f"{what}: {error.strerror}") from error
        out, err = self._outcome(process, what)
        if process.returncode != 0:
            raise BuildError(f"{what}:\n{out[-2000:]}{err[-5000:]}")
        return out

    def _outcome(self, process: subprocess.Popen[str], what: str) -> tuple[str, str]:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return process.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                if not self._given_up.is_set() and time.monotonic() < deadline:
                    continue
            process.terminate()  # as Ctrl-C does: it ends its compilers
            process.communicate()
            raise BuildError(f"{what}: {'given up' if self._given_up.is_set() else 'takes too long'}")


def is_built(key: str) -> bool:
    """Tell whether it is in the cache."""
    return (CACHE / key).is_dir()


def built(
    key: str, recipe: Recipe, progress: Callable[[str], None] = lambda _: None, given_up: threading.Event | None = None
) -> Path:
    """Return the folder of the programs; made now if this is the first time. Whoever comes meanwhile waits for it. Blocking.

    Args:
        key: Name in the cache; it tells what goes in: another version has another.
        recipe: Builds them.
        progress: Told of each thing that begins.
        given_up: Set it to end a build; what it has compiled is there for the next.

    Raises:
        BuildError: They cannot be fetched or do not compile, or the build was given up.
    """
    folder = CACHE / key
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():  # nobody else was faster
            work = CACHE / f"{key}.part"
            work.mkdir(exist_ok=True)
            (work / "bin").mkdir(exist_ok=True)
            recipe(Go(work, progress, given_up or threading.Event()), work / "bin")
            (work / "bin").rename(folder)
            shutil.rmtree(work)
    return folder
