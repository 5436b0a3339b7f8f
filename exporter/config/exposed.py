"""Files of secrets that others on the machine can read or write."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, SecretStr

from exporter.values import looks_like_a_path

__all__ = ["exposed_secrets", "without_misplaced"]

_SECRET_FILES = frozenset(
    {"password_file", "token_file", "bearer_file", "client_secret_file", "secret_file", "key_file", "value_file"}
)
"""Settings that name a file with a secret in it; a certificate or a CA is none."""


def exposed_secrets(settings: BaseModel) -> Iterator[str]:
    """Say of each file of a secret whom it should be kept from, and how. Blocking: it looks at the files.

    Files that are not there are for those who read them to tell. Those that Kubernetes mounts are left out: its default lets
    all of the container read them, and there are no others in it.
    """
    for path in sorted(set(_files(settings))):
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError):  # ValueError: a path with a null character
            continue
        if mode & stat.S_IWOTH:
            yield f"{path}: others may write to it (mode {stat.S_IMODE(mode):04o}): chmod o-rwx"
        elif mode & stat.S_IROTH and "..data" not in path.resolve().parts and not _is_mounted_secret(path):
            yield f"{path}: others may read it (mode {stat.S_IMODE(mode):04o}): chmod o-rwx"


def without_misplaced(dumped: object, name: str = "") -> object:
    """Return a dumped configuration with what may be a secret in the place of its file as any secret is shown. Blocking."""
    if isinstance(dumped, dict):
        return {key: without_misplaced(value, str(key)) for key, value in dumped.items()}
    if isinstance(dumped, list):
        return [without_misplaced(value, name) for value in dumped]
    if isinstance(dumped, str) and name in _SECRET_FILES and not looks_like_a_path(Path(dumped)):
        return str(SecretStr(dumped))
    return dumped


def _is_mounted_secret(path: Path) -> bool:
    """Tell a file of a volume of Kubernetes: a link to what is below a link named ..data."""
    return path.is_symlink() and (path.parent / "..data").is_symlink()


def _files(value: object, name: str = "") -> Iterator[Path]:
    if isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _files(getattr(value, field), field)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _files(inner, name)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _files(inner, name)
    elif isinstance(value, Path) and name in _SECRET_FILES:
        yield value
