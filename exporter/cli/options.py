"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["DEFAULT_CONFIG", "config_option"]

DEFAULT_CONFIG = Path("config/exporter.yml")

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="HAFNIUM_EXPORTER_CONFIG",
    help="Configuration file.",
)
