"""`hafnium-exporter`: the verbs put together, and what their failures look like."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import click

from exporter.cli.lazy import LazyGroup
from exporter.cli.verbs import PROGRAM
from exporter.config.errors import ConfigError

__all__ = ["main"]

BAD_USAGE = 3
"""`check` keeps 1 and 2 for degraded and down, so bad usage is 3 everywhere."""

NO_MEMORY = "there is no memory left: look at the limits of the container, of the unit or of the shell"

READER_GONE = 141
"""As shells have it for a command that writes to a pipe that nobody reads any more: that of SIGPIPE."""

_VERBS = {
    verb: f"exporter.cli.{verb}:{verb}"
    for verb in ("check", "explain", "serve", "config", "alerts", "dashboards", "runbook", "demo", "completion")
}


def _colour() -> bool | None:
    """Say whether to colour whatever the output is: as https://no-color.org and FORCE_COLOR ask for it; else as it is."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if os.environ.get("TERM") == "dumb" else None


def _version(context: click.Context, _option: click.Parameter, wanted: Any) -> None:
    if wanted and not context.resilient_parsing:
        from exporter import __version__

        click.echo(f"hafnium-exporter, version {__version__}")
        context.exit()


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "color": _colour()}


class _Group(LazyGroup):
    """The verbs; what they print is out when they end."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; a reader who has seen enough, such as `head`, is no error, and click's 1 for it would say degraded."""
        try:
            code = super().invoke(ctx)
            if sys.stdout is not None:  # as where it was closed when the process began
                sys.stdout.flush()
        except BrokenPipeError:
            _print_nowhere()  # or the interpreter complains when it ends
            raise click.exceptions.Exit(READER_GONE) from None
        return code


@click.group(cls=_Group, verbs=_VERBS, context_settings=_CONTEXT)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
def cli() -> None:
    """Probe a Spring Boot fleet and what it depends on; export the truth to Prometheus.

    \b
    To begin, hafnium-exporter …
      demo                                an embedded fleet, something to break
      check http://localhost:8081         one application, without configuration
      config init http://localhost:8081   a configuration of it, annotated
      check                               the quick health check of all
      explain case                        what is wrong, why, and what to do
      serve                               the daemon: metrics, pages, JSON API

    Each verb has examples: hafnium-exporter VERB --help.

    Exit codes: 0 ok; 3 bad usage, a configuration that cannot be used, or what cannot be reached; 130 Ctrl-C. `check` and
    `explain` add 1 degraded, 2 down, 3 unknown; what compares (`--check`, `runbook check`) exits 1 where something differs;
    141 where nobody reads on, as behind `| head`.
    """


def main() -> None:
    """Run the command line; errors of usage and configuration are one clear message and exit code 3.

    So is the exit code of a defect: Python's own, 1, says degraded, and scripts go on for that.
    """
    try:
        code = cli.main(prog_name=PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = BAD_USAGE
    except click.Abort:
        code = 130
    except ConfigError as error:
        click.echo(str(error), err=True)
        code = BAD_USAGE
    except Exception as error:
        _tell(error)
        code = BAD_USAGE
    sys.exit(code if isinstance(code, int) else 0)


def _print_nowhere() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_want_of_memory(error: Exception) -> bool:
    """Tell what Python, the system, or the loader of libraries says where no memory is left."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, ImportError) and "failed to map segment" in str(error))


def _tell(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
        click.echo(f"Error: what is printed cannot be written: {error.strerror}", err=True)
        _print_nowhere()  # or the interpreter tries again when it ends
        return
    if _is_want_of_memory(error):
        click.echo(f"Error: {NO_MEMORY}", err=True)
        return
    import traceback

    traceback.print_exception(error)
    click.echo("Error: this is a defect of hafnium-exporter; please report it with the lines above", err=True)
