"""`hafnium-exporter`: the verbs put together, and what their failures look like."""

from __future__ import annotations

import sys

import click

from exporter import __version__
from exporter.cli.check import check
from exporter.cli.config import config
from exporter.cli.dashboards import dashboards
from exporter.cli.demo import demo
from exporter.cli.serve import serve
from exporter.config.errors import ConfigError

__all__ = ["main"]

BAD_USAGE = 3
"""`check` keeps 1 and 2 for degraded and down, so bad usage is 3 everywhere."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="hafnium-exporter")
def cli() -> None:
    """Probe a Spring Boot fleet and what it depends on; export the truth to Prometheus."""


for command in (serve, check, config, dashboards, demo):
    cli.add_command(command)


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
