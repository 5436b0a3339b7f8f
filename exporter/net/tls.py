"""TLS client settings, contexts that tell when a handshake starts, and facts of a served certificate."""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from exporter.net.phases import phase_clock
from exporter.values import Settings

__all__ = ["ClientTls", "TlsSettings", "handshake_started"]

log = logging.getLogger(__name__)

handshake_started: ContextVar[list[float] | None] = ContextVar("handshake_started", default=None)
"""A list that receives the time, by `phase_clock`, at which a TLS handshake starts.

Neither asyncio nor aiohttp tell connecting from handshaking; `SSLContext.wrap_bio` is the public call between the two.
"""


class TlsSettings(Settings):
    """How to speak TLS as a client."""

    ca_file: Path | None = Field(None, description="PEM bundle to trust instead of the system's.")
    cert_file: Path | None = Field(None, description="PEM client certificate (chain) for mutual TLS.")
    key_file: Path | None = Field(None, description="PEM key of the client certificate, if not in cert_file.")
    server_name: str | None = Field(None, description="Name to ask for (SNI) and to verify, instead of the host.")
    verify: bool = Field(default=True, description="Verify the chain and the name. Turn off only for a test.")

    @model_validator(mode="after")
    def _key_needs_certificate(self) -> TlsSettings:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file")
        return self


class _TimedContext(ssl.SSLContext):
    """A context that notes in `handshake_started` when a handshake begins."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        started = handshake_started.get()
        if started is not None:
            started.append(phase_clock()())
        return super().wrap_bio(*args, **kwargs)


Stamps = tuple[tuple[int, int, int], ...]


class ClientTls:
    """TLS as a client, by its files as they are now: what was rotated is in use at the next connection.

    Blocking (reads files): make it where probes are built.

    Args:
        settings: Roots, client certificate, name.

    Raises:
        OSError: A file cannot be read.
        ssl.SSLError: A file is not what it should be.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._files = tuple(file for file in (settings.ca_file, settings.cert_file, settings.key_file) if file is not None)
        self._stamps = self._read_stamps()
        self._context = _context(settings, self._stamps)

    @property
    def server_name(self) -> str | None:
        """Name to ask for and to verify, where it is not the host."""
        return self._settings.server_name

    async def context(self) -> ssl.SSLContext:
        """Return the context for the next connection: the same object as long as the files are the same.

        Files that cannot be read, as in the middle of a rotation, leave what was read before in use.
        """
        if self._files:
            try:
                stamps = await asyncio.to_thread(self._read_stamps)
                if stamps != self._stamps:
                    self._context = await asyncio.to_thread(_context, self._settings, stamps)
                    self._stamps = stamps
            except (OSError, ssl.SSLError) as error:
                log.warning("%s: %s; what was read before stays in use", self._files[0], error)
        return self._context

    def _read_stamps(self) -> Stamps:
        """Tell the files from those that were under their names before."""
        found = [file.stat() for file in self._files]
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in found)


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """Build a client context once. To go: every user takes a `ClientTls`."""
    return ClientTls(settings)._context


@lru_cache(maxsize=256)
def _context(settings: TlsSettings, _stamps: Stamps) -> ssl.SSLContext:
    """Build a context, once for equal settings and files: one that holds the system's roots takes 0.5 MB."""
    context = _TimedContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.ca_file is not None:
        context.load_verify_locations(cafile=str(settings.ca_file))
    else:
        context.load_default_certs()
    if settings.cert_file is not None:
        context.load_cert_chain(str(settings.cert_file), str(settings.key_file) if settings.key_file else None)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
