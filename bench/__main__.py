"""Run the benchmark, print its figures, and exit 1 where one misses its limit."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click

from bench import cpu, scrape

MAX_CPU_RATIO = 0.4
MIN_SCRAPE_RATIO = 40.0
MAX_SCRAPE_SECONDS = 0.020


@click.command()
@click.option("--duration", default=10.0, show_default=True, help="Seconds to measure CPU for, each.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def main(duration: float, output: str) -> None:
    """CPU per health probe beside blackbox_exporter, and a scrape of 100,000 series beside prometheus_client."""
    cost = scrape.run()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = cpu.run(Path(folder), duration)
    ratio = ours.milliseconds_per_probe / theirs.milliseconds_per_probe
    checks = {
        "CPU per probe": ratio <= MAX_CPU_RATIO,
        "scrape ratio": cost.ratio >= MIN_SCRAPE_RATIO,
        "scrape on the loop": cost.store <= MAX_SCRAPE_SECONDS,
    }
    if output == "json":
        click.echo(json.dumps({
            "exporter_cpu_ms_per_probe": ours.milliseconds_per_probe,
            "blackbox_cpu_ms_per_probe": theirs.milliseconds_per_probe,
            "cpu_ratio": ratio,
            "scrape_series": scrape.SERIES,
            "scrape_ms": cost.store * 1000,
            "prometheus_client_ms": cost.client * 1000,
            "scrape_ratio": cost.ratio,
            "ok": checks,
        }))  # fmt: skip
    else:
        click.echo(f"CPU per kept-alive health probe, {ours.probes} and {theirs.probes} probes at {cpu.RATE:.0f}/s:")
        click.echo(f"  hafnium-exporter   {ours.milliseconds_per_probe:8.3f} ms   (whole daemon)")
        click.echo(f"  blackbox_exporter  {theirs.milliseconds_per_probe:8.3f} ms   (whole process)")
        click.echo(f"  ratio              {ratio:8.2f}      at most {MAX_CPU_RATIO}")
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


if __name__ == "__main__":
    main()
