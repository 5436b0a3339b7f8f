"""`serve`: the daemon."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from exporter.cli.options import config_option
from exporter.parsing import Address, parse_address

__all__ = ["serve"]


def _address(_context: click.Context, _option: click.Parameter, value: str | None) -> Address | None:
    try:
        return parse_address(value) if value else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@config_option
@click.option("--listen", callback=_address, help="Listen on host:port instead of where the configuration says.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True)
def serve(config_path: Path, listen: Address | None, log_level: str) -> int:
    """Run the exporter until SIGTERM. SIGHUP reloads the configuration."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # one that comes while it starts must not end it: the file is read anyway
    import logging

    import uvloop

    from exporter.app import App, EssentialTaskEnded
    from exporter.config.loader import load

    log = logging.getLogger("exporter")
    logging.basicConfig(level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = load(config_path)

    async def run() -> None:
        await App(config_path, config, listen).run()

    try:
        uvloop.run(run())
    except EssentialTaskEnded as error:
        log.critical("%s", error, exc_info=error.__cause__)
        return 1
    except OSError as error:
        log.critical("%s", error)
        return 1
    return 0
