"""`hafnium-exporter demo`: start the fleet, say where to look, play the faults, and leave nothing behind."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from exporter.demo.cluster import NAMESPACE, build
from exporter.demo.faults import Order, play
from exporter.demo.fleet import Fleet, Options
from exporter.demo.processes import ServerError, StartError

__all__ = ["run_demo"]

_MARK = "hafnium-exporter-demo"


def run_demo(options: Options, orders: Sequence[Order], duration: float | None, console: Console) -> None:
    """Run until interrupted, or for `duration` seconds after everything is up.

    Raises:
        ServerError: Something does not start, or ends by itself; everything else is ended.
    """
    with _own(options.state):
        asyncio.run(_run(options, orders, duration, console))


async def _run(options: Options, orders: Sequence[Order], duration: float | None, console: Console) -> None:
    began = time.monotonic()

    def tell(text: str, style: str = "") -> None:
        at = f"[dim]{time.monotonic() - began:6.1f}[/dim]"
        console.print(f"{at}  [{style or 'default'}]{escape(text)}[/]", highlight=False)

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if options.kubernetes:
        await build(tell, stop)
        if stop.is_set():
            return
    fleet = Fleet(options)
    fleet.pagerduty.told = lambda event: tell(f"page  {_in_words(event, fleet.pagerduty.events)}", "bold red")
    async with fleet.running(tell, stop):
        if not stop.is_set():
            _say_where(fleet, console)
            await _watch(fleet, orders, duration, stop, tell)
        tell("stopping")
    tell("everything has ended")


async def _watch(fleet: Fleet, orders: Sequence[Order], duration: float | None, stop: asyncio.Event, tell: Any) -> None:
    faults = [asyncio.create_task(play(order, fleet, lambda text: tell(text, "yellow"))) for order in orders]
    try:
        async with asyncio.timeout(duration):
            while not stop.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await stop.wait()
                if (ended := fleet.ended()) is not None and ended.child is not None:
                    raise ServerError(f"{ended.name} has ended; its log ends with:\n{ended.child.log_tail()}")
                for fault in faults:
                    if fault.done():
                        fault.result()
    except TimeoutError:
        tell(f"{duration:g} s are over")
    finally:
        for fault in faults:
            fault.cancel()
        await asyncio.gather(*faults, return_exceptions=True)


def _say_where(fleet: Fleet, console: Console) -> None:
    where = fleet.endpoints()
    rows = [
        ("status page", f"{where['exporter']}/"),
        ("metrics", f"{where['exporter']}/metrics"),
        ("quick check", f"hafnium-exporter check --config {where['config']}"),
        ("a service", f"{next(iter(where['services'].values()))}/actuator/health"),
        ("Prometheus", where["prometheus"] or _absent(fleet, "prometheus")),
        ("Alertmanager", where["alertmanager"] or _absent(fleet, "prometheus-alertmanager")),
        *(
            [
                (
                    "kubectl",
                    f"{fleet.cluster.plane.programs / 'kubectl'} --kubeconfig {where['kubeconfig']} -n {NAMESPACE} get pods",
                )
            ]
            if fleet.cluster
            else []
        ),
        ("pages", f"{where['pagerduty']}/ (in PagerDuty's place)"),
        ("logs", f"{fleet.options.state}/*/*.log"),
    ]
    console.print()
    for name, place in rows:
        console.print(f"  [bold]{name:<13}[/bold] {escape(place)}", highlight=False, soft_wrap=True)
    console.print(
        "\n  Ctrl-C ends everything. Break something: --fault db-down@10-40; all: --list-faults\n", highlight=False
    )


def _absent(fleet: Fleet, package: str) -> str:
    return f"not installed: apt-get install {package}" if fleet.options.prometheus else "left out: --no-prometheus"


def _in_words(event: dict[str, Any], events: Sequence[dict[str, Any]]) -> str:
    """Put a page into words; PagerDuty knows what is resolved by the key alone, people by what it was."""
    if event["event_action"] == "trigger":
        return f"{event['payload']['severity']}: {event['payload']['summary']}"
    key = event["dedup_key"]
    what = [e["payload"]["summary"] for e in events if e["dedup_key"] == key and e["event_action"] == "trigger"]
    return f"{event['event_action']}d: {what[-1] if what else key[:12]}"


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Take a folder for this demo alone, emptied; refuse one that is somebody else's.

    Raises:
        StartError: It is in use, or holds what no demo put there.
    """
    mark = folder / _MARK
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise StartError(f"{folder} holds other files: choose another with --state")
    folder.mkdir(parents=True, exist_ok=True)
    with mark.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError(f"another demo runs in {folder}: end it, or choose another with --state") from None
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != mark:
                path.unlink()
        yield
