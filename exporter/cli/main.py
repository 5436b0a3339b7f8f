"""`hafnium-exporter`: the verbs put together, and what their failures look like."""

from __future__ import annotations

import sys
from typing import Any

import click

from exporter.cli.lazy import LazyGroup
from exporter.config.errors import ConfigError

__all__ = ["main"]

BAD_USAGE = 3
"""`check` keeps 1 and 2 for degraded and down, so bad usage is 3 everywhere."""

_VERBS = {
    verb: f"exporter.cli.{verb}:{verb}"
    for verb in ("serve", "check", "explain", "config", "alerts", "dashboards", "demo", "runbook")
}


def _version(context: click.Context, _option: click.Parameter, wanted: Any) -> None:
    if wanted and not context.resilient_parsing:
        from exporter import __version__

        click.echo(f"hafnium-exporter, version {__version__}")
        context.exit()


@click.group(cls=LazyGroup, verbs=_VERBS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
def cli() -> None:
    """Probe a Spring Boot fleet and what it depends on; export the truth to Prometheus."""


def main() -> None:
    """Run the command line; errors of usage and configuration are one clear message and exit code 3."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = BAD_USAGE
    except click.Abort:
        code = 130
    except ConfigError as error:
        click.echo(str(error), err=True)
        code = BAD_USAGE
    sys.exit(code if isinstance(code, int) else 0)
