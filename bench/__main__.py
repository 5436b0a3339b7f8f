"""Run the benchmark, print its figures, and exit 1 where one misses its limit."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click

from bench import cpu, scrape
from bench.cpu import CpuCost

MAX_ATTEMPT_RATIO = 1.0
MAX_HEALTH_RATIO = 0.4
MIN_SCRAPE_RATIO = 40.0
MAX_SCRAPE_SECONDS = 0.020


@click.command()
@click.option("--duration", default=20.0, show_default=True, help="Seconds to measure the CPU of each program for.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def main(duration: float, output: str) -> None:
    """Measure attempts beside Prometheus, health beside blackbox_exporter, a scrape beside prometheus_client."""
    cost = scrape.run()
    with tempfile.TemporaryDirectory() as folder:
        attempt = cpu.shipped_beside_prometheus(Path(folder), duration)
        health = cpu.health_beside_blackbox(Path(folder), duration / 2)
    checks = {
        "CPU of a whole attempt": _ratio(attempt) <= MAX_ATTEMPT_RATIO,
        "CPU of a health request": _ratio(health) <= MAX_HEALTH_RATIO,
        "scrape ratio": cost.ratio >= MIN_SCRAPE_RATIO,
        "scrape on the loop": cost.store <= MAX_SCRAPE_SECONDS,
    }
    if output == "json":
        click.echo(json.dumps({
            "attempt_cpu_ms": attempt[0].milliseconds,
            "prometheus_cpu_ms_per_scrape": attempt[1].milliseconds,
            "attempt_cpu_ratio": _ratio(attempt),
            "health_cpu_ms": health[0].milliseconds,
            "blackbox_cpu_ms_per_probe": health[1].milliseconds,
            "health_cpu_ratio": _ratio(health),
            "scrape_series": scrape.SERIES,
            "scrape_ms": cost.store * 1000,
            "prometheus_client_ms": cost.client * 1000,
            "scrape_ratio": cost.ratio,
            "ok": checks,
        }))  # fmt: skip
    else:
        _print_pair(
            "CPU of a whole attempt by the shipped settings: health, its groups, meters of 98 kB",
            attempt, "Prometheus", "the same 98 kB, scraped", MAX_ATTEMPT_RATIO,
        )  # fmt: skip
        _print_pair("CPU of a health request alone", health, "blackbox_exporter", "whole process", MAX_HEALTH_RATIO)
        click.echo(f"Scrape of {scrape.SERIES:,} series, {cost.size / 1e6:.1f} MB:")
        click.echo(
            f"  hafnium-exporter   {cost.store * 1000:8.1f} ms   of event-loop time, at most {MAX_SCRAPE_SECONDS * 1000:.0f}"
        )
        click.echo(f"  prometheus_client  {cost.client * 1000:8.1f} ms")
        click.echo(f"  ratio              {cost.ratio:8.0f}      at least {MIN_SCRAPE_RATIO:.0f}")
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


if __name__ == "__main__":
    main()
