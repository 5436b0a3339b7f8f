"""Run the simulated services: `python -m exporter.demo.springboot --spec FILE`. Prints READY when all listen."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import click
import uvloop
from aiohttp import web
from pydantic import ValidationError

from exporter.demo.springboot.actuator import Site
from exporter.demo.springboot.service import Service
from exporter.demo.springboot.spec import FAULTS, FaultOrder, Spec


async def run(spec: Spec) -> None:
    """Run until SIGTERM."""
    sites = {item.name: Site(Service(item, spec)) for item in spec.services}
    runner = web.AppRunner(_control(sites), access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    for site in sites.values():
        await site.open()
    await web.TCPSite(runner, "127.0.0.1", spec.control_port).start()
    tasks = [asyncio.create_task(site.service.run(), name=name) for name, site in sites.items()]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    click.echo("READY")
    ended = asyncio.create_task(stop.wait())
    await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in (ended, *tasks):
        task.cancel()
    async with asyncio.timeout(2):
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    for site in sites.values():
        await site.close()
    await runner.cleanup()


def _control(sites: dict[str, Site]) -> web.Application:
    async def order(request: web.Request) -> web.Response:
        try:
            wanted = FaultOrder.model_validate_json(await request.read())
        except ValidationError as error:
            return web.Response(status=400, text=str(error))
        if wanted.service not in sites or wanted.fault not in FAULTS:
            return web.Response(status=400, text=f"services: {', '.join(sites)}; faults: {', '.join(FAULTS)}")
        site = sites[wanted.service]
        await site.service.order(wanted.fault, on=wanted.on)
        if wanted.fault == "stop":
            await (site.close() if wanted.on else site.open())
        return web.json_response(sorted(site.service.faults))

    app = web.Application()
    app.router.add_post("/fault", order)
    return app


@click.command()
@click.option("--spec", "path", type=click.Path(path_type=Path, exists=True), required=True)
def main(path: Path) -> None:
    """Run the simulated services."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    uvloop.run(run(Spec.read(path)))


if __name__ == "__main__":
    main()
