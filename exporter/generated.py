"""Files that code makes into a folder: written, or held against what is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["differences", "write"]


def write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write every file below `folder`, made if missing, and return them.

    Args:
        folder: Where.
        files: Texts by path below it.

    Raises:
        OSError: The folder cannot be written.
    """
    written = []
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def differences(folder: Path, files: Mapping[str, str], ours: str) -> list[str]:
    """Return what differs between `folder` and the code, one line each: missing, out of date, or not made by any code.

    Args:
        folder: Where.
        files: Texts by path below it.
        ours: Pattern of the paths below it that only code makes, such as `rules/*.yml`.
    """
    found = []
    for name, text in files.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{path}: missing")
        elif path.read_bytes() != text.encode():
            found.append(f"{path}: out of date")
    strangers = (path for path in sorted(folder.glob(ours)) if path.relative_to(folder).as_posix() not in files)
    return [*found, *(f"{path}: no code makes this" for path in strangers)]
