"""`dashboards`: Grafana's JSON from code."""

from __future__ import annotations

from pathlib import Path

import click

from exporter.cli.extras import require

__all__ = ["dashboards"]


@click.group()
def dashboards() -> None:
    """Make the Grafana dashboards."""


@dashboards.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("grafana"),
    show_default=True,
    help="Folder of the JSON files.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file differs from the code.")
@click.pass_context
def build(context: click.Context, out: Path, check: bool) -> None:
    """Write every dashboard's JSON."""
    require("grafana_foundation_sdk", "dashboards", "dashboards are made of Grafana's own types")
    from exporter.dashboards import build as dashboard_files

    if not check:
        try:
            files = dashboard_files.write(out)
        except OSError as error:
            raise click.ClickException(f"cannot write {error.filename}: {error.strerror}") from error
        for path in files:
            click.echo(f"wrote {path}")
        return
    drift = dashboard_files.check(out)
    for line in drift:
        click.echo(line, err=True)
    if drift:
        click.echo("run: hafnium-exporter dashboards build", err=True)
        context.exit(1)
