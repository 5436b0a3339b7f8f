"""SASL as brokers want it: PLAIN (RFC 4616) and SCRAM (RFC 5802, 7677).

Written out here because a login is where a hostile or mistaken server gets to choose what the client computes: the
iteration count is bounded, and the server must prove that it knows the password too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Protocol

from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_ITERATIONS", "Dialogue", "Plain", "Scram", "dialogue"]

MAX_ITERATIONS = 200_000
"""Most rounds of PBKDF2 that a server may ask for: about 60 ms. Kafka's own limit is 16,384."""


class Dialogue(Protocol):
    """One login: a token for each challenge, None when nothing more is to be said."""

    def step(self, challenge: bytes) -> bytes | None:
        """Answer a challenge, the first of which is empty. May compute for some 10 ms: call it from a thread.

        Raises:
            Failure: The server says what it must not.
        """


class Plain:
    """User and password as they are."""

    def __init__(self, user: str, password: str) -> None:
        self._token: bytes | None = b"\0".join((b"", user.encode(), password.encode()))

    def step(self, challenge: bytes) -> bytes | None:
        """Say all there is to say once."""
        token, self._token = self._token, None
        return token


class Scram:
    """Proof of the password on both sides, without sending it.

    Args:
        digest: Hash as hashlib names it: sha256 or sha512.
        user: Its name.
        password: Its password.
        nonce: For tests against published examples.
    """

    def __init__(self, digest: str, user: str, password: str, nonce: str | None = None) -> None:
        self._digest = digest
        self._password = password.encode()
        self._nonce = nonce or secrets.token_urlsafe(24)
        quoted = user.replace("=", "=3D").replace(",", "=2C")
        self._first = f"n={quoted},r={self._nonce}"
        self._signature: bytes | None = None
        self._steps = iter((self._open, self._prove, self._verify))

    def step(self, challenge: bytes) -> bytes | None:
        """Open, prove, verify."""
        try:
            return next(self._steps)(challenge)
        except (ValueError, KeyError, binascii.Error, StopIteration):
            # from None: the challenge and what was computed of it stay out of any traceback
            raise Failure(Stage.AUTH, Reason.PROTOCOL, "SCRAM: the broker's message cannot be read") from None

    def _open(self, _: bytes) -> bytes:
        return b"n,," + self._first.encode()

    def _prove(self, challenge: bytes) -> bytes:
        fields = _fields(challenge)
        nonce, salt, iterations = fields["r"], base64.b64decode(fields["s"], validate=True), int(fields["i"])
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise Failure(Stage.AUTH, Reason.PROTOCOL, "SCRAM: the broker answers another login")
        if not 1 <= iterations <= MAX_ITERATIONS:
            raise Failure(
                Stage.AUTH, Reason.PROTOCOL, f"SCRAM: {iterations} iterations, at most {MAX_ITERATIONS} are computed"
            )
        salted = hashlib.pbkdf2_hmac(self._digest, self._password, salt, iterations)
        client_key = self._hmac(salted, b"Client Key")
        final = f"c=biws,r={nonce}"
        signed = ",".join((self._first, challenge.decode(), final)).encode()
        stored = hashlib.new(self._digest, client_key).digest()
        proof = bytes(a ^ b for a, b in zip(client_key, self._hmac(stored, signed), strict=True))
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), signed)
        return f"{final},p={base64.b64encode(proof).decode()}".encode()

    def _verify(self, challenge: bytes) -> None:
        fields = _fields(challenge)
        if "e" in fields:
            raise Failure(Stage.AUTH, Reason.AUTH, "SCRAM: the broker refuses user or password")
        if not hmac.compare_digest(base64.b64decode(fields["v"], validate=True), self._signature or b""):
            raise Failure(Stage.AUTH, Reason.PROTOCOL, "SCRAM: the broker does not know the password itself")

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self._digest).digest()


def dialogue(mechanism: str, user: str, password: str) -> Dialogue:
    """Begin a login by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""
    if mechanism == "PLAIN":
        return Plain(user, password)
    return Scram({"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}[mechanism], user, password)


def _fields(message: bytes) -> dict[str, str]:
    return {name: value for name, _, value in (part.partition("=") for part in message.decode().split(","))}
