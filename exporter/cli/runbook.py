"""`runbook`: what people go by, held against what fires."""

from __future__ import annotations

from pathlib import Path

import click

from exporter.cli.verbs import Verb

__all__ = ["runbook"]

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def runbook() -> None:
    """Hold the runbook against alerts and dashboards."""


@runbook.command(
    cls=Verb,
    short_help="Hold its alert table against what alerts and shows.",
    examples=(
        ("runbook check", "Of this repository's files."),
        ("runbook check --runbook ops/runbook.md --rules ops/rules --config exporter.yml", "Of one's own."),
    ),
)
@click.option("--runbook", "page", type=_FILE, default=Path("docs/runbook.md"), show_default=True, help="The page.")
@click.option("--rules", type=_FOLDER, default=Path("alerts/rules"), show_default=True, help="Folder of Prometheus' rules.")
@click.option(
    "--alertmanager", type=_FILE, default=Path("alerts/alertmanager.yml"), show_default=True, help="Its configuration."
)
@click.option(
    "--prometheus", type=_FILE, default=Path("alerts/prometheus.yml"), show_default=True, help="Its configuration."
)
@click.option(
    "--dashboards", type=_FOLDER, default=Path("grafana"), show_default=True, help="Folder of Grafana's JSON files."
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Configuration of the exporter, where rules use labels of it beside tier and team.",
)
@click.pass_context
def check(
    context: click.Context,
    /,
    page: Path,
    rules: Path,
    alertmanager: Path,
    prometheus: Path,
    dashboards: Path,
    config_path: Path | None,
) -> None:
    """Hold the alert table against rules, routes, dashboards, exported metrics and the runbook's sections, both ways.

    Each finding is a line with file and place. Exit code: 0 nothing was found, 1 drift, 3 bad usage.
    """
    from exporter.runbook.check import Files
    from exporter.runbook.check import check as held
    from exporter.runbook.finding import Unusable

    try:
        found = held(Files(page, rules, alertmanager, prometheus, dashboards), _labels(config_path))
    except Unusable as error:
        raise click.ClickException(str(error)) from error
    for finding in found:
        click.echo(str(finding))
    if found:
        click.echo(f"{len(found)} {'finding' if len(found) == 1 else 'findings'}", err=True)
        context.exit(1)
    click.echo("ok: runbook, rules, routes, dashboards and metrics agree")


def _labels(path: Path | None) -> frozenset[str]:
    from exporter.runbook.exported import CONFIGURED

    if path is None:
        return CONFIGURED
    from exporter.config.loader import load

    return CONFIGURED.union(*(member.labels for member in load(path).everything.values()))
