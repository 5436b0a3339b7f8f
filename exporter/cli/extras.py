"""What is not installed with the exporter itself, and how to get it."""

from __future__ import annotations

from importlib.util import find_spec

import click

__all__ = ["require"]


def require(module: str, extra: str, what: str) -> None:
    """See that an extra is installed.

    Args:
        module: One that it brings.
        extra: Its name in pyproject.toml.
        what: What needs it, as the message begins.

    Raises:
        click.ClickException: It is not.
    """
    if find_spec(module) is None:
        raise click.ClickException(f"{what}: pip install 'hafnium-exporter[{extra}]'")
