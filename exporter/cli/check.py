"""`check`: the runbook's quick health check, for the whole fleet, in seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.cli.options import config_option, seconds
from exporter.config.loader import load
from exporter.engine.oneshot import CheckResult, ServiceResult, check_fleet
from exporter.verdict import Verdict

__all__ = ["check"]

_STYLES = {Verdict.UP: "green", Verdict.DOWN: "bold red", Verdict.UNKNOWN: "yellow"}


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@config_option
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--timeout", default="1.2s", show_default=True, callback=seconds, help="Time for a target, rechecked or not.")
@click.option(
    "--watch", is_flag=False, flag_value="2s", default=None, callback=seconds, help="Repeat, every 2s or as given."
)
def check(services: tuple[str, ...], config_path: Path, output: str, timeout: float, watch: float | None) -> int:
    """Probe everything now and print one table.

    Exit code: 0 ok, 1 degraded, 2 a service is down, 3 unknown or bad usage.
    """
    config = load(config_path)
    unknown = [name for name in services if name not in config.everything]
    if unknown:
        raise click.UsageError(f"no such service: {', '.join(unknown)}; known: {', '.join(config.everything)}")
    while True:
        result = uvloop.run(check_fleet(config, services, timeout))
        _print(result, output, clear=watch is not None)
        if watch is None:
            return result.exit_code
        time.sleep(watch)


def _print(result: CheckResult, output: str, *, clear: bool) -> None:
    if output == "json":
        click.echo(json.dumps(result.as_dict(), indent=None if clear else 2))
        return
    console = Console()
    if clear:
        console.clear()
    console.print(_table(result.services))
    console.print(
        f"{result.summary} in {result.seconds:.1f} s", style=_STYLES.get(result.verdict, "yellow"), highlight=False
    )


def _table(services: Sequence[ServiceResult]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("SERVICE", "STATUS", "INSTANCES", "LATENCY", "WHAT"):
        table.add_column(title, overflow="fold", justify="right" if title == "LATENCY" else "left")
    for service in services:
        latency = max((t.outcome.duration for t in service.targets), default=0.0)
        table.add_row(
            service.name,
            Text(service.verdict.value.upper() + ("*" if service.degraded else ""), style=_STYLES[service.verdict]),
            f"{service.up}/{service.total}",
            f"{latency * 1000:.0f} ms",
            Text("; ".join(service.notes) or "ok", style="" if service.notes else "dim"),
        )
    return table
