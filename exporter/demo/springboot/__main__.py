"""Run the simulated services: `python -m exporter.demo.springboot --spec FILE`. Prints READY when all listen."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import uvloop
from aiohttp import web

from exporter.demo.springboot.actuator import Site
from exporter.demo.springboot.control import control
from exporter.demo.springboot.service import Service
from exporter.demo.springboot.spec import Spec

START_PATIENCE = 2.0
"""Seconds that the ports stay closed for the servers behind the services; without them they open all the same."""
STOP_PATIENCE = 2.0


async def run(spec: Spec) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        OSError: A port is taken.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sites = {item.name: Site(Service(item, spec)) for item in spec.services}
    runner = web.AppRunner(control(sites), access_log=None, handle_signals=False, shutdown_timeout=0.1)
    tasks = [asyncio.create_task(site.service.run(), name=name) for name, site in sites.items()]
    ending = asyncio.create_task(stop.wait(), name="stop")
    try:
        await _started(site.service for site in sites.values())
        for site in sites.values():
            await site.open()
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", spec.control_port).start()
        click.echo("READY")
        await asyncio.wait([ending, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()  # nothing ends by itself
    finally:
        await _end([ending, *tasks])
        for site in sites.values():
            await site.close()
        await runner.cleanup()


async def _started(services: Iterable[Service]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_PATIENCE):
            await asyncio.gather(*(service.started() for service in services))


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel, and do not wait long for a library that clings to a server which does not answer."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=STOP_PATIENCE)


@click.command()
@click.option("--spec", "path", type=click.Path(path_type=Path, exists=True), required=True)
def main(path: Path) -> None:
    """Run the simulated services."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    uvloop.run(run(Spec.read(path)))


if __name__ == "__main__":
    main()
