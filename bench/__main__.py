"""Run the benchmark, print its figures, and exit 1 where one misses its limit."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from bench import cpu, fleet, scrape
from bench.cpu import CpuCost
from bench.fleet import FleetCost, StartCost
from bench.kubernetes import kubernetes_checks, measure_kubernetes, print_kubernetes
from bench.lag import SIZES, lag_checks, measure_lag, print_lag
from bench.postgres import postgres_beside_postgres_exporter
from bench.redis import redis_beside_redis_exporter
from bench.scrape import ScrapeCost

MAX_ATTEMPT_RATIO = 1.0
MAX_HEALTH_RATIO = 0.4
MAX_REDIS_RATIO = 0.25
MAX_POSTGRES_RATIO = 1.0
MIN_PLAIN_RATIO = 20.0
MIN_PACKED_RATIO = 10.0
MIN_LOOP_RATIO = 40.0
MAX_AT_ONCE_RATIO = 4.0
MAX_START_SECONDS = 0.15
MAX_IDLE_CORES = 0.001
MAX_FLEET_CORES = 0.3
MAX_FLEET_MIB = 400
MIN_ON_TIME = 0.99
MAX_STALL_SECONDS = 0.05

REFERENCE_MS = 1.24
"""What Prometheus pays for a scrape of the metrics answer, by this very benchmark, on the machine that the limits in seconds
are for. They are stretched by as much as this machine is slower in the same run."""


@click.command()
@click.option("--duration", default=20.0, show_default=True, help="Seconds to measure the CPU of each program for.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def main(duration: float, output: str) -> None:
    """Measure attempts, scrapes and servers beside peers, 5,000 instances, 5,000 pods, Kafka's lags, the command line."""
    with tempfile.TemporaryDirectory() as folder:
        cost = scrape.run(Path(folder))
        attempt = cpu.shipped_beside_prometheus(Path(folder), duration)
        health = cpu.health_beside_blackbox(Path(folder), duration)
        cache = redis_beside_redis_exporter(Path(folder), duration)
        postgres = postgres_beside_postgres_exporter(Path(folder), duration)
        start = fleet.measure_start(Path(folder))
        slowness = max(1.0, attempt[1].milliseconds / REFERENCE_MS)
        many = fleet.measure_fleet(Path(folder), 2 * duration, slowness=slowness)
        pods = measure_kubernetes(Path(folder), 2 * duration)
        lags = [measure_lag(Path(folder), size) for size in SIZES]
    checks = {
        "CPU of a whole attempt": _ratio(attempt) <= MAX_ATTEMPT_RATIO,
        "CPU of a health request": _ratio(health) <= MAX_HEALTH_RATIO,
        "CPU of a Redis": _ratio(cache) <= MAX_REDIS_RATIO,
        "CPU of a PostgreSQL": _ratio(postgres) <= MAX_POSTGRES_RATIO,
        "CPU of a scrape": cost.plain_ratio >= MIN_PLAIN_RATIO,
        "CPU of a compressed scrape": cost.packed_ratio >= MIN_PACKED_RATIO,
        "a scrape on the loop": cost.loop_ratio >= MIN_LOOP_RATIO,
        "scrapes at once": cost.at_once_ratio <= MAX_AT_ONCE_RATIO,
        "CPU of --version": start.version <= MAX_START_SECONDS * slowness,
        "CPU of bad usage": start.usage <= MAX_START_SECONDS * slowness,
        "CPU when idle": start.idle <= MAX_IDLE_CORES * slowness,
        "CPU of the fleet": many.cores <= MAX_FLEET_CORES * slowness,
        "memory of the fleet": many.rss <= MAX_FLEET_MIB,
        "the fleet on time": many.on_time >= MIN_ON_TIME,
        "stalls at the start": many.start_stall <= MAX_STALL_SECONDS * slowness,
        "stalls while nothing happens": many.steady_stall <= MAX_STALL_SECONDS * slowness,
        "stalls in an outage": many.outage_stall <= MAX_STALL_SECONDS * slowness,
        **kubernetes_checks(pods, slowness),
        **lag_checks(lags),
    }
    if output == "json":
        click.echo(json.dumps({
            "attempt_cpu_ms": attempt[0].milliseconds,
            "prometheus_cpu_ms_per_scrape": attempt[1].milliseconds,
            "attempt_cpu_ratio": _ratio(attempt),
            "health_cpu_ms": health[0].milliseconds,
            "blackbox_cpu_ms_per_probe": health[1].milliseconds,
            "health_cpu_ratio": _ratio(health),
            "redis_cpu_ms": cache[0].milliseconds,
            "redis_exporter_cpu_ms_per_scrape": cache[1].milliseconds,
            "redis_cpu_ratio": _ratio(cache),
            "postgres_cpu_ms": postgres[0].milliseconds,
            "postgres_exporter_cpu_ms_per_scrape": postgres[1].milliseconds,
            "postgres_cpu_ratio": _ratio(postgres),
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
            "start": asdict(start),
            "slowness": slowness,
            "fleet": asdict(many),
            "kubernetes": asdict(pods),
            "lag": [asdict(lag) for lag in lags],
            "ok": checks,
        }))  # fmt: skip
    else:
        _print_pair(
            "CPU of a whole attempt by the shipped settings, kept alive: health, its groups, meters of 98 kB",
            attempt, "Prometheus", "the same 98 kB, scraped", MAX_ATTEMPT_RATIO,
        )  # fmt: skip
        _print_pair(
            "CPU of a health request alone, kept alive", health, "blackbox_exporter", "whole process", MAX_HEALTH_RATIO
        )
        _print_pair("CPU of a Redis, connected anew", cache, "redis_exporter", "whole process, scraped", MAX_REDIS_RATIO)
        _print_pair(
            "CPU of a PostgreSQL, connected anew",
            postgres,
            "postgres_exporter",
            "whole process, scraped",
            MAX_POSTGRES_RATIO,
        )
        _print_scrape(cost)
        _print_fleet(start, many, slowness)
        print_kubernetes(pods, slowness)
        print_lag(lags)
    missed = [name for name, ok in checks.items() if not ok]
    if missed:
        click.echo(f"missed: {', '.join(missed)}", err=True)
        sys.exit(1)


