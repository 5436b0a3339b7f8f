"""TLS as a server: from a web configuration to a context."""

from __future__ import annotations

import errno
import ipaddress
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509

from exporter.reading import read_regular
from exporter.web.access.ciphers import CURVES
from exporter.web.access.file import VERSIONS, TlsServer

__all__ = ["Validity", "names_of", "server_context", "validity_of"]

_WEEKS = 14 * 86_400.0
"""Seconds; see `Validity.due`."""


class Validity(NamedTuple):
    """From when to when a certificate is valid.

    Attributes:
        begins: Unix seconds.
        ends: Unix seconds.
    """

    begins: float
    ends: float

    @property
    def due(self) -> float:
        """The time from which on it is to have been renewed, Unix seconds: two weeks before its end, and of one that lasts
        less than eight a quarter of its time: what renews by itself does so with a third of it left."""
        return self.ends - min(_WEEKS, (self.ends - self.begins) / 4)


def server_context(settings: TlsServer) -> ssl.SSLContext:
    """Make a context. Blocking: it reads files.

    Raises:
        OSError: A file cannot be read or is not what it should be; the text names it, and holds nothing of it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = VERSIONS[settings.min_version], VERSIONS[settings.max_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if settings.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if settings.openssl_ciphers:
        context.set_ciphers(settings.openssl_ciphers)
    if len(settings.curve_preferences) == 1:
        context.set_ecdh_curve(CURVES[settings.curve_preferences[0]])
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, settings)
    if settings.verifies:
        context.verify_mode = ssl.CERT_REQUIRED if settings.requires else ssl.CERT_OPTIONAL
        _load_roots(context, settings)
    return context


def validity_of(settings: TlsServer) -> Validity | None:
    """Return the validity of what expires first: the certificate that is served, or one of its chain. Blocking: it reads a
    file.

    None where it cannot be told: that OpenSSL can use it is what counts.
    """
    try:
        pem = settings.cert.encode() if settings.cert is not None else read_regular(Path(settings.cert_file or ""))
        chain = x509.load_pem_x509_certificates(pem)
        first = min(chain, key=lambda each: each.not_valid_after_utc)
        return Validity(first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp())
    except (OSError, ValueError, x509.InvalidVersion):
        return None


def names_of(certificate: dict[str, Any] | None) -> frozenset[str]:
    """Return the subject alternative names of a client's certificate: of hosts, addresses, mail and URIs."""
    names = certificate.get("subjectAltName", ()) if certificate else ()
    return frozenset(_name(kind, str(value)) for kind, value in names if kind in ("DNS", "IP Address", "email", "URI"))


def _name(kind: str, value: str) -> str:
    """Write a name as people do: Python writes IPv6 as `2001:DB8:0:0:0:0:0:1`."""
    try:
        return str(ipaddress.ip_address(value.strip())) if kind == "IP Address" else value
    except ValueError:  # of an address that is none, Python says so in its place
        return value


def _load_certificate(context: ssl.SSLContext, settings: TlsServer) -> None:
    key = settings.key.get_secret_value() if settings.key is not None else None
    with _as_file(settings.cert, settings.cert_file) as cert_path, _as_file(key, settings.key_file) as key_path:
        for told, path in (("cert", cert_path), ("key", key_path)):
            _readable(told, path)
        try:
            context.load_cert_chain(cert_path, key_path, password=_refuse_encrypted_key)
        except (ssl.SSLError, ValueError) as error:
            raise OSError(errno.EINVAL, f"cert and key cannot be used: {_reason(error)}") from None


def _load_roots(context: ssl.SSLContext, settings: TlsServer) -> None:
    with _as_file(settings.client_ca, settings.client_ca_file) as path:
        _readable("client_ca", path)
        try:
            context.load_verify_locations(cafile=path)
        except (ssl.SSLError, ValueError) as error:
            raise OSError(errno.EINVAL, f"client_ca cannot be used: {_reason(error)}") from None


def _readable(told: str, path: str) -> None:
    try:
        read_regular(Path(path), 0)
    except OSError as error:
        raise OSError(error.errno, f"{told}: {path} cannot be read: {error.strerror}") from None
    except ValueError:  # a null character
        raise OSError(errno.EINVAL, f"{told}: it is not a path") from None


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return reason.replace("_", " ").lower() if reason else "it is not PEM, or the key is encrypted"


@contextmanager
def _as_file(text: str | None, path: Path | None) -> Iterator[str]:
    """Give what is written in the configuration a path, in memory alone: OpenSSL reads files."""
    if text is None:
        assert path is not None  # noqa: S101 - one of both is given
        yield str(path)
        return
    descriptor = os.memfd_create("web-config", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "w") as file:
            file.write(text)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _refuse_encrypted_key() -> str:
    """Stand in for OpenSSL's own prompt, which would wait on the terminal for ever."""
    raise ValueError("the key is encrypted")
