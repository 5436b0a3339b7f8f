"""The `tls` probe: which certificates a server presents, until when they hold, and whether the chain verifies."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from pydantic import Field

from exporter.metrics.family import gauge
from exporter.net.dial import dial, start_tls
from exporter.net.phases import Phases
from exporter.net.tls import ClientTls, TlsSettings
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, SharedClients, Target
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["PROBE", "TlsProbe", "TlsProbeSettings"]

EXPIRY = gauge(
    "probe_ssl_earliest_cert_expiry", "Unix time at which the first of the presented certificates expires, verified or not."
)
VERIFIED = gauge("probe_tls_verified", "1 if the chain leads to a trusted root and is for the name, 0 if not.")
NOT_BEFORE = gauge("probe_tls_not_before_timestamp_seconds", "Unix time from which the server's certificate holds.")

_MAX_CHAIN = 20


class TlsProbeSettings(ProbeSettings):
    """What to ask for, and what to trust."""

    port: int | None = Field(None, ge=1, le=65535, description="Port, where it is not the instance's port.")
    server_name: str | None = Field(
        None, min_length=1, max_length=253, description="Name to ask for (SNI) and to verify, instead of the host."
    )
    ca_file: Path | None = Field(None, description="PEM bundle to trust instead of the system's.")
    cert_file: Path | None = Field(None, description="PEM client certificate (chain), where the server wants one.")
    key_file: Path | None = Field(None, description="PEM key of the client certificate, if not in cert_file.")


class TlsProbe(Probe[TlsProbeSettings]):
    """Shakes hands as a client that verifies; where that fails, once more to see the certificates nevertheless."""

    kind = "tls"
    settings_type = TlsProbeSettings
    vital = False
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS)
    metrics = (EXPIRY, VERIFIED, NOT_BEFORE)

    def __init__(self, target: Target, settings: TlsProbeSettings, shared: SharedClients) -> None:
        super().__init__(target, settings, shared)
        ways = settings.model_dump(include={"ca_file", "cert_file", "key_file"})
        self._address = Address(target.address.host, settings.port or target.address.port)
        self._name = settings.server_name or target.address.host
        self._verifying = ClientTls(TlsSettings(**ways))
        self._trusting = ClientTls(TlsSettings(**ways, verify=False))

    async def check(self, attempt: Attempt) -> None:
        """Shake hands; a chain that does not verify is down, with its dates known all the same."""
        try:
            chain = await self._presented(self._verifying, attempt)
        except ssl.SSLCertVerificationError as error:
            attempt.record(VERIFIED, 0)
            async with attempt.part("unverified") as part:
                _record(part, await self._presented(self._trusting, part))
            raise error from None
        attempt.record(VERIFIED, 1)
        _record(attempt, chain)

    async def _presented(self, tls: ClientTls, phases: Phases) -> list[bytes]:
        """Connect, shake hands, and return the certificates that the server presents, DER, its own first."""
        context = await tls.context()
        transport, protocol = await dial(asyncio.Protocol, self._address, self.shared.resolver, phases)
        try:
            secured = await start_tls(transport, protocol, context, self._name, phases)
            chain = _chain(secured.get_extra_info("ssl_object"))
            secured.abort()
        finally:
            transport.abort()
            phases.stage = Stage.TLS
        return chain


def _chain(handshake: Any) -> list[bytes]:
    """Return the presented chain: public since Python 3.13, and there since 3.10."""
    if hasattr(handshake, "get_unverified_chain"):
        return list(handshake.get_unverified_chain())[:_MAX_CHAIN]
    certificates = handshake._sslobj.get_unverified_chain() or []
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in certificates[:_MAX_CHAIN]]


def _record(attempt: Attempt, chain: list[bytes]) -> None:
    try:
        certificates = [x509.load_der_x509_certificate(der) for der in chain]
        ends = [certificate.not_valid_after_utc.timestamp() for certificate in certificates]
        begins = certificates[0].not_valid_before_utc.timestamp()
    except (ValueError, IndexError) as error:
        raise Failure(Stage.CHECK, Reason.MALFORMED, f"the certificate cannot be read: {error}") from None
    attempt.record(EXPIRY, min(ends))
    attempt.record(NOT_BEFORE, begins)


PROBE = TlsProbe
