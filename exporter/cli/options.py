"""Options that several verbs share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from exporter.parsing import parse_duration

__all__ = [
    "DEFAULT_CONFIG",
    "ConfigFile",
    "complete_kinds",
    "complete_names",
    "config_option",
    "config_option_if_read",
    "is_duration",
    "is_name",
    "no_such",
    "probe_kinds",
    "seconds",
    "there",
]

DEFAULT_CONFIG = Path("config/exporter.yml")
_VARIABLE = "HAFNIUM_EXPORTER_CONFIG"
_MOST_NAMED = 30

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""As exporter.config.models.Name has it, which is long in coming."""

F = TypeVar("F", bound=Callable[..., Any])


class ConfigFile(click.Path):
    """A configuration file that must be there; who has none is told how to get one."""

    def __init__(self, *, exists: bool = True) -> None:
        super().__init__(path_type=Path, exists=exists, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check that it is there and can be read."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            if Path(value).exists():
                raise
            hint = "Name one with --config, or write one: hafnium-exporter config init"
            raise click.BadParameter(f"{error.message} {hint}", ctx, param) from None


def _config_option(*, exists: bool) -> Callable[[F], F]:
    return click.option(
        "--config",
        "config_path",
        type=ConfigFile(exists=exists),
        default=DEFAULT_CONFIG,
        show_default=True,
        envvar=_VARIABLE,
        help=f"Configuration file; {_VARIABLE} names another default.",
    )


config_option = _config_option(exists=True)

config_option_if_read = _config_option(exists=False)
"""For verbs that may do without: `there` looks whether it is there, when it is read."""


def there(path: Path, otherwise: str = "") -> Path:
    """Return the path of a configuration file that is there.

    Args:
        path: Where it is to be.
        otherwise: How the verb does without one, for whoever has none.

    Raises:
        click.BadParameter: It is not.
    """
    try:
        return Path(ConfigFile().convert(path, None, None))
    except click.BadParameter as error:
        more = f"; {otherwise}" if otherwise and not path.exists() else ""
        raise click.BadParameter(f"{error.message}{more}", error.ctx, param_hint="'--config'") from None


def seconds(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """Read a duration such as 1.5s."""
    try:
        return parse_duration(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def is_duration(text: str) -> bool:
    """Say whether a text is a duration."""
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


def is_name(text: str) -> bool:
    """Say whether a service or dependency can be called so."""
    return _NAME.fullmatch(text) is not None


def no_such(what: str, names: Iterable[str], known: Collection[str]) -> click.UsageError:
    """Say that there is nothing of these names, what was probably meant, and what there is."""
    from difflib import get_close_matches

    listed = list(names)
    close = [found[0] for name in listed if (found := get_close_matches(name, known, 1))]
    meant = f"; did you mean {', '.join(close)}?" if close else ""
    more = f", and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    there = f"known: {', '.join(list(known)[:_MOST_NAMED])}{more}" if known else "there is none"
    return click.UsageError(f"no such {what}: {', '.join(listed)}{meant or ';'} {there}")


def probe_kinds() -> list[str]:
    """Name the kinds of probes, without importing any."""
    from pkgutil import iter_modules

    import exporter.probes

    return sorted(module.name for module in iter_modules(exporter.probes.__path__))


def complete_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of services and dependencies of the configuration."""
    document = _document(context)
    return [
        CompletionItem(name, help=what)
        for section, what in (("services", "service"), ("dependencies", "dependency"))
        for name in (document[section] if isinstance(document.get(section), dict) else ())
        if isinstance(name, str) and is_name(name) and name.startswith(incomplete)
    ]


def complete_kinds(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the kinds of probes: those of the configuration, or all where there is none."""
    document, used = _document(context), set()
    for section in ("services", "dependencies"):
        members = document.get(section)
        for member in members.values() if isinstance(members, dict) else ():
            probes = member.get("probes") if isinstance(member, dict) else None
            used |= set(probes) if isinstance(probes, dict) else set()
    return [CompletionItem(kind) for kind in probe_kinds() if (kind in used or not used) and kind.startswith(incomplete)]


def _document(context: click.Context) -> dict[str, Any]:
    """Read a configuration as plain YAML, empty where that fails: whoever presses Tab wants no errors.

    Every scalar is text, as in `config.document`: a service may be called `on`.
    """
    import yaml

    path = context.params.get("config_path") or os.environ.get(_VARIABLE) or DEFAULT_CONFIG
    try:
        with Path(path).open("rb") as file:
            found = yaml.load(file.read(1 << 22), Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506 - both are safe
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