def _ratio(costs: tuple[CpuCost, CpuCost]) -> float:
    return costs[0].milliseconds / costs[1].milliseconds


def _print_pair(title: str, costs: tuple[CpuCost, CpuCost], peer: str, what: str, most: float) -> None:
    ours, theirs = costs
    click.echo(f"{title}; {ours.runs} and {theirs.runs} of them:")
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


def _print_fleet(start: StartCost, cost: FleetCost, slowness: float) -> None:
    most_start, most_idle = MAX_START_SECONDS * slowness, MAX_IDLE_CORES * slowness
    most_cores, most_stall = MAX_FLEET_CORES * slowness, MAX_STALL_SECONDS * slowness
    click.echo(f"Prometheus' scrape takes {slowness:.1f} times the {REFERENCE_MS} ms of the machine that limits are for:")
    click.echo("from here on those in seconds and cores are stretched by that.")
    click.echo("The command line, and a daemon with nothing due:")
    click.echo(f"  --version, usage   {start.version:8.3f} s    and {start.usage:.3f}, at most {most_start:.2f}")
    click.echo(f"  idle               {100 * start.idle:8.3f} %    of a core, at most {100 * most_idle:.2f}")
    click.echo(f"A fleet of {cost.instances:,} instances, every 15 s, by the shipped settings:")
    click.echo(f"  CPU                {cost.cores:8.2f}      cores, at most {most_cores:.2f}")
    click.echo(f"  resident memory    {cost.rss:8.0f} MiB  at most {MAX_FLEET_MIB}")
    on_time = f"{100 * cost.on_time:8.2f} %    of attempts, at least {100 * MIN_ON_TIME:g}"
    click.echo(f"  within {1000 * cost.within:3.0f} ms      {on_time}")
    stalls = (cost.start_stall, cost.steady_stall, cost.outage_stall)
    names = ("start", "steady", f"outage of all ({cost.outage_down:,} told down)")
    for name, seconds in zip(names, stalls, strict=True):
        click.echo(f"  longest stall      {1000 * seconds:8.0f} ms   {name}, at most {1000 * most_stall:.0f}")


if __name__ == "__main__":
    main()
