"""A TLS endpoint with a certificate from an authority of its own, for the certificate probe to look at."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

__all__ = ["Gateway"]


HANDSHAKE_SECONDS = 10.0
"""Seconds that a client may take to shake hands."""


class Gateway:
    """Shakes hands and hangs up.

    Args:
        directory: Where certificates and the key are kept.
        port: Where it listens on loopback.

    Attributes:
        authority: Certificate of the authority, which stays the same when the gateway's is renewed.
        certificate: The gateway's certificate, PEM; what is presented is what was in it when it was loaded last.
        key: Its key, PEM.
    """

    def __init__(self, directory: Path, port: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = port
        self.authority = directory / "authority.pem"
        self._authority_key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = directory / "gateway.pem"
        self.key = directory / "gateway.key"
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, days: float = 90) -> None:
        """Issue a certificate for so many days, and listen."""
        await self.issue(days)
        self.listen()

    async def issue(self, days: float) -> None:
        """Put another certificate and key into the files; who listens goes on with those that were loaded."""
        await asyncio.to_thread(self._issue, days)

    def listen(self) -> None:
        """Load the certificate, and listen."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        listener = socket.create_server(("127.0.0.1", self.port), backlog=100)
        listener.settimeout(0)
        self._begin(self._accept(listener, context)).add_done_callback(lambda _: listener.close())

    async def stop(self) -> None:
        """Stop listening, and break off the handshakes that are under way, which asyncio's own server would leave open."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            self._begin(_shake_hands(connection, context))

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=f"gateway on {self.port}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def reload(self) -> None:
        """Present the certificate that is in the files."""
        await self.stop()
        self.listen()

    async def renew(self, days: float) -> None:
        """Present another certificate; one of less than no days has expired."""
        await self.issue(days)
        await self.reload()

    def _issue(self, days: float) -> None:
        signer = self._authority_key
        if not self.authority.exists():
            itself = _certificate(_AUTHORITY, signer.public_key(), 3650)
            itself = itself.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            self.authority.write_bytes(itself.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM))
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
        builder = _certificate(_SUBJECT, key.public_key(), days).add_extension(names, critical=False)
        self.key.touch(mode=0o600)
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.certificate.write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


_AUTHORITY, _SUBJECT = _name("Authority of the hafnium demo"), _name("gateway.hafnium.demo")


def _certificate(subject: x509.Name, key: ec.EllipticCurvePublicKey, days: float) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_AUTHORITY)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


async def _shake_hands(connection: socket.socket, context: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # the other side went away, or does not like the certificate
        transport, _ = await loop.connect_accepted_socket(
            asyncio.Protocol, connection, ssl=context, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
        transport.abort()
