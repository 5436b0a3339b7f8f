"""The `tls` probe: which certificates a server presents, until when they hold, and whether the chain verifies."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from pydantic import Field, model_validator

from exporter.clients.kubernetes.access import ClusterAccess
from exporter.clients.kubernetes.cluster import Cluster
from exporter.clients.kubernetes.objects.reading import Malformed
from exporter.clients.kubernetes.objects.secrets import TlsSecret
from exporter.metrics.family import gauge
from exporter.net.dial import dial, start_tls
from exporter.net.phases import Phases
from exporter.net.tls import ClientTls, TlsSettings, handshake_command
from exporter.probing.attempt import Attempt
from exporter.probing.cadence import Every
from exporter.probing.expiry import EXPIRY
from exporter.probing.probe import Probe, ProbeSettings, SharedClients, Target
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["EXPIRY", "PROBE", "TlsProbe", "TlsProbeSettings"]

VERIFIED = gauge("probe_tls_verified", "1 if the chain leads to a trusted root and is for the name, 0 if not.")
NOT_BEFORE = gauge("probe_tls_not_before_timestamp_seconds", "Unix time from which the server's certificate holds.")
SECRET_NOT_AFTER = gauge(
    "probe_tls_secret_not_after_timestamp_seconds",
    "Unix time at which the certificate in a Kubernetes Secret expires, which is the one that ought to be served.",
    "secret",
)
SECRET_SERVED = gauge(
    "probe_tls_secret_served",
    "1 if the certificate that is served is the one in the Secret, 0 if it is another: renewed and not reloaded.",
    "secret",
)

_MAX_CHAIN = 20

_SECRET_EVERY = 4
"""Attempts from one reading of a Secret to the next."""


class SecretSource(ClusterAccess):
    """A Kubernetes Secret of the type kubernetes.io/tls."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$", description="Its name.")
    namespace: str = Field("default", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", description="Its namespace.")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class TlsProbeSettings(ProbeSettings):
    """What to ask for, and what to trust."""

    port: int | None = Field(None, ge=1, le=65535, description="Port, where it is not the instance's port.")
    server_name: str | None = Field(
        None, min_length=1, max_length=253, description="Name to ask for (SNI) and to verify, instead of the host."
    )
    ca_file: Path | None = Field(None, description="PEM bundle to trust instead of the system's.")
    cert_file: Path | None = Field(None, description="PEM client certificate (chain), where the server wants one.")
    key_file: Path | None = Field(None, description="PEM key of the client certificate, if not in cert_file.")
    secret: SecretSource | None = Field(
        None, description="Secret whose certificate ought to be served: its name, or name and namespace."
    )

    def by_hand(self, address: Address) -> str:
        """A handshake that says what is served."""
        at = Address(address.host, self.port or address.port)
        return handshake_command(at, self.server_name or at.host)


class TlsProbe(Probe[TlsProbeSettings]):
    """Shakes hands as a client that verifies; where that fails, once more to see the certificates nevertheless."""

    kind = "tls"
    settings_type = TlsProbeSettings
    vital = False
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS)
    metrics = (EXPIRY, VERIFIED, NOT_BEFORE, SECRET_NOT_AFTER, SECRET_SERVED)

    def __init__(self, target: Target, settings: TlsProbeSettings, shared: SharedClients) -> None:
        super().__init__(target, settings, shared)
        ways = settings.model_dump(include={"ca_file", "cert_file", "key_file"})
        self._address = Address(target.address.host, settings.port or target.address.port)
        self._name = settings.server_name or target.address.host
        self._verifying = ClientTls(TlsSettings(**ways))
        self._trusting = ClientTls(TlsSettings(**ways, verify=False))
        source = settings.secret
        self._cluster = shared.clusters.of(source, source.namespace) if source is not None else None
        self._secret: TlsSecret | None = None
        self._secret_due = Every(_SECRET_EVERY)

    async def check(self, attempt: Attempt) -> None:
        """Shake hands; a chain that does not verify is down, with its dates known all the same."""
        try:
            chain = await self._presented(self._verifying, attempt)
        except ssl.SSLCertVerificationError as error:
            attempt.record(VERIFIED, 0)
            async with attempt.part("unverified") as part:
                chain = await self._presented(self._trusting, part)
                _record(part, chain)
                await self._compare(attempt, chain)
            raise error from None
        attempt.record(VERIFIED, 1)
        _record(attempt, chain)
        await self._compare(attempt, chain)

    async def _compare(self, attempt: Attempt, chain: list[bytes]) -> None:
        """Record whether what is served is what the Secret holds."""
        source = self.settings.secret
        if source is None or self._cluster is None:
            return
        async with attempt.part("secret") as part:
            part.stage = Stage.QUERY
            stored = await self._stored(source, self._cluster)
            part.record(SECRET_NOT_AFTER, stored.not_after, source.name)
            part.record(SECRET_SERVED, hashlib.sha256(chain[0]).hexdigest() == stored.fingerprint, source.name)

    async def _stored(self, source: SecretSource, cluster: Cluster) -> TlsSecret:
        """Return what the Secret's certificate says, as of at most a few attempts ago. Of its key nothing is kept."""
        stored = self._secret
        if stored is None or self._secret_due.due:
            self._secret = None  # while it cannot be read, it is not known
            raw = await cluster.api.get(f"/api/v1/namespaces/{source.namespace}/secrets/{source.name}")
            try:
                stored = TlsSecret.of(raw)
            except Malformed as error:
                raise Failure(Stage.CHECK, Reason.MALFORMED, f"Secret {source.name}: {error}") from None
            self._secret = stored
            self._secret_due.done()
        self._secret_due.passed()
        return stored

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
    except (ValueError, IndexError, x509.InvalidVersion) as error:
        raise Failure(Stage.CHECK, Reason.MALFORMED, f"the certificate cannot be read: {error}") from None
    attempt.record(EXPIRY, min(ends))
    attempt.record(NOT_BEFORE, begins)


PROBE = TlsProbe
