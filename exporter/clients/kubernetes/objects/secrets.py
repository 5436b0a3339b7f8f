"""Secrets of the type kubernetes.io/tls: what their certificate says. Neither it nor the private key is kept."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from exporter.clients.kubernetes.objects.reading import Malformed, mapping, required

__all__ = ["TlsSecret"]

MAX_CHAIN = 200_000
"""Characters of a certificate chain; a Secret has at most 1 MiB."""

MAX_NAMES = 20

_NOT_VALUE_ERRORS = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What else the library raises over a certificate that is none; a `ValueError` is none of them."""


@dataclass(frozen=True, slots=True)
class TlsSecret:
    """What is kept of a TLS Secret: what its first certificate says, which is the server's own.

    Attributes:
        uid: Its identity.
        name: Its name.
        not_after: Unix time at which the certificate expires.
        fingerprint: SHA-256 of the certificate, hexadecimal.
        names: DNS names that it is for, at most twenty.
    """

    uid: str
    name: str
    not_after: float
    fingerprint: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> TlsSecret:
        """Reduce a Secret.

        Raises:
            Malformed: It has no name, no uid, or no certificate that can be read.
        """
        metadata = mapping(raw, "metadata")
        uid, name = required(metadata, "uid"), required(metadata, "name")
        written = mapping(raw, "data").get("tls.crt")
        if not isinstance(written, str) or not written or len(written) > MAX_CHAIN:
            raise Malformed("it holds no tls.crt")
        try:
            certificate = x509.load_pem_x509_certificate(base64.b64decode(written, validate=True))
            names = _names(certificate)
        except (ValueError, binascii.Error, *_NOT_VALUE_ERRORS):
            raise Malformed("its tls.crt holds no certificate that can be read") from None
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        return cls(uid, name, certificate.not_valid_after_utc.timestamp(), fingerprint, names)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(found.value.get_values_for_type(x509.DNSName)[:MAX_NAMES])
