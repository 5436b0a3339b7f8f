"""`completion`: what a shell needs to complete verbs, options, services and kinds of probes."""

from __future__ import annotations

import os
from pathlib import PurePath

import click

from exporter.cli.verbs import PROGRAM, Verb

__all__ = ["completion"]

_SHELLS = ("bash", "zsh", "fish")
_EXAMPLES = (
    (
        "completion bash > ~/.local/share/bash-completion/completions/hafnium-exporter",
        "For bash (4.4 or later), from the next shell on.",
    ),
    ('completion zsh > "${fpath[1]}/_hafnium-exporter"', "For zsh, where compinit is run in ~/.zshrc."),
    ("completion fish > ~/.config/fish/completions/hafnium-exporter.fish", "For fish."),
    ("$ source <(hafnium-exporter completion bash)", "For this shell alone."),
)


@click.command(cls=Verb, examples=_EXAMPLES, short_help="Print a script for the shell's Tab key.")
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@click.pass_context
def completion(context: click.Context, /, shell: str | None) -> None:
    """Print a script that completes this command in a shell; by default the one of $SHELL.

    Names of services and kinds of probes are those of the configuration: of --config, of HAFNIUM_EXPORTER_CONFIG, or of
    config/exporter.yml.
    """
    from click.shell_completion import get_completion_class

    shell = shell or PurePath(os.environ.get("SHELL", "")).name
    found = get_completion_class(shell) if shell in _SHELLS else None
    if found is None:
        raise click.UsageError(f"which shell? one of {', '.join(_SHELLS)}")
    variable = f"_{PROGRAM}_COMPLETE".replace("-", "_").upper()
    click.echo(found(context.find_root().command, {}, PROGRAM, variable).source())
