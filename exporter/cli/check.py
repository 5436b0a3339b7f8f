"""`check`: the runbook's quick health check, for the whole fleet, in seconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.cli.haste import in_haste
from exporter.cli.options import (
    complete_kinds,
    complete_names,
    config_option_if_read,
    is_duration,
    is_name,
    no_such,
    probe_kinds,
    seconds,
    there,
)
from exporter.cli.progress import ProgressLine
from exporter.cli.verbs import PROGRAM, Verb
from exporter.visible import visible

if TYPE_CHECKING:
    from exporter.config.models import Config
    from exporter.engine.checked import CheckResult

__all__ = ["check"]

_EXAMPLES = (
    ("check", "Ask everything of config/exporter.yml now; what is wrong comes first, each cause before what it takes down."),
    ("check case postgres", "Only these."),
    ("check --probe tls", "Only the certificates; --probe can be given several times."),
    ("check --watch", "Again and again, on a screen that is kept up to date; --watch=10s pauses for so long in between."),
    ("check http://localhost:8081/actuator", "An application, without a configuration. Its path may be left out."),
    (
        "check postgres://monitor@db:5432/app redis://cache:6379 kafka://broker:9092 tls://example.com:443",
        "Servers, without a configuration; passwords come from PGPASSWORD and REDISCLI_AUTH, never from the URL.",
    ),
    ("check --output json | jq '.services[] | select(.state != \"up\") | .name'", "For programs; yaml is the other way."),
    ("check >/dev/null; [ $? -lt 2 ] && ./deploy.sh", "For scripts: go on unless something is down or unknown."),
)


_PAUSE = "2s"


class _Check(Verb):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read a bare `--watch` before a service or a URL as what it is meant to be: not every word is a pause."""
        found = list(args)
        for at in range(len(found) - 1):
            if found[at] == "--watch" and not is_duration(found[at + 1]):
                found[at] = f"--watch={_PAUSE}"
        return super().parse_args(ctx, found)


@click.command(cls=_Check, examples=_EXAMPLES)
@click.argument("targets", nargs=-1, metavar="[SERVICE|URL]...", shell_complete=complete_names)
@config_option_if_read
@click.option(
    "--probe", "kinds", multiple=True, metavar="KIND", shell_complete=complete_kinds,
    help="Only probes of this kind, such as postgres; may be repeated.",
)  # fmt: skip
@click.option("--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="Format.")
@click.option(
    "--timeout",
    metavar="DURATION",
    default="1.2s",
    show_default=True,
    callback=seconds,
    help="Time for a target, rechecked or not.",
)
@click.option(
    "--watch", is_flag=False, flag_value=_PAUSE, default=None, callback=seconds, metavar="[PAUSE]",
    help=f"Repeat until Ctrl-C, every {_PAUSE} or as given.",
)  # fmt: skip
def check(
    targets: tuple[str, ...], config_path: Path, kinds: tuple[str, ...], output: str, timeout: float, watch: float | None
) -> int:
    """Probe everything now and print one table.

    SERVICE is a name of the configuration, of a service or a dependency; URL is what needs no configuration. Names, the
    default, and URLs do not mix. With --watch, the configuration is followed as it changes.

    Exit code: 0 ok, 1 degraded, 2 something is down, 3 unknown or bad usage.
    """
    if unknown := [kind for kind in kinds if kind not in probe_kinds()]:
        raise no_such("kind of probe", unknown, probe_kinds())
    urls = [target for target in targets if "://" in target]
    if urls and len(urls) < len(targets):
        raise click.UsageError("give names of the configuration or URLs, not both")
    if not urls:
        if odd := next((target for target in targets if not is_name(target)), None):
            raise click.UsageError(
                f"{visible(odd)} is no name of a service, nor a URL, which has a scheme: http://HOST:PORT"
            )
        there(config_path, f"a URL needs none: {PROGRAM} check http://localhost:8081")
    with ProgressLine("reading the configuration …" if not urls else "starting …") as line:
        with in_haste():
            import uvloop

            from exporter.engine.oneshot import check_fleet

            config = _of_urls(urls, kinds) if urls else _of_file(config_path, targets, kinds)
        if watch is None:
            result = uvloop.run(check_fleet(config, (), timeout, line.probed))
    if watch is None:
        _printer(output)(result)
        return result.exit_code
    from exporter.cli.following import Following
    from exporter.cli.watch import watch as watch_fleet

    following = Following(config, None if urls else lambda: _of_file(config_path, targets, kinds))

    async def again() -> tuple[CheckResult, str]:
        result = await check_fleet(await following.now(), (), timeout)
        return result, following.note

    return uvloop.run(watch_fleet(again, watch, None if output == "table" else _printer(output, many=True)))


def _of_file(path: Path, names: Sequence[str], kinds: Sequence[str]) -> Config:
    from exporter.config.loader import load

    config = load(path)
    known = config.everything
    if unknown := [name for name in names if name not in known]:
        raise no_such("service", unknown, known)
    return _chosen(config, names, kinds)


def _chosen(config: Config, names: Sequence[str], kinds: Sequence[str]) -> Config:
    from exporter.engine.oneshot import restricted

    known = config.everything
    chosen = restricted(config, names, kinds)
    if kinds and not chosen.everything:
        used = dict.fromkeys(kind for name in names or known for kind in known[name].probe_settings)
        of = f" of {', '.join(names)}" if names else ""
        raise click.UsageError(f"no probe{of} is of kind {', '.join(kinds)}; there are: {', '.join(used)}")
    return chosen


def _of_urls(urls: Sequence[str], kinds: Sequence[str]) -> Config:
    from exporter.scaffold.draft import Unusable
    from exporter.scaffold.unconfigured import config_of

    try:
        config = config_of(urls, os.environ)
    except Unusable as error:
        raise click.UsageError(str(error)) from error
    return _chosen(config, (), kinds)


def _printer(output: str, *, many: bool = False) -> Callable[[CheckResult], None]:
    """Return what prints a result; of many, each JSON object is a line and each YAML document has a head."""

    def as_json(result: CheckResult) -> None:
        import json

        click.echo(json.dumps(result.as_dict(), indent=None if many else 2))

    def as_yaml(result: CheckResult) -> None:
        import yaml

        click.echo(yaml.safe_dump(result.as_dict(), sort_keys=False, allow_unicode=True, explicit_start=many), nl=False)

    def as_table(result: CheckResult) -> None:
        from exporter.cli.rows import print_result

        print_result(result)

    return {"json": as_json, "yaml": as_yaml, "table": as_table}[output]
