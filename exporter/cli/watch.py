"""`check --watch`: the check again and again, on a screen of its own where there is a terminal."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from exporter.cli.rows import print_result
from exporter.cli.table import listed, summary
from exporter.engine.checked import CheckResult

__all__ = ["ENDED", "watch"]

ENDED = 130
"""Exit code when a person ends it: that of SIGINT, as shells have it."""

Check = Callable[[], Awaitable[tuple[CheckResult, str]]]
Show = Callable[[CheckResult], None]


async def watch(check: Check, pause: float, show: Show | None) -> int:
    """Check for ever; ended by SIGINT or SIGTERM, with the last result left behind.

    Args:
        check: Does it once; returns what it came to, and what is to be told beside it.
        pause: Seconds between the end of one and the begin of the next.
        show: Prints each result, one after the other; None: on a screen that is kept up to date, where there is one.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    results = _results(check, pause, stop)
    console = Console(highlight=False)
    if show is not None or not console.is_terminal or console.is_dumb_terminal:
        told = ""
        async for result, note in results:
            if note and note != told:
                click.echo(note, err=True)
            told = note
            (show or print_result)(result)
            console.file.flush()
        return ENDED
    last = None
    with Live(Text("probing …", style="dim"), console=console, screen=True, vertical_overflow="crop") as live:
        async for last, note in results:
            live.update(_Screen(last, note, pause), refresh=True)  # and four times a second, so that a new size is taken in
    if last is not None:
        print_result(last)
    return ENDED


class _Screen:
    """A result as it fits into the terminal as it is now: where lines are too few for all, how it is as a whole stays."""

    def __init__(self, result: CheckResult, note: str, pause: float) -> None:
        self._result = result
        self._note = Text(note, style="yellow", overflow="fold") if note else None
        clock = time.strftime("%H:%M:%S")
        self._head = Text(
            f"{clock}, again every {pause:g} s; Ctrl-C ends it", style="dim", no_wrap=True, overflow="ellipsis"
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._head
        free = options.update(height=None)
        lines = console.render_lines(listed(self._result, console.width), free, pad=False)
        if self._note is not None:
            lines = [*console.render_lines(self._note, free, pad=False), *lines]
        room = max(console.height - 2, 1)
        if len(lines) > room:
            more = Text(f"… {len(lines) - room + 1} more lines", style="dim", no_wrap=True, overflow="ellipsis")
            lines = [*lines[: room - 1], *console.render_lines(more, free, pad=False)]
        for line in lines:
            yield from line
            yield Segment.line()
        last = summary(self._result)
        last.no_wrap, last.overflow = True, "ellipsis"
        yield last


async def _results(check: Check, pause: float, stop: asyncio.Event) -> AsyncIterator[tuple[CheckResult, str]]:
    """Yield results until it is stopped, also in the middle of a check."""
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            checking = asyncio.ensure_future(check())
            try:
                await asyncio.wait({checking, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not checking.done():
                    return
                yield checking.result()
            finally:
                checking.cancel()
                await asyncio.gather(checking, return_exceptions=True)
            await asyncio.wait({stopping}, timeout=pause)
    finally:
        stopping.cancel()
