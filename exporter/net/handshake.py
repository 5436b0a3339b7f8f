"""Whether a server asks for a client certificate, which Python does not tell: read from the handshake as it goes by.

Up to TLS 1.2 the server's side of a handshake is in the open, and a server that does not get the certificate it asked for
often says no more than `handshake_failure`, or hangs up. From TLS 1.3 on the request is encrypted and cannot be seen; there
the refusal is an alert of its own, which comes once the client holds the handshake to be over.
"""

from __future__ import annotations

import re
import ssl
from contextvars import ContextVar

__all__ = ["ClientCertificateRefused", "Seen", "WatchedHandshake", "handshake_seen"]

_HANDSHAKE = 22
_CERTIFICATE_REQUEST, _SERVER_HELLO_DONE = 13, 14
_MAX_FLIGHT = 256 * 1024
"""Bytes of a handshake that are looked at; a chain of certificates has some thousand."""

_REFUSALS = re.compile(r"ALERT_(?:HANDSHAKE_FAILURE|DECRYPT_ERROR)$")
"""Alerts that are about the client's certificate once one was asked for; those that say so themselves need no help."""


class Seen:
    """What is known of a handshake from outside.

    Attributes:
        certificate_asked: The server has asked for a client certificate.
    """

    __slots__ = ("certificate_asked",)

    def __init__(self) -> None:
        self.certificate_asked = False


handshake_seen: ContextVar[Seen | None] = ContextVar("handshake_seen", default=None)
"""Receives what is seen of the handshake that this task begins."""


class ClientCertificateRefused(ssl.SSLError):
    """The server asked for a client certificate and broke the handshake off without one, or with the one it got.

    Attributes:
        words: What is known, for people.
    """

    def __init__(self, how: str) -> None:
        self.words = f"the server asked for a client certificate and ended the handshake: {how}"
        super().__init__(1, f"[SSL: CLIENT_CERTIFICATE_REFUSED] {self.words}")
        self.reason = "CLIENT_CERTIFICATE_REFUSED"


class WatchedHandshake(ssl.SSLObject):
    """A connection's TLS whose handshake is read along with, by way of the public `SSLContext.sslobject_class`."""

    _incoming: ssl.MemoryBIO | None = None

    def watch(self, incoming: ssl.MemoryBIO) -> None:
        """Say where the server's bytes come in."""
        self._incoming = incoming
        self._flight = _Flight()
        self._seen = handshake_seen.get() or Seen()

    def do_handshake(self) -> None:
        """Take the handshake on by what has come in.

        Raises:
            ClientCertificateRefused: The server asked for a certificate, and ended the handshake over it.
            ssl.SSLError: As always.
        """
        if self._incoming is not None and not self._flight.over:
            data = self._incoming.read()
            if data:  # OpenSSL takes all there is before it wants more: nothing is seen twice
                self._incoming.write(data)
                self._flight.feed(data)
                self._seen.certificate_asked = self._flight.certificate_asked
        try:
            super().do_handshake()
        except ssl.SSLError as error:
            alert = getattr(error, "reason", None) or ""
            if self._incoming is not None and self._seen.certificate_asked and _REFUSALS.search(alert):
                raise ClientCertificateRefused(alert.rpartition("ALERT_")[2].replace("_", " ").lower()) from error
            raise


class _Flight:
    """The server's first messages, as far as they are in the open.

    Attributes:
        over: Nothing more is to be learnt.
        certificate_asked: A certificate request was among them.
    """

    def __init__(self) -> None:
        self.over = False
        self.certificate_asked = False
        self._records = bytearray()
        self._messages = bytearray()
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take bytes, however they arrive."""
        if self.over:
            return
        self._size += len(data)
        self._records += data
        while not self.over and len(self._records) >= 5:
            length = int.from_bytes(self._records[3:5])
            if self._records[0] != _HANDSHAKE or self._size > _MAX_FLIGHT:
                self.over = True  # an alert, or encrypted from here on
            elif len(self._records) < 5 + length:
                break
            else:
                self._messages += self._records[5 : 5 + length]
                del self._records[: 5 + length]
                self._read_messages()

    def _read_messages(self) -> None:
        while not self.over and len(self._messages) >= 4:
            kind, length = self._messages[0], int.from_bytes(self._messages[1:4])
            if len(self._messages) < 4 + length:
                break
            del self._messages[: 4 + length]
            self.certificate_asked = kind == _CERTIFICATE_REQUEST
            self.over = kind in (_CERTIFICATE_REQUEST, _SERVER_HELLO_DONE)
