"""TLS client settings, and contexts that follow their files and whose handshakes are watched."""

from __future__ import annotations

import asyncio
import logging
import shlex
import ssl
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from pydantic import Field, model_validator

from exporter.net.files import read_aside
from exporter.net.handshake import WatchedHandshake
from exporter.reading import read_regular
from exporter.values import Address, Settings

__all__ = ["ClientTls", "TlsSettings", "handshake_command", "restrain"]

log = logging.getLogger(__name__)


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


def handshake_command(address: Address, name: str) -> str:
    """Return the command by which a person sees which certificates are served.

    Args:
        address: Of the server.
        name: What to ask for (SNI).
    """
    return f"{shlex.join(['openssl', 's_client', '-connect', str(address), '-servername', name])} </dev/null"


class _WatchedContext(ssl.SSLContext):
    """A context whose handshakes are watched."""

    sslobject_class = WatchedHandshake

    def wrap_bio(self, incoming: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, *args, **kwargs)
        if isinstance(made, WatchedHandshake):
            made.watch(incoming)
        return made


LOOK_SECONDS = 0.5
"""Seconds before files are looked at again, once for all who share them: less than any interval between attempts."""

LOOK_PATIENCE = 1.0
"""Seconds that an attempt waits for its files; on a file system that hangs, it goes on with what was read before."""


class ClientTls:
    """TLS as a client, by its files as they are now: what was rotated is in use at the next connection.

    Equal settings share what was read, whatever name they ask for: a context that holds the system's roots takes 0.5 MB. The
    system's own roots are read once.

    Blocking (reads files): make it where probes are built.

    Args:
        settings: Roots, client certificate, name.

    Raises:
        OSError: A file cannot be read; `ssl.SSLError`, for one that is not what it should be, is one.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._server_name = settings.server_name
        self._files = _files_of(settings.model_copy(update={"server_name": None}))

    @property
    def server_name(self) -> str | None:
        """Name to ask for and to verify, where it is not the host."""
        return self._server_name

    async def context(self) -> ssl.SSLContext:
        """Return the context for the next connection: the same object as long as the files say the same.

        Files that cannot be used, as in the middle of a rotation, leave what was read before in use.
        """
        return await self._files.context()


class _Files:
    """The files of equal settings, and the context made of what they say."""

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._paths = tuple(path for path in (settings.ca_file, settings.cert_file, settings.key_file) if path is not None)
        self._look: asyncio.Task[None] | None = None
        self._looked_at: float | None = None
        self._complaint: str | None = None
        self._said, self._context = self._read(None)

    async def context(self) -> ssl.SSLContext:
        """Return the context for the next connection, having looked at the files if nobody has of late."""
        look = self._look_under_way() if self._paths else None
        if look is not None:
            await asyncio.wait({look}, timeout=LOOK_PATIENCE)  # a caller that is cancelled leaves the look to the others
        return self._context

    def _look_under_way(self) -> asyncio.Task[None] | None:
        loop = asyncio.get_running_loop()
        look = self._look
        if look is not None and not look.done() and look.get_loop() is loop:
            return look
        now = loop.time()
        if self._looked_at is not None and 0 <= now - self._looked_at < LOOK_SECONDS:
            return None
        self._looked_at = now
        self._look = asyncio.create_task(self._look_again(), name=f"read {self._paths[0]}")
        return self._look

    async def _look_again(self) -> None:
        try:
            self._said, self._context = await read_aside(self, lambda: self._read((self._said, self._context)))
        except OSError as error:
            complaint = str(error)
            if complaint != self._complaint:
                log.warning("%s: %s; what was read before stays in use", ", ".join(map(str, self._paths)), complaint)
            self._complaint = complaint
        else:
            if self._complaint is not None:
                log.info("%s: can be used again", ", ".join(map(str, self._paths)))
            self._complaint = None

    def _read(self, before: tuple[bytes, ssl.SSLContext] | None) -> tuple[bytes, ssl.SSLContext]:
        """Return what the files say, as a digest, and its context: the one from before, where that is the same.

        The bytes are compared: a time stamp tells too little of a file that is written twice within one tick.
        """
        said = b"".join(sha256(read_regular(path)).digest() for path in self._paths)
        if before is not None and before[0] == said:
            return before
        return said, _context(self._settings)


_shared: WeakValueDictionary[TlsSettings, _Files] = WeakValueDictionary()
_sharing = Lock()  # probes are built in a thread


def _files_of(settings: TlsSettings) -> _Files:
    with _sharing:
        files = _shared.get(settings)
        if files is None:
            files = _shared[settings] = _Files(settings)
        return files


def restrain(context: ssl.SSLContext) -> None:
    """Keep a server from choosing what a handshake costs here, which the event loop pays for.

    Of Diffie-Hellman over finite fields (DHE, up to TLS 1.2) the server picks the modulus: at 10,000 bits, the most that
    OpenSSL takes, a handshake is more than a second of CPU. And a renegotiation is another handshake whenever it likes.
    """
    context.set_ciphers("ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM")
    context.options |= ssl.OP_NO_RENEGOTIATION


def _context(settings: TlsSettings) -> ssl.SSLContext:
    context = _WatchedContext(ssl.PROTOCOL_TLS_CLIENT)
    restrain(context)
    if settings.ca_file is not None:
        context.load_verify_locations(cafile=str(settings.ca_file))
    else:
        context.load_default_certs()
    if settings.cert_file is not None:
        key = str(settings.key_file) if settings.key_file is not None else None
        context.load_cert_chain(str(settings.cert_file), key, password=_refuse_encrypted_key)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _refuse_encrypted_key() -> str:
    """Stand in for OpenSSL's own prompt, which would wait on the terminal for ever."""
    raise ssl.SSLError("the key is encrypted")
