"""`alerts`: rules, routes and Prometheus' configuration from code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from exporter.cli.generating import deliver
from exporter.cli.options import seconds
from exporter.cli.verbs import Verb

__all__ = ["alerts"]


@click.group()
def alerts() -> None:
    """Make the alerting rules and routes."""


@alerts.command(
    cls=Verb,
    short_help="Write rules, routes and Prometheus' configuration.",
    examples=(
        ("alerts build", "Into alerts/, for the names of this repository."),
        ("alerts build --output rules --config exporter.yml --job probes", "For one's own fleet and Prometheus."),
        ("alerts build --check", "In CI: exit code 1 where a file differs from the code."),
    ),
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("alerts"),
    show_default=True,
    help="Folder of the files.",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Configuration of the exporter: leaves out alerts over probes that it has none of, gives each team that a label "
    "`team` names a receiver, and takes the addresses of runbook and Grafana from its `links` where none are given.",
)
@click.option("--job", help="Job of the exporter in Prometheus.  [default: hafnium-exporter]")
@click.option("--scrape-interval", metavar="DURATION", callback=seconds, help="Of that job.  [default: 15s]")
@click.option("--runbook-url", help="Address of the page of docs/runbook.md; each alert adds the anchor of its section.")
@click.option("--grafana-url", help="Address of Grafana.  [default: http://grafana:3000]")
@click.option("--dead-mans-switch", help="Where the Watchdog is sent: what raises the alarm when it stops.")
@click.option("--exporter", help="Address that Prometheus scrapes.  [default: hafnium-exporter:9818]")
@click.option("--alertmanager", help="Address that Prometheus sends alerts to.  [default: alertmanager:9093]")
@click.option("--name", help="Of the fleet, for groups of rules and Kubernetes objects.  [default: hafnium]")
@click.option("--namespace", help="Of the Kubernetes objects.  [default: hafnium]")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file differs from the code.")
@click.pass_context
def build(context: click.Context, /, output: Path, config_path: Path | None, check: bool, **chosen: Any) -> None:
    """Write the rules, Alertmanager's and Prometheus' configuration, and the objects for the Prometheus operator.

    Thresholds are not here: they are `thresholds` in the exporter's configuration, exported, and followed by the rules.
    """
    from exporter.alerts import build as files
    from exporter.alerts.model import Options

    given = {name: value for name, value in chosen.items() if value is not None}
    options = Options(**{**_of_config(config_path), **given})
    deliver(
        context,
        "alerts build",
        write=lambda: files.write(output, options),
        differences=lambda: files.check(output, options),
        check=check,
    )


def _of_config(path: Path | None) -> dict[str, Any]:
    """Return what the alerts follow of a configuration."""
    if path is None:
        return {}
    from exporter.config.loader import load

    config = load(path)
    members = config.everything.values()
    teams = {member.labels["team"] for member in members if "team" in member.labels}
    found = {"teams": tuple(sorted(teams)), "kinds": frozenset(kind for member in members for kind in member.probe_settings)}
    grafana = (config.links.dashboard or "").partition("/d/")[0]  # a dashboard's address goes on behind it
    links = {"runbook_url": config.links.runbook, "grafana_url": grafana}
    return {**found, **{name: link for name, link in links.items() if link}}
