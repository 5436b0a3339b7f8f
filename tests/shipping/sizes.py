"""What the image adds to its base, and what its bytecode is worth at a start: `python -m tests.shipping.sizes`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.fixtures.image import Image, built

SHOWN = 12


def main() -> None:
    """Build the image and print."""
    with built() as image, tempfile.TemporaryDirectory() as folder:
        (packages,) = (image.root / "opt" / "venv" / "lib").glob("python3.*/site-packages")
        sizes = sorted(((_on_disk(entry), entry.name) for entry in packages.iterdir()), reverse=True)
        _say(f"{image.added / 1e6:8.1f} MB beyond the base, of which:")
        for size, name in sizes[:SHOWN]:
            _say(f"{size / 1e6:8.1f} MB {name}")
        _say(f"{sum(size for size, _ in sizes[SHOWN:]) / 1e6:8.1f} MB the rest")
        bytecode = sum(_on_disk(file) for file in packages.rglob("*.pyc"))
        _say(f"{bytecode / 1e6:8.1f} MB of all is bytecode")
        for words, variables in (("with bytecode", {}), ("without", {"PYTHONPYCACHEPREFIX": "/nowhere"})):
            _say(f"{_cpu_of_a_start(image, Path(folder), variables):8.1f} s of CPU to validate a configuration {words}")


def _on_disk(entry: Path) -> int:
    files = [entry] if entry.is_file() else [file for file in entry.rglob("*") if file.is_file()]
    return sum(file.stat().st_blocks * 512 for file in files)


def _cpu_of_a_start(image: Image, folder: Path, variables: dict[str, str]) -> float:
    """Return the least of three."""
    (folder / "exporter.yml").write_text("dependencies: {cache: {instances: ['127.0.0.1:1'], probes: {redis: {}}}}\n")
    folder.chmod(0o755)
    spent = []
    for _ in range(3):
        before = os.times()
        words = ["env", *(f"{name}={value}" for name, value in variables.items()), "hafnium-exporter", "config", "validate"]
        done = image.run(folder, *words)
        after = os.times()
        if done.returncode != 0:
            raise RuntimeError(done.stderr or done.stdout)
        spent.append(after.children_user - before.children_user)
    return min(spent)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
