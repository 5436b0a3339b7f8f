"""`check`: the runbook's quick health check, for the whole fleet, in seconds."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.cli.options import config_option, seconds

if TYPE_CHECKING:
    from exporter.engine.oneshot import CheckResult

__all__ = ["check"]


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
    import uvloop

    from exporter.config.loader import load
    from exporter.engine.oneshot import check_fleet

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
    from exporter.cli.table import print_table

    print_table(result, clear=clear)
