"""`dashboards`: Grafana's JSON from code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.cli.extras import require
from exporter.cli.generating import deliver
from exporter.cli.verbs import Verb

if TYPE_CHECKING:
    from exporter.dashboards.board import Names

__all__ = ["dashboards"]


@click.group()
def dashboards() -> None:
    """Make the Grafana dashboards."""


@dashboards.command(
    cls=Verb,
    examples=(
        ("dashboards build --out /etc/grafana/dashboards", "For Grafana's provisioning."),
        ("dashboards build --check", "In CI: exit code 1 where a file differs from the code."),
    ),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("grafana"),
    show_default=True,
    help="Folder of the JSON files.",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Configuration of the exporter: leaves out dashboards of probes that it has none of, and takes the address of the "
    "runbook from its `links` where none is given.",
)
@click.option("--name", help="Of the fleet, as for `alerts build`: addresses and titles begin with it.  [default: hafnium]")
@click.option("--runbook-url", help="Address of the page of docs/runbook.md, to which every dashboard links.")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file differs from the code.")
@click.pass_context
def build(
    context: click.Context, out: Path, config_path: Path | None, name: str | None, runbook_url: str | None, check: bool
) -> None:
    """Write every dashboard's JSON.

    Thresholds are not here: they are `thresholds` in the exporter's configuration, exported, and drawn from there.
    """
    require("grafana_foundation_sdk", "dashboards", "dashboards are made of Grafana's own types")
    from exporter.dashboards import build as files

    names = _names(config_path, name, runbook_url)
    deliver(
        context,
        "dashboards build",
        write=lambda: files.write(out, names),
        differences=lambda: files.check(out, names),
        check=check,
    )


def _names(path: Path | None, name: str | None, runbook_url: str | None) -> Names:
    from exporter.config.loader import load
    from exporter.dashboards.board import Names

    kinds = None
    if path is not None:
        config = load(path)
        kinds = frozenset(kind for member in config.everything.values() for kind in member.probe_settings)
        runbook_url = runbook_url or config.links.runbook
    chosen = {"fleet": name, "kinds": kinds, "runbook_url": runbook_url}
    return Names(**{key: value for key, value in chosen.items() if value is not None})  # type: ignore[arg-type] # by its key
