"""Secrets at the moment they are needed, so that a rotated file is noticed at the next use."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from exporter.masking import remember
from exporter.net.files import read_aside
from exporter.values import read_secret
from exporter.verdict import Failure, Reason, Stage

__all__ = ["current_secret"]


async def current_secret(value: SecretStr | None, file: Path | None, key: str = "password_file") -> str | None:
    """Return the secret that is configured, read from its file if it is there; None where none is configured.

    Args:
        value: The secret itself.
        file: The file that has it.
        key: What the file is called in the configuration.

    Raises:
        Failure: The file cannot be read; `credentials`, so nobody is paged for the target.
    """
    if file is None:
        return _noted(value.get_secret_value()) if value is not None else None
    try:
        return _noted(await read_aside((read_secret, file), lambda: read_secret(file)))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "empty, or not text"
        raise Failure(Stage.AUTH, Reason.CREDENTIALS, f"{key} {file}: {reason}") from None


def _noted(secret: str) -> str:
    """Have a secret masked in what the server answers to it."""
    remember(secret)
    return secret
