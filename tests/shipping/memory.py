"""How little memory does: `python -m tests.shipping.memory` runs the image with 50 targets in ever smaller groups."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from exporter.demo.ports import free_port
from exporter.demo.servers.valkey import ValkeyServer
from tests.fixtures.groups import MemoryGroup, memory_group
from tests.fixtures.image import Box, Image, built

__all__ = ["TARGETS", "fifty", "seen"]

TARGETS = 50


def fifty(valkey: ValkeyServer) -> dict[str, Any]:
    """Return a configuration of so many targets."""
    probes = {"redis": {"interval": "1s", "timeout": "500ms"}}
    instances = [f"127.0.0.1:{valkey.port}"]
    return {"services": {f"cache-{number}": {"instances": instances, "probes": probes} for number in range(TARGETS)}}


def seen(image: Image, folder: Path, valkey: ValkeyServer, group: MemoryGroup) -> float:
    """Run the image in a group until every target is up and was scraped thirty times; return the most it used, in MiB."""
    with Box(image, folder, fifty(valkey)) as box:
        box.wrap = group.wrap
        box.start()
        box.wait(lambda: sum(box.value("probe_success", service=f"cache-{n}") == 1 for n in range(TARGETS)) == TARGETS)
        for _ in range(30):
            for path in ("/metrics", "/", "/api/v1/targets"):
                assert box.status(path) == 200, path
        assert box.stop() == 0, box.log
    return group.peak


@click.command()
def main() -> None:
    """Print for each limit what was in use at most, or that it was too little."""
    with built() as image, tempfile.TemporaryDirectory() as place:
        for mib in (256, 128, 96, 64, 48):
            folder = Path(place) / str(mib)
            folder.mkdir()
            valkey = ValkeyServer(folder / "valkey", free_port())
            with valkey, memory_group(mib) as group:
                if group is None:
                    raise click.ClickException("no control group can be made here")
                try:
                    click.echo(f"{mib:4} MiB: {seen(image, folder, valkey, group):.0f} MiB in use at most")
                except (AssertionError, OSError, ValueError) as error:
                    click.echo(f"{mib:4} MiB: too little ({type(error).__name__})")


if __name__ == "__main__":
    main()
