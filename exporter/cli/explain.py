"""`explain`: what is wrong with one service, why, what else it takes down, and what the runbook says to do."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from exporter.cli.cleartext import cleartext_option, refuse_cleartext
from exporter.cli.haste import in_haste
from exporter.cli.options import complete_names, config_option_if_read, no_such, seconds, there
from exporter.cli.progress import ProgressLine
from exporter.cli.verbs import Verb

if TYPE_CHECKING:
    from exporter.cli.explanation import Explanation

__all__ = ["explain"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_EXAMPLES = (
    ("explain case", "Probe case, what it needs and what needs it, now; say what is wrong, why, and what to do."),
    ("explain case --url http://localhost:9818", "Ask the daemon, which has seen more: since when, and the incident."),
    ("explain postgres --output json | jq -r '.diagnoses[].causes[0].steps[]'", "The steps alone, for programs."),
)


@click.command(cls=Verb, examples=_EXAMPLES, short_help="Say what is wrong with a service, and why.")
@click.argument("service", shell_complete=complete_names)
@config_option_if_read
@click.option("--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True, help="Format.")
@click.option(
    "--timeout",
    metavar="DURATION",
    default="3s",
    show_default=True,
    callback=seconds,
    help="Time for a target, rechecked or not.",
)
@click.option("--url", help="Ask the daemon there instead of probing; no configuration is read.")
@click.option("--username", help="For a daemon that wants a login, with --password-file.")
@click.option("--password-file", type=_FILE, help="File with that password.")
@click.option("--ca-file", type=_FILE, help="PEM bundle to trust for https instead of the system's.")
@cleartext_option
def explain(service: str, config_path: Path, output: str, timeout: float, url: str | None, **given: Any) -> int:
    """Say what is wrong with a service and why, with the evidence, what else it takes down, and the runbook's steps.

    By probing it, what it needs and what needs it, now; with --url, by what a running daemon knows.

    Exit code, of the service itself: 0 ok, 1 degraded, 2 down, 3 unknown or bad usage.
    """
    _usage(url, given)
    if url is None:
        there(config_path)
        found = _probed(service, config_path, timeout)
    else:
        login = (given["username"], given["password_file"]) if given["username"] is not None else None
        if login is not None and not given["allow_cleartext"]:
            refuse_cleartext([url], "password")
        found = _told(service, url, login, given["ca_file"])
    if output == "json":
        click.echo(json.dumps(found.as_dict(), indent=2))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(found.as_dict(), sort_keys=False, allow_unicode=True), nl=False)
    else:
        for line in _fitted(found.lines()):
            click.echo(line)
    return found.exit_code


def _usage(url: str | None, given: dict[str, Any]) -> None:
    if (given["username"] is None) is not (given["password_file"] is None):
        raise click.UsageError("--username and --password-file go together")
    if url is None and (given["username"] is not None or given["ca_file"] is not None):
        raise click.UsageError("--username and --ca-file are for a daemon: add --url")
    if given["allow_cleartext"] and given["username"] is None:
        raise click.UsageError("--allow-cleartext is for a login: add --username and --password-file")


def _probed(service: str, path: Path, timeout: float) -> Explanation:
    with ProgressLine("reading the configuration …") as line:
        with in_haste():
            import uvloop

            from exporter.cli.explanation import Explanation
            from exporter.config.loader import load
            from exporter.engine.oneshot import diagnose_fleet

            config = load(path)
        if service not in config.everything:
            raise no_such("service", [service], config.everything)
        found = uvloop.run(diagnose_fleet(config, service, timeout, line.probed))
    return Explanation.of_check(found, config.links.runbook, config.everything)


def _told(service: str, url: str, login: tuple[str, Path] | None, ca_file: Path | None) -> Explanation:
    from exporter.cli.daemon import ask

    with ProgressLine("asking the daemon …"):
        fleet = ask(url, "/api/v1/services", login=login, ca_file=ca_file)
        from exporter.cli.explanation import Explanation
    try:
        names = [each["name"] for each in fleet["services"]]
        if service not in names:
            raise no_such("service", [service], names)
        return Explanation.of_daemon(service, fleet)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise click.ClickException(
            f"{url} answers in other words than this version knows: upgrade the older of both"
        ) from error


def _fitted(lines: Iterator[str]) -> Iterator[str]:
    """Break lines where a terminal is narrower, with what goes on set in; elsewhere each line is whole."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        if width and len(line) > width and "\x1b" not in line:
            yield from wrap(line, max(width, 20), subsequent_indent=indent, break_on_hyphens=False)
        else:
            yield line
