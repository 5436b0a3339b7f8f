"""What `check` prints for people: one table and one line."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.engine.oneshot import CheckResult, ServiceResult
from exporter.verdict import Verdict

__all__ = ["print_table"]

_STYLES = {Verdict.UP: "green", Verdict.DOWN: "bold red", Verdict.UNKNOWN: "yellow"}


def print_table(result: CheckResult, *, clear: bool) -> None:
    """Print a result, over what was there before where the screen is to be cleared."""
    console = Console()
    if clear:
        console.clear()
    console.print(_table(result.services))
    console.print(
        f"{result.summary} in {result.seconds:.1f} s", style=_STYLES.get(result.verdict, "yellow"), highlight=False
    )


def _table(services: Sequence[ServiceResult]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("SERVICE", "STATUS", "INSTANCES", "LATENCY", "WHAT"):
        table.add_column(title, overflow="fold", justify="right" if title == "LATENCY" else "left")
    for service in services:
        latency = max((t.outcome.duration for t in service.targets), default=0.0)
        table.add_row(
            service.name,
            Text(service.verdict.value.upper() + ("*" if service.degraded else ""), style=_STYLES[service.verdict]),
            f"{service.up}/{service.total}",
            f"{latency * 1000:.0f} ms",
            Text("; ".join(service.notes) or "ok", style="" if service.notes else "dim"),
        )
    return table
