"""What binds a login to the TLS connection it goes through, so that who stands between cannot pass it on (RFC 5929)."""

from __future__ import annotations

from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

__all__ = ["ChannelBinding", "server_end_point"]

ChannelBinding = Literal["prefer", "require", "disable"]
"""Whether a login is bound, in libpq's words: where the server offers it, always, or never."""


def server_end_point(certificate: bytes | None) -> bytes | None:
    """Return the `tls-server-end-point` of a server's certificate: its hash, by the hash that it is signed with.

    Args:
        certificate: In DER; None where the connection is not TLS.

    Returns:
        None where there is nothing to bind to: no certificate, none that can be read, or a signature that has no hash, as
        Ed25519's.
    """
    if certificate is None:
        return None
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None
    if algorithm is None:
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):  # RFC 5929, 4.1: too weak to be bound by
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(certificate)
    return digest.finalize()
