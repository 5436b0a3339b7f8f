"""`make pictures`: every dashboard during faults, drawn without Grafana, into docs/pictures/."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from exporter.dashboards.build import render
from pictures.data import Source, drawn

__all__ = ["main", "page_of", "photograph"]

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
WIDTH, ROW, TOP = 1600, 40, 90
FAULTS = (
    "errors-5xx:case@60-600", "component-down:signals@120", "lock-held:screening@90", "migration-stuck:vault@90",
    "slot-left@60", "consumer-stopped:monitoring@60", "dlq-growing:vault@60", "heap-full:identity@100",
    "certificate-expiring@100", "redis-down@200-320", "service-hung:risk-engine@400",
)  # fmt: skip
"""What is wrong in the demo that is drawn."""
CLUSTER_FAULTS = (
    "crash-loop:case@60", "oom-kill:vault@90", "image-pull:signals@60", "rollout-stuck:identity@60", "hpa-limit@30",
    "node-pressure@120", "certificate-renewed@90",
)  # fmt: skip
"""What is wrong in the demo on Kubernetes."""
ON_KUBERNETES = "kubernetes"
"""The board that is drawn of a demo whose services are Deployments on a control plane."""
SERVICES = {"service": "signals|case|identity"}
"""Services that are chosen on a dashboard that is about few."""


@click.command()
@click.option("--prometheus", help="Address of a Prometheus that scrapes the exporter; else a demo is run, with faults.")
@click.option("--minutes", default=12.0, show_default=True, help="How far back is looked; each demo runs for so long.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs" / "pictures", help="Folder of the pictures.")
@click.argument("boards", nargs=-1)
def main(prometheus: str | None, minutes: float, out: Path, boards: tuple[str, ...]) -> None:
    """Draw BOARDS, or all."""
    out.mkdir(parents=True, exist_ok=True)
    if prometheus is not None:
        _draw(prometheus, minutes, out, boards)
        return
    wanted = boards or _names()
    for where, faults, words in (
        (tuple(name for name in wanted if name != ON_KUBERNETES), FAULTS, ()),
        (tuple(name for name in wanted if name == ON_KUBERNETES), CLUSTER_FAULTS, ("--kubernetes",)),
    ):
        if where:
            with _demo(faults, words) as address:
                click.echo(f"a demo runs for {minutes:g} minutes")
                time.sleep(60 * minutes)
                _draw(address, minutes, out, where)


def _names() -> tuple[str, ...]:
    """Return the boards by the names of their files."""
    return tuple(_name(file) for file in render())


def _name(file: str) -> str:
    return file.removesuffix(".json").partition("-")[2]


@contextmanager
def _demo(faults: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    """Run a demo; give the address of its Prometheus.

    Raises:
        SystemExit: It ended before it was up.
    """
    state = ROOT / ".cache" / "pictures" / ("cluster" if words else "fleet")
    orders = [word for fault in faults for word in ("--fault", fault)]
    command = [sys.executable, "-m", "exporter", "demo", "--ports", "free", "--state", str(state), *words, *orders]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            began, endpoints = time.time(), state / "endpoints.json"
            while not (endpoints.is_file() and endpoints.stat().st_mtime > began):
                if running.poll() is not None:
                    log.seek(0)
                    sys.exit(f"the demo has ended: {log.read().decode(errors='replace')}")
                time.sleep(1)
            yield json.loads(endpoints.read_text("utf-8"))["prometheus"]
        finally:
            running.terminate()


def _draw(prometheus: str, minutes: float, out: Path, boards: tuple[str, ...]) -> None:
    end = time.time() // 15 * 15
    pages: dict[str, dict[str, Any]] = {}
    for name, text in render().items():
        board = _name(name)
        if boards and board not in boards:
            continue
        chosen = {"service": SERVICES["service"]} if board == "service" else {}
        pages[board] = drawn(json.loads(text), Source(prometheus, end - 60 * minutes, end, chosen))
    for board, page in pages.items():
        path = out / f"{board}.png"
        photograph(page_of(page), path, max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in page["panels"]) * ROW + TOP)
        empty = [p["title"] for p in page["panels"] if p["type"] not in ("row", "alertlist") and not p["series"]]
        click.echo(f"{path}: {len(page['panels'])} panels, without data: {', '.join(empty) or 'none'}")


def page_of(page: dict[str, Any]) -> str:
    """Return a page that draws a dashboard with its data."""
    uplot = HERE / "uplot"
    text = (HERE / "page.html").read_text("utf-8")
    parts = {
        "__TITLE__": str(page["title"]),
        "__CSS__": (uplot / "uPlot.min.css").read_text("utf-8"),
        "__UPLOT__": (uplot / "uPlot.iife.min.js").read_text("utf-8"),
        "__DATA__": json.dumps(page).replace("</", "<\\/"),
    }
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


def photograph(page: str, path: Path, height: int) -> None:
    """Take a picture of a page.

    Raises:
        SystemExit: Chromium made none, or there is something on the page that it does not draw as Grafana does.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.html").write_text(page, "utf-8")
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
            f"--window-size={WIDTH},{height}", f"--user-data-dir={folder}/profile",
            f"--screenshot={path.absolute()}", "--virtual-time-budget=4000",
            f"file://{folder}/page.html",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode or not path.is_file():
        sys.exit(f"chromium made no picture: {done.stderr}")
    if "Uncaught" in done.stderr:
        path.unlink()
        sys.exit(f"{path.name} would not show what Grafana does: {done.stderr}")


if __name__ == "__main__":
    main()
