"""Secrets at the moment they are needed, so that a rotated file is noticed at the next use."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pydantic import SecretStr

from exporter.masking import remember
from exporter.net.files import read_aside
from exporter.net.pool import NoThread
from exporter.values import looks_like_a_path, read_secret
from exporter.verdict import Failure, Reason, Stage

__all__ = ["current_secret"]


async def current_secret(value: SecretStr | None, file: Path | None, key: str = "password_file") -> str | None:
    """Return the secret that is configured, read from its file if it is there; None where none is configured.

    Args:
        value: The secret itself.
        file: The file that has it.
        key: What the file is called in the configuration.

    Raises:
        Failure: The file cannot be read; `credentials`, so nobody is paged for the target. The text does not repeat what may
            be the secret itself, written where its file should be.
    """
    if file is None:
        return _noted(value.get_secret_value()) if value is not None else None
    try:
        return _noted(await read_aside((_read, file, key), partial(_read, file, key)))
    except NoThread as error:
        raise Failure(Stage.AUTH, Reason.PROBER_MEMORY, str(error.strerror)) from None


def _read(file: Path, key: str) -> str:
    try:
        return read_secret(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "empty, or not text"
        if looks_like_a_path(file):
            text = f"{key} {file}: {reason}"
        else:
            text = (
                f"{key}: {reason}; a secret itself belongs under {key.removesuffix('_file')}, so what is there is not shown"
            )
        raise Failure(Stage.AUTH, Reason.CREDENTIALS, text) from None


def _noted(secret: str) -> str:
    """Have a secret masked in what the server answers to it."""
    remember(secret)
    return secret
