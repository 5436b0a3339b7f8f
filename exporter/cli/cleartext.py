"""Logins that would cross a network as they are, before they do: as `exporter.net.cleartext` has it for probes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from exporter.parsing import is_loopback

__all__ = ["cleartext_option", "refuse_cleartext"]

F = TypeVar("F", bound=Callable[..., Any])


def cleartext_option(f: F) -> F:
    """Add the option by which it is allowed."""
    return click.option(
        "--allow-cleartext", is_flag=True, help="Send the login over http too, where others on the network can read it."
    )(f)


def refuse_cleartext(urls: Iterable[str], what: str) -> None:
    """Refuse to send a secret over http to anywhere but this machine itself.

    A name is not looked up: what it leads to now may be somewhere else when the request is made.

    Args:
        urls: Where it would be sent.
        what: What it is called: password, or token.

    Raises:
        click.UsageError: One of them is neither https nor the loopback.
    """
    for url in urls:
        parts = _parts(url)
        if parts is not None and parts[0] == "http" and not is_loopback(parts[1]):
            raise click.UsageError(
                f"the {what} would cross the network to {parts[1]} in the clear: use https, or --allow-cleartext"
            )


def _parts(url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
    except ValueError:  # what reads it says what is wrong with it
        return None
    return (parts.scheme, parts.hostname) if parts.hostname else None
