"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click

from exporter.parsing import parse_duration

__all__ = ["DEFAULT_CONFIG", "config_option", "seconds"]

DEFAULT_CONFIG = Path("config/exporter.yml")

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="HAFNIUM_EXPORTER_CONFIG",
    help="Configuration file.",
)


def seconds(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """Read a duration such as 1.5s."""
    try:
        return parse_duration(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
