"""Run the benchmark, print its figures, and exit 1 where one misses its limit."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click

from bench import cpu, scrape
from bench.cpu import CpuCost
from bench.scrape import ScrapeCost

MAX_ATTEMPT_RATIO = 1.0
MAX_HEALTH_RATIO = 0.4
MIN_PLAIN_RATIO = 20.0
MIN_PACKED_RATIO = 10.0
MIN_LOOP_RATIO = 40.0
MAX_AT_ONCE_RATIO = 4.0


@click.command()
@click.option("--duration", default=20.0, show_default=True, help="Seconds to measure the CPU of each program for.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def main(duration: float, output: str) -> None:
    """Measure attempts beside Prometheus, health beside blackbox_exporter, a scrape beside prometheus_client."""
    with tempfile.TemporaryDirectory() as folder:
        cost = scrape.run(Path(folder))
        attempt = cpu.shipped_beside_prometheus(Path(folder), duration)
        health = cpu.health_beside_blackbox(Path(folder), duration / 2)
    checks = {
        "CPU of a whole attempt": _ratio(attempt) <= MAX_ATTEMPT_RATIO,
        "CPU of a health request": _ratio(health) <= MAX_HEALTH_RATIO,
        "CPU of a scrape": cost.plain_ratio >= MIN_PLAIN_RATIO,
        "CPU of a compressed scrape": cost.packed_ratio >= MIN_PACKED_RATIO,
        "a scrape on the loop": cost.loop_ratio >= MIN_LOOP_RATIO,
        "scrapes at once": cost.at_once_ratio <= MAX_AT_ONCE_RATIO,
    }
    if output == "json":
        click.echo(json.dumps({
            "attempt_cpu_ms": attempt[0].milliseconds,
            "prometheus_cpu_ms_per_scrape": attempt[1].milliseconds,
            "attempt_cpu_ratio": _ratio(attempt),
            "health_cpu_ms": health[0].milliseconds,
            "blackbox_cpu_ms_per_probe": health[1].milliseconds,
            "health_cpu_ratio": _ratio(health),
            "scrape_series": cost.series,
            "scrape_bytes": cost.size,
            "scrape_cpu_ms": {"whole": cost.plain.whole * 1000, "loop": cost.plain.loop * 1000},
            "packed_scrape_cpu_ms": {"whole": cost.packed.whole * 1000, "loop": cost.packed.loop * 1000},
            "scrapes_at_once_cpu_ms": {"whole": cost.at_once.whole * 1000, "loop": cost.at_once.loop * 1000},
            "prometheus_client_ms": cost.client * 1000,
            "prometheus_client_packed_ms": cost.client_packed * 1000,
            "scrape_ratio": cost.plain_ratio,
            "packed_scrape_ratio": cost.packed_ratio,
            "loop_ratio": cost.loop_ratio,
            "at_once_ratio": cost.at_once_ratio,
            "ok": checks,
        }))  # fmt: skip
    else:
        _print_pair(
            "CPU of a whole attempt by the shipped settings: health, its groups, meters of 98 kB",
            attempt, "Prometheus", "the same 98 kB, scraped", MAX_ATTEMPT_RATIO,
        )  # fmt: skip
        _print_pair("CPU of a health request alone", health, "blackbox_exporter", "whole process", MAX_HEALTH_RATIO)
        _print_scrape(cost)
    missed = [name for name, ok in checks.items() if not ok]
    if missed:
        click.echo(f"missed: {', '.join(missed)}", err=True)
        sys.exit(1)


def _ratio(costs: tuple[CpuCost, CpuCost]) -> float:
    return costs[0].milliseconds / costs[1].milliseconds


def _print_pair(title: str, costs: tuple[CpuCost, CpuCost], peer: str, what: str, most: float) -> None:
    ours, theirs = costs
    click.echo(f"{title}; {ours.runs} and {theirs.runs} of them, kept alive:")
    click.echo(f"  hafnium-exporter   {ours.milliseconds:8.3f} ms   (whole daemon)")
    click.echo(f"  {peer:17}  {theirs.milliseconds:8.3f} ms   ({what})")
    click.echo(f"  ratio              {_ratio(costs):8.2f}      at most {most}")


def _print_scrape(cost: ScrapeCost) -> None:
    click.echo(f"CPU of a scrape of {cost.series:,} series of a fleet, {cost.size / 1e6:.1f} MB; medians:")
    rows = (
        ("plain", cost.plain, cost.client, cost.plain_ratio, MIN_PLAIN_RATIO),
        ("gzip", cost.packed, cost.client_packed, cost.packed_ratio, MIN_PACKED_RATIO),
    )
    for name, ours, theirs, ratio, least in rows:
        loop = f"of it {ours.loop * 1000:.1f} the event loop's"
        click.echo(f"  {name:5}  hafnium-exporter   {ours.whole * 1000:8.1f} ms   whole daemon, {loop}")
        click.echo(f"  {name:5}  prometheus_client  {theirs * 1000:8.1f} ms   generate_latest, its samples being ready")
        click.echo(f"  {name:5}  ratio              {ratio:8.1f}      at least {least}")
    click.echo(f"  gzip   loop alone, ratio  {cost.loop_ratio:8.1f}      at least {MIN_LOOP_RATIO}")
    whole, on_loop = cost.at_once.whole * 1000, cost.at_once.loop * 1000
    click.echo(
        f"  gzip   {scrape.AT_ONCE} at once         {whole:8.1f} ms   whole daemon, of it {on_loop:.1f} the event loop's"
    )
    click.echo(f"  gzip   as many scrapes    {cost.at_once_ratio:8.1f}      at most {MAX_AT_ONCE_RATIO}")


if __name__ == "__main__":
    main()
