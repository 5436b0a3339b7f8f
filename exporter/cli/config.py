"""`config`: validate, schema, show."""

from __future__ import annotations

import json
from pathlib import Path

import click

from exporter.cli.lazy import LazyGroup
from exporter.cli.options import config_option
from exporter.cli.verbs import Verb

__all__ = ["config"]


@click.group(cls=LazyGroup, verbs={"init": "exporter.cli.config_init:init"})
def config() -> None:
    """Write, check and show configurations."""


@config.command(
    cls=Verb,
    short_help="Report every error at once.",
    examples=(
        ("config validate", "Of config/exporter.yml; every error at once, each with file, line, column and key."),
        ("config validate --config /etc/hafnium/exporter.yml", "Before a reload: exit code 3 where it would be refused."),
    ),
)
@config_option
def validate(config_path: Path) -> None:
    """Report every error at once, with file, line and key; warn of secrets that others can read, in a file or on the way."""
    from exporter.config.cleartext import cleartext_credentials
    from exporter.config.exposed import exposed_secrets
    from exporter.config.loader import load

    loaded = load(config_path)
    for warning in (*exposed_secrets(loaded), *cleartext_credentials(loaded)):
        click.echo(f"warning: {warning}", err=True)
    services, dependencies = len(loaded.services), len(loaded.dependencies)
    click.echo(
        f"{config_path}: ok: {services} {'service' if services == 1 else 'services'}, "
        f"{dependencies} {'dependency' if dependencies == 1 else 'dependencies'}"
    )


@config.command(
    "check-web",
    cls=Verb,
    short_help="Check a web configuration: TLS and users.",
    examples=(("config check-web web.yml", "Certificates, keys and users, as serve would read them."),),
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def check_web(file: Path) -> None:
    """Check a web configuration file (see `serve --web.config.file`), and the certificates and keys that it names.

    A file that other exporters use can be checked too: what makes no difference here is told.
    """
    from exporter.config.exposed import exposed_secrets
    from exporter.web.access.file import notes
    from exporter.web.access.follow import load

    way = load(file)
    for warning in exposed_secrets(way.config):
        click.echo(f"warning: {warning}", err=True)
    expiry = way.expiry()
    if expiry is not None:
        click.echo(f"warning: {expiry}", err=True)
    for note in notes(way.config):
        click.echo(f"{file}: note: {note}")
    fences = ", ".join(sorted(way.fences())) or "nobody is kept out"
    click.echo(f"{file}: ok: {fences}")


@config.command(
    cls=Verb,
    examples=(("config schema > exporter.schema.json", "Editors complete and check by it (yaml-language-server)."),),
)
def schema() -> None:
    """Print the JSON Schema, for editors."""
    from exporter.config.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@config.command(
    cls=Verb,
    short_help="Print the effective configuration.",
    examples=(("config show --config exporter.yml", "What each probe ends up with, by defaults and variables."),),
)
@config_option
def show(config_path: Path) -> None:
    """Print the effective configuration: defaults merged, variables put in, secrets masked."""
    import yaml

    from exporter.config.exposed import without_misplaced
    from exporter.config.loader import load

    loaded = load(config_path).model_dump(mode="json", exclude_none=True, exclude={"defaults"})
    click.echo(yaml.safe_dump(without_misplaced(loaded), sort_keys=False, allow_unicode=True), nl=False)
