"""`serve`: the daemon."""

from __future__ import annotations

import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

import click

from exporter.cli.options import config_option
from exporter.cli.verbs import Verb
from exporter.parsing import Address, parse_address

__all__ = ["serve"]


def _address(_context: click.Context, _option: click.Parameter, value: str | None) -> Address | None:
    try:
        return parse_address(value) if value else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _open_standard_streams() -> None:
    """Put nothing in the place of standard streams that are closed: the event loop's own pipes would take their numbers, and
    the log would be written into them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    """End before there is anything to end. Process 1 of a container has only the signals that it asks for."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run it as `uvloop.run` does, also where no thread is left at the end to wait for those of the loop's pool."""
    import asyncio

    from exporter.net.loop import Loop
    from exporter.net.pool import is_no_thread

    runner = asyncio.Runner(loop_factory=Loop)
    try:
        runner.run(main)
    finally:
        try:
            runner.close()
        except RuntimeError as error:
            if not is_no_thread(error):
                raise


@click.command(
    cls=Verb,
    examples=(
        ("serve", "With config/exporter.yml; the status page is where the configuration says, by default on port 9818."),
        ("serve --config exporter.yml --listen 127.0.0.1:9818", "For this machine alone."),
        ("serve --web.config.file web.yml", "With TLS and users, as Prometheus' exporters have them."),
    ),
)
@config_option
@click.option("--listen", callback=_address, help="Listen on host:port instead of where the configuration says.")
@click.option(
    "--web.config.file",
    "web_config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TLS, users and headers of the endpoints, in the format of exporter-toolkit; followed as it changes.",
)
@click.option("--web.enable-lifecycle", "lifecycle", is_flag=True, help="Let POST /-/reload reload the configuration.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True,
    help="What is logged: this, and what is worse.",
)  # fmt: skip
def serve(config_path: Path, listen: Address | None, web_config: Path | None, lifecycle: bool, log_level: str) -> int:
    """Run the exporter until SIGTERM. SIGHUP reloads the configuration."""
    _open_standard_streams()
    signal.signal(signal.SIGTERM, _end_at_once)
    # One that comes while it starts must not end it, and waits: the file may have changed since it was read.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    import logging

    from exporter.app import App, EssentialTaskEnded, WebOptions
    from exporter.config.loader import load
    from exporter.logs import LogThread
    from exporter.net.pool import small_stacks

    log = logging.getLogger("exporter")
    config = load(config_path)
    small_stacks()
    try:
        lines = LogThread(log_level.upper())
    except OSError as error:
        click.echo(error.strerror, err=True)
        return 1
    web = WebOptions(web_config, lifecycle, lambda: lines.dropped)

    async def run() -> None:
        await App(config_path, config, listen, web).run()

    try:
        _run(run())
    except EssentialTaskEnded as error:
        log.critical("%s", error, exc_info=error.__cause__)
        return 1
    except OSError as error:
        log.critical("%s", error)
        return 1
    except MemoryError:
        log.critical("there is no memory left to run with")
        return 1
    finally:
        lines.close()
    return 0
