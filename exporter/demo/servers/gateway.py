"""A TLS endpoint with a certificate from an authority of its own, for the certificate probe to look at."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

__all__ = ["Gateway"]


class Gateway:
    """Shakes hands and hangs up.

    Args:
        directory: Where certificates and the key are kept.
        port: Where it listens on loopback.

    Attributes:
        authority: Certificate of the authority, which stays the same when the gateway's is renewed.
    """

    def __init__(self, directory: Path, port: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = port
        self.authority = directory / "authority.pem"
        self._authority_key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = directory / "gateway.pem"
        self._key = directory / "gateway.key"
        self._server: asyncio.Server | None = None

    async def start(self, days: float = 90) -> None:
        """Issue a certificate for so many days, and listen."""
        await asyncio.to_thread(self._issue, days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate, self._key)
        self._server = await asyncio.start_server(_hang_up, "127.0.0.1", self.port, ssl=context)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def renew(self, days: float) -> None:
        """Present another certificate."""
        await self.stop()
        await self.start(days)

    def _issue(self, days: float) -> None:
        signer = self._authority_key
        if not self.authority.exists():
            itself = _certificate(_AUTHORITY, signer.public_key(), 3650)
            itself = itself.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            self.authority.write_bytes(itself.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM))
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
        builder = _certificate(_SUBJECT, key.public_key(), days).add_extension(names, critical=False)
        self._key.touch(mode=0o600)
        self._key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self._certificate.write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM))


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


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
