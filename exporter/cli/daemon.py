"""A running daemon, asked over its JSON API: one answer, with a deadline, and errors that say what to do.

Whatever listens there may be anybody's: a login goes to the address that was given alone, no redirect is followed, and what
is told is made visible before anything of it comes to a terminal.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from exporter.parsing import INTERNATIONAL, PORT_RANGE, parse_address
from exporter.visible import visible

__all__ = ["ask"]

_PATIENCE = 10.0
"""Seconds for the whole answer, from the first byte that is sent to the last that is read."""

_LARGEST = 256 << 20

_A_URL = "expected a URL such as http://localhost:9818"


def ask(base: str, path: str, *, login: tuple[str, Path] | None = None, ca_file: Path | None = None) -> Mapping[str, Any]:
    """GET a JSON object from a daemon, past any proxy. Blocking.

    Args:
        base: The daemon's URL.
        path: Of its API.
        login: User name, and the file with its password.
        ca_file: PEM bundle to trust instead of the system's.

    Raises:
        click.ClickException: There is no such answer.
    """
    answers: list[Mapping[str, Any]] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(_answer(base, path, login, ca_file))
        except BaseException as error:
            errors.append(error)

    # sockets have a deadline for each byte; what sends one now and then would be waited for without end
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    if errors:
        raise errors[0]
    if not answers:
        raise click.ClickException(f"{base} is no exporter that can be asked: {_words(TimeoutError())}")
    return answers[0]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Stays where it is: urllib would send the password on to wherever an answer points."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


def _answer(base: str, path: str, login: tuple[str, Path] | None, ca_file: Path | None) -> Mapping[str, Any]:
    request = urllib.request.Request(_whole(base) + path, headers={"Accept": "application/json"})  # noqa: S310 - see _whole
    if login is not None:
        request.add_header("Authorization", f"Basic {_pair(*login)}")
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _NoRedirect()]
    if urlsplit(base).scheme == "https":
        handlers.append(urllib.request.HTTPSHandler(context=_context(ca_file)))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=_PATIENCE) as answer:
            found = _visible(json.loads(answer.read(_LARGEST)))
    except urllib.error.HTTPError as error:
        with error:
            raise click.ClickException(_refusal(base, error)) from None
    except urllib.error.URLError as error:
        raise click.ClickException(
            f"no daemon at {base}: {_words(error.reason)}; is it running, and the port right?"
        ) from None
    except HTTPException:
        raise click.ClickException(
            f"{base} is no exporter that can be asked: its answer is not HTTP, or not whole"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = _words(error) if isinstance(error, OSError) else "its answer is not JSON"
        raise click.ClickException(f"{base} is no exporter that can be asked: {reason}") from None
    if not isinstance(found, dict):
        raise click.ClickException(f"{base} is no exporter that can be asked: its answer is no JSON object")
    return found


def _visible(value: Any) -> Any:
    """Return plain data in which no text has what a terminal would obey."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [_visible(each) for each in value]
    if isinstance(value, dict):
        return {visible(key): _visible(each) for key, each in value.items()}
    return value


def _whole(base: str) -> str:
    """Return the URL without a slash at its end, or say what is wrong with it."""
    try:
        url = urlsplit(base)
        good = url.scheme in ("http", "https") and url.hostname
    except ValueError:
        good = False
    if not good:
        raise click.BadParameter(_A_URL, param_hint="'--url'")
    if url.username is not None:
        raise click.BadParameter("leave user and password out: --username and --password-file", param_hint="'--url'")
    try:
        parse_address(url.netloc if re.search(r":[0-9]+$", url.netloc) else f"{url.netloc}:80")
    except ValueError as error:
        told = str(error)
        raise click.BadParameter(told if told in (PORT_RANGE, INTERNATIONAL) else _A_URL, param_hint="'--url'") from None
    return base.rstrip("/")


def _pair(user: str, file: Path) -> str:
    try:
        password = file.read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise click.ClickException(
            f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}"
        ) from None
    return b64encode(f"{user}:{password}".encode()).decode()


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{ca_file} cannot be used: {_words(error)}") from None


def _refusal(base: str, error: urllib.error.HTTPError) -> str:
    if error.code == 401:
        return f"{base} wants a login: --username and --password-file"
    if error.code == 403:
        return f"{base} does not let this user see the API (role pages)"
    if error.code in (301, 302, 303, 307, 308):
        return f"{base} sends elsewhere (HTTP {error.code}), which is not followed: give the daemon's own address"
    try:
        told = json.loads(error.read(10_000)).get("error")
    except (OSError, ValueError, AttributeError, RecursionError, HTTPException):
        told = None
    return visible(str(told)) if told else f"{base} answers HTTP {error.code}: is it an exporter of this version?"


def _words(reason: object) -> str:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({reason.verify_message}); --ca-file names what is"
    if isinstance(reason, TimeoutError):
        return f"no answer within {_PATIENCE:g} s"
    return str(getattr(reason, "strerror", None) or reason)
