"""`explain`: what is wrong with one service, why, what else it takes down, and what the runbook says to do."""

from __future__ import annotations

import json
from pathlib import Path

import click

from exporter.cli.options import config_option, seconds

__all__ = ["explain"]


@click.command()
@click.argument("service")
@config_option
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--timeout", default="3s", show_default=True, callback=seconds, help="Time for a target, rechecked or not.")
def explain(service: str, config_path: Path, output: str, timeout: float) -> int:
    """Probe a service, what it needs and what needs it, and say what is wrong and why.

    Exit code, of the service itself: 0 ok, 1 degraded, 2 down, 3 unknown or bad usage.
    """
    import uvloop

    from exporter.cli.explanation import Explanation
    from exporter.config.loader import load
    from exporter.engine.oneshot import diagnose_fleet

    config = load(config_path)
    if service not in config.everything:
        raise click.UsageError(f"no such service: {service}; known: {', '.join(config.everything)}")
    found = Explanation(uvloop.run(diagnose_fleet(config, service, timeout)), config.links.runbook, config.everything)
    if output == "json":
        click.echo(json.dumps(found.as_dict(), indent=2))
    else:
        for line in found.lines():
            click.echo(line)
    return found.exit_code
