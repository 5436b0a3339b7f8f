"""The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), which hashes a password once and not at every login.

Why not scramp's: it hashes anew each time, 4,096 rounds, half of what an attempt costs. RFC 5802 lets a client keep the keys
by password, salt and rounds. What a password becomes by SASLprep is still scramp's to say.
"""

from __future__ import annotations

import asyncio
import binascii
import hmac
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import pbkdf2_hmac, sha256
from secrets import token_urlsafe

from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_ITERATIONS", "MECHANISM", "MECHANISM_BOUND", "Binding", "KeptKeys", "ScramExchange"]

MECHANISM = "SCRAM-SHA-256"

MECHANISM_BOUND = "SCRAM-SHA-256-PLUS"
"""The same, bound to the TLS connection."""

MAX_ITERATIONS = 1_000_000
"""Rounds of hashing that a login may ask for; a million take a thread 0.25 s. A server's default is 4,096."""

MIN_ITERATIONS = 4096
"""Fewest rounds that are done: RFC 7677's. A server whose scram_iterations is less is not logged in to."""

_USER = "*"
"""PostgreSQL goes by the user that was named before."""
_CHALLENGE = re.compile(r"r=([\x21-\x2b\x2d-\x7e]+),s=([^,]+),i=([^,]*)(?:,.*)?", re.ASCII)
_PROOF = re.compile(r"v=([^,]+)(?:,.*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Binding:
    """What a client says of the connection that a login goes through.

    Attributes:
        header: GS2's: `n,,` does not bind; `y,,` would, and was not offered it, by which a server that did offer it knows of
            who stands between; `p=…,,` does.
        data: What it is bound to.
    """

    header: str = "n,,"
    data: bytes = b""

    @classmethod
    def to(cls, end_point: bytes) -> Binding:
        """Bind to a server's certificate."""
        return cls("p=tls-server-end-point,,", end_point)


UNBOUND = Binding()


@dataclass(frozen=True, slots=True)
class Keys:
    """What a password comes to by a salt and rounds of hashing.

    Attributes:
        client: `ClientKey`, of which the client proves that it has it.
        server: `ServerKey`, of which the server does.
    """

    client: bytes = field(repr=False)
    server: bytes = field(repr=False)


class KeptKeys:
    """The keys of the login before: one, whatever a server asks for."""

    def __init__(self) -> None:
        self._of: tuple[str, bytes, int] | None = None
        self._keys: Keys | None = None

    async def get(self, password: str, salt: bytes, iterations: int) -> Keys:
        """Return the keys, hashed in a thread where they are of another password, salt or number of rounds."""
        wanted = (password, salt, iterations)
        if self._keys is None or self._of != wanted:
            keys = await asyncio.to_thread(_hashed, *wanted)
            self._of, self._keys = wanted, keys
            return keys
        return self._keys


class ScramExchange:
    """One login.

    Args:
        password: The password.
        kept: Keys of logins before.
        binding: To the connection.

    Attributes:
        first: The client's first message.
    """

    def __init__(self, password: str, kept: KeptKeys, binding: Binding = UNBOUND) -> None:
        self._password = password
        self._kept = kept
        self._binding = binding
        self._nonce = token_urlsafe(24)
        self._bare = f"n={_USER},r={self._nonce}"
        self._expected: bytes | None = None
        self.first = f"{binding.header}{self._bare}"

    async def prove(self, challenge: str) -> str:
        """Return the client's final message.

        Raises:
            ValueError: The challenge cannot be read.
            Failure: It asks for more rounds of hashing than are done, or for fewer.
        """
        found = _CHALLENGE.fullmatch(challenge)
        if self._expected is not None or found is None:
            raise ValueError("no challenge")
        nonce, salt, rounds = found.groups()
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ValueError("not an answer to the first message")
        keys = await self._kept.get(self._password, _decoded(salt), _iterations(rounds))
        bound = self._binding.header.encode() + self._binding.data
        final = f"c={_encoded(bound)},r={nonce}"
        signed = f"{self._bare},{challenge},{final}".encode()
        signature = hmac.digest(sha256(keys.client).digest(), signed, "sha256")
        proof = bytes(ours ^ theirs for ours, theirs in zip(keys.client, signature, strict=True))
        self._expected = hmac.digest(keys.server, signed, "sha256")
        return f"{final},p={_encoded(proof)}"

    def verify(self, answer: str) -> None:
        """Check that the server has the password's keys too.

        Raises:
            ValueError: It has not shown that.
        """
        found = _PROOF.fullmatch(answer)
        if self._expected is None or found is None or not hmac.compare_digest(_decoded(found[1]), self._expected):
            raise ValueError("the server does not prove itself")


def _iterations(rounds: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", rounds) or int(rounds) > MAX_ITERATIONS:
        raise Failure(Stage.AUTH, Reason.PROTOCOL, f"the server asks for {rounds[:20]} rounds of hashing")
    if int(rounds) < MIN_ITERATIONS:
        raise Failure(
            Stage.AUTH, Reason.AUTH, f"the server asks for {rounds} rounds of hashing; {MIN_ITERATIONS} are the least"
        )
    return int(rounds)


def _hashed(password: str, salt: bytes, iterations: int) -> Keys:
    salted = pbkdf2_hmac("sha256", _prepared(password), salt, iterations)
    return Keys(hmac.digest(salted, b"Client Key", "sha256"), hmac.digest(salted, b"Server Key", "sha256"))


def _prepared(password: str) -> bytes:
    """Return a password as PostgreSQL hashes it: by SASLprep, and as it is where that does not take it.

    Of ASCII that leaves everything as it is, or takes nothing (RFC 4013, 2.1 to 2.3).
    """
    if password.isascii():
        return password.encode()
    from scramp import ScramClient, ScramException  # noqa: PLC0415 - slow to import, and few passwords need it

    try:
        return bytes(ScramClient([MECHANISM], _USER, password).password)
    except ScramException:
        return password.encode()


def _encoded(data: bytes) -> str:
    return b64encode(data).decode()


def _decoded(data: str) -> bytes:
    try:
        return b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError("not base 64") from error
