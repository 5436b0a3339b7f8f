"""`serve`: the daemon."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click
import uvloop

from exporter.cli.options import config_option
from exporter.config.loader import load
from exporter.values import Address, parse_address

__all__ = ["serve"]

log = logging.getLogger("exporter")


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
    from exporter.app import App, EssentialTaskEnded  # noqa: PLC0415 - the web server would slow every other verb's start

    logging.basicConfig(level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("aiokafka", "asyncio"):  # what they report reaches people as verdicts with reasons
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
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
