"""TLS client settings, contexts that tell when a handshake starts, and facts of a served certificate."""

from __future__ import annotations

import ssl
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from exporter.net.phases import phase_clock
from exporter.values import Settings

__all__ = ["TlsSettings", "client_context", "handshake_started"]

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


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """Build a client context, once for equal settings and files: one that holds the system's roots takes 0.5 MB.

    Blocking (reads files): call it where probes are built, not where they run.

    Raises:
        OSError: A file cannot be read.
        ssl.SSLError: A file is not what it should be.
    """
    files = filter(None, (settings.ca_file, settings.cert_file, settings.key_file))
    return _context(settings, tuple(_stamp(file) for file in files))


def _stamp(file: Path) -> tuple[int, int, int]:
    """Tell a file from the one that was under its name before."""
    found = file.stat()
    return (found.st_ino, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=256)
def _context(settings: TlsSettings, _stamps: tuple[tuple[int, int, int], ...]) -> ssl.SSLContext:
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
