"""The web configuration file as it is now: read again when it or what it names was replaced."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from exporter.config.errors import ConfigError, Problem
from exporter.net.files import read_aside
from exporter.reading import read_regular
from exporter.web.access.file import TlsServer, WebConfig, notes, read
from exporter.web.access.tls import Validity, names_of, server_context, validity_of
from exporter.web.defects import Defect, unforeseen

__all__ = ["FollowedFile", "Way", "load"]

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Seconds between two looks at the files: what was rotated is in use at the next connection after one."""


class Way:
    """How clients are let in: what one reading of the file came to.

    Attributes:
        config: The file.
        tls: What to speak TLS with; None for plain text.
        validity: Of its certificate; None where there is none, or it cannot be told.
        terms: Equal where the same clients may connect.
    """

    def __init__(self, config: WebConfig) -> None:
        self.config = config
        self.tls: ssl.SSLContext | None = None
        self.validity: Validity | None = None
        if config.tls_server_config is not None:
            self.tls = server_context(config.tls_server_config)
            self.validity = validity_of(config.tls_server_config)
        self.terms = _terms(config.tls_server_config)

    def expiry(self) -> str | None:
        """Say that the certificate has expired, or soon will; None where there is time."""
        now = time.time()
        if self.validity is None or now < self.validity.due:
            return None
        if now >= self.validity.ends:
            return "the exporter's own certificate has expired: whoever verifies it, as Prometheus does, is lost"
        ends = datetime.fromtimestamp(self.validity.ends, UTC)
        return f"the exporter's own certificate expires soon, at {ends:%Y-%m-%dT%H:%M:%SZ}, and was not renewed"

    def lets_in(self, certificate: dict[str, Any] | None) -> bool:
        """Tell whether a client with this certificate may come in: TLS has verified it."""
        tls = self.config.tls_server_config
        allowed = tls.client_allowed_sans if tls is not None else None
        return allowed is None or not names_of(certificate).isdisjoint(allowed)

    def fences(self) -> frozenset[str]:
        """Name what keeps strangers out."""
        tls = self.config.tls_server_config
        return frozenset(
            name
            for name, there in (
                ("TLS", tls is not None),
                ("client certificates", tls is not None and tls.requires),
                ("client_allowed_sans", tls is not None and tls.client_allowed_sans is not None),
                ("basic_auth_users", bool(self.config.basic_auth_users)),
            )
            if there
        )


def load(path: Path) -> Way:
    """Read a file and what it names. Blocking.

    Raises:
        ConfigError: It cannot be used; no message repeats what the file holds.
    """
    config = read(path)
    try:
        return Way(config)
    except OSError as error:
        text = error.strerror or str(error)
        raise ConfigError([Problem(str(path), 0, 0, "tls_server_config", text)]) from None


class FollowedFile:
    """A web configuration file, and how clients are let in by it.

    A file that cannot be used, as in the middle of its being written, leaves in use what was read before. And nothing that
    is written into it opens the door: what keeps strangers out is taken away by a restart alone, since half a file looks
    like one that asks for less.

    Blocking (reads files).

    Args:
        path: The file.
        told: Is told whether the last reading worked, whenever that changes.
        defect: Is told of each unexpected exception.

    Raises:
        ConfigError: It cannot be used.
    """

    def __init__(self, path: Path, told: Callable[[bool], None], defect: Defect = unforeseen) -> None:
        self._path = path
        self._defect = defect
        self._told = told
        self._complaint: str | None = None
        self._said, self._way = self._load()
        self._expiry: str | None = None
        self._warn_of_expiry()
        for note in notes(self._way.config):
            log.warning("%s: %s", path, note)

    @property
    def way(self) -> Way:
        """How clients are let in."""
        return self._way

    async def follow(self) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look at the files once, and use what they say if it is something else than before."""
        try:
            said, way = await read_aside(self, self._read)
        except ConfigError as error:
            self._complain(str(error))
        except OSError as error:
            self._complain(f"{self._path}: {error.strerror or error}")
        except Exception as error:
            self._defect(f"{self._path} could not be read anew", error)
            self._complain(f"{self._path}: a defect of the exporter ({type(error).__name__})")
        else:
            if way is not None:
                self._said, self._way = said, way
                log.info("%s: read anew", self._path)
            if self._complaint is not None:
                self._complaint = None
                self._told(True)  # noqa: FBT003 - a callback
        self._warn_of_expiry()

    def _warn_of_expiry(self) -> None:
        """Warn once of each thing that there is to say."""
        said, self._expiry = self._expiry, self._way.expiry()
        if self._expiry is not None and self._expiry != said:
            log.warning("%s: %s", self._path, self._expiry)

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            log.error("%s; what was read before stays in use", text)
            self._complaint = text
            self._told(False)  # noqa: FBT003 - a callback

    def _read(self) -> tuple[bytes, Way | None]:
        """Return what the files say, as a digest, and what it comes to, where that is something else than before."""
        said = self._digest(self._way)
        if said == self._said and self._complaint is None:
            return said, None
        said, way = self._load()
        missing = self._way.fences() - way.fences()
        if missing:
            text = f"has no {' and no '.join(sorted(missing))} any more, which only a restart takes away"
            raise ConfigError([Problem(str(self._path), 0, 0, "", text)])
        return said, way

    def _load(self) -> tuple[bytes, Way]:
        """Read the files; return their digest too, which is never of something newer than what was read: what is replaced
        between the two is told by the next look."""
        said = self._digest(load(self._path))
        return said, load(self._path)

    def _digest(self, way: Way) -> bytes:
        """Digest files by their bytes: a time stamp tells too little of one that is written twice within a tick."""
        tls = way.config.tls_server_config
        return b"".join(_of(path) for path in (self._path, *(tls.files if tls is not None else ())))


def _terms(tls: TlsServer | None) -> Hashable:
    """Return what decides who may connect, but not the certificate that is served: it is renewed every few weeks."""
    if tls is None:
        return None
    authorities = tls.client_ca if tls.client_ca_file is None else _of(tls.client_ca_file)
    return tls.client_auth_type, authorities, frozenset(tls.client_allowed_sans or ()), tls.client_allowed_sans is None


def _of(path: Path) -> bytes:
    try:
        return sha256(read_regular(path)).digest()
    except OSError as error:
        return str(error.errno).encode()  # told when it is read
    except ValueError:  # a null character, which no path has
        return b"no path"
