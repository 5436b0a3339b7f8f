"""Takes the pictures of docs/status-page.md from an exporter that is running, as the demo's with a fault.

hafnium-exporter demo --fault db-down@20 &
python -m tests.web.pictures http://127.0.0.1:9818 postgres docs/pictures
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.web.browser import chromium

__all__ = ["take"]

WINDOWS = {"wide": (1300, 800, False), "dark": (1300, 800, True), "narrow": (390, 844, False)}


async def take(address: str, service: str, folder: Path) -> None:
    """Take a picture of the fleet in each window, and of one service.

    Args:
        address: Of the exporter.
        service: Which service.
        folder: Where the pictures go.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir="/tmp") as profile:
        async with chromium(Path(profile)) as browser:
            for name, (width, height, dark) in WINDOWS.items():
                await browser.visit(f"{address}/?refresh=off", width=width, height=height, dark=dark)
                await asyncio.to_thread((folder / f"status-{name}.png").write_bytes, await browser.picture())
            await browser.visit(f"{address}/services/{service}?refresh=off", width=1300, height=1100, dark=False)
            await asyncio.to_thread((folder / "status-service.png").write_bytes, await browser.picture())


if __name__ == "__main__":
    asyncio.run(take(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
