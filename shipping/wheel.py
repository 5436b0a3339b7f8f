"""The wheel and the sdist, made twice and compared: `python -m shipping.wheel dist`.

Both times are as different as two machines: folder, umask, time zone, locale, order and age of files. The same is the
commit, whose time the archives carry. Whoever has the commit and the locked hatchling makes the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Circumstances", "build", "main"]

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Under which files are laid out and a build runs."""

    folder: str
    umask: int
    age: int
    variables: Mapping[str, str]


TWO = (
    Circumstances("one", 0o022, 0, {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"}),
    Circumstances("other/deeper", 0o077, 86_400 * 400, {"TZ": "Asia/Kathmandu", "LC_ALL": "POSIX", "PYTHONHASHSEED": "2"}),
)


def build(scratch: Path, circumstances: Circumstances) -> dict[str, Path]:
    """Make a wheel and an sdist of the files that git tracks; return both by name."""
    source, out = scratch / circumstances.folder / "source", scratch / circumstances.folder / "out"
    before = os.umask(circumstances.umask)
    try:
        names = _git("ls-files", "-z").split("\0")
        for name in sorted(filter(None, names), reverse=circumstances.age > 0):
            if not (ROOT / name).is_file():
                continue  # deleted, and not yet committed
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
            if os.access(ROOT / name, os.X_OK):
                (source / name).chmod(0o777 & ~circumstances.umask)
            os.utime(source / name, (1_700_000_000 - circumstances.age,) * 2)
        time = _git("log", "-1", "--format=%ct").strip()
        environment = {**os.environ, **circumstances.variables, "SOURCE_DATE_EPOCH": time}
        done = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
            cwd=source, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        os.umask(before)
    if done.returncode != 0:
        raise RuntimeError(f"cannot be built:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    return {file.name: file for file in sorted(out.iterdir())}


def main() -> int:
    """Make them, compare them, and put them into a folder with their sums."""
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        one, other = (build(Path(scratch), circumstances) for circumstances in TWO)
        sums = {name: _sum(file) for name, file in one.items()}
        if sums != {name: _sum(file) for name, file in other.items()}:
            sys.stderr.write("two builds of the same commit differ\n")
            return 1
        folder.mkdir(parents=True, exist_ok=True)
        for name, file in one.items():
            shutil.copyfile(file, folder / name)
    (folder / "SHA256SUMS").write_text("".join(f"{value}  {name}\n" for name, value in sums.items()))
    sys.stdout.write("".join(f"{value}  {folder}/{name}\n" for name, value in sums.items()) + "twice the same\n")
    return 0


def _sum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603, S607


if __name__ == "__main__":
    sys.exit(main())
