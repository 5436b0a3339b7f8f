"""How little memory does: `python -m tests.shipping.memory` runs the image with 50 targets in ever smaller groups."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from exporter.demo.ports import free_port
from exporter.demo.servers.valkey import ValkeyServer
from tests.app.daemon import Daemon
from tests.fixtures.groups import MemoryGroup, memory_group
from tests.fixtures.image import Box, Image, built

__all__ = ["TARGETS", "fifty", "seen"]

TARGETS = 50


def fifty(valkey: ValkeyServer) -> dict[str, Any]:
    """Return a configuration of so many targets."""
    probes = {"redis": {"interval": "1s", "timeout": "500ms"}}
    instances = [f"127.0.0.1:{valkey.port}"]
    return {"services": {f"cache-{number}": {"instances": instances, "probes": probes} for number in range(TARGETS)}}


def seen(daemon: Daemon, group: MemoryGroup) -> float:
    """Run a daemon of `fifty` in a group until all is up and was looked at; return the most it used, in MiB."""
    daemon.wrap = group.wrap
    with daemon:
        daemon.start()
        daemon.wait(lambda: _up(daemon) == TARGETS)
        for _ in range(30):
            for path in ("/metrics", "/", "/api/v1/targets"):
                assert daemon.status(path) == 200, path
        assert daemon.stop() == 0, daemon.log
    return group.peak


def _up(daemon: Daemon) -> int:
    return sum(value == 1 for (name, _), value in daemon.metrics().items() if name == "probe_success")


@click.command()
@click.option("--installed", is_flag=True, help="Run what is installed here, where the image cannot be built.")
def main(*, installed: bool) -> None:
    """Print for each limit what was in use at most, or that it was too little."""
    with ExitStack() as stack:
        image = None if installed else stack.enter_context(built())
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for mib in (256, 128, 96, 64, 48):
            click.echo(f"{mib:4} MiB: {_tried(image, place / str(mib), mib)}")


def _tried(image: Image | None, folder: Path, mib: int) -> str:
    folder.mkdir()
    valkey = ValkeyServer(folder / "valkey", free_port())
    with valkey, memory_group(mib) as group:
        if group is None:
            raise click.ClickException("no control group can be made here")
        config = fifty(valkey)
        try:
            used = seen(Daemon(folder, config) if image is None else Box(image, folder, config), group)
        except (AssertionError, OSError, ValueError) as error:
            return f"too little ({type(error).__name__})"
    return f"{used:.0f} MiB in use at most"


if __name__ == "__main__":
    main()
