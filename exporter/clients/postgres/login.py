"""Logging in to PostgreSQL: by SCRAM, in which the server proves itself too, by MD5, or by the password itself over TLS."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from hashlib import md5

from exporter.clients.postgres.binding import ChannelBinding, server_end_point
from exporter.clients.postgres.scram import MECHANISM, MECHANISM_BOUND, Binding, KeptKeys, ScramExchange
from exporter.clients.postgres.wire import Frames, message, server_error, startup, text
from exporter.net.tls import ClientTls
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Login", "log_in"]

APPLICATION = "hafnium-exporter"

METHODS = {0: "none", 3: "password", 5: "md5", 10: "scram-sha-256"}
"""What a server asks for, by libpq's words in `require_auth`."""

_PASSED_OVER = (b"K", b"N", b"v")
"""Key to cancel a query, notice, and that of newer protocols nothing is known."""

_LONGEST_VERSION = 100
"""Bytes of the server's version that are looked at; builds say more than its number."""


@dataclass(frozen=True, slots=True)
class Login:
    """How to get in.

    Attributes:
        user: The role.
        database: The database.
        password: Gives the password; raises `Failure` where it cannot be read.
        tls: TLS, where it is wanted; a server without it is then refused.
        methods: Ways in which the server may have the client log in; None for all of `METHODS`.
        binding: Whether the login is bound to the TLS connection.
        kept: What the logins before have hashed.
    """

    user: str
    database: str
    password: Callable[[], Awaitable[str]] = field(repr=False)
    tls: ClientTls | None = None
    methods: Collection[str] | None = None
    binding: ChannelBinding = "prefer"
    kept: KeptKeys = field(default_factory=KeptKeys, repr=False, compare=False)


async def log_in(frames: Frames, login: Login, password: str) -> str:
    """Introduce the client and prove who it is, until the server is ready for queries; return the server's version.

    Raises:
        Failure: The server refuses, asks for what is not done, or does not speak the protocol.
        OSError: The connection ended.
    """
    proof = _Proof(login, password, frames.stream.certificate)
    parameters = {
        "user": login.user,
        "database": login.database,
        "application_name": APPLICATION,
        "client_encoding": "UTF8",
    }
    frames.stream.write(startup(parameters))
    told: dict[bytes, bytes] = {}
    while True:
        kind, body = await frames.next()
        match kind:
            case b"R":
                answer = await proof.answer(body)
                if answer is not None:
                    frames.stream.write(message(b"p", answer))
            case b"E":
                raise server_error(body, Stage.AUTH)
            case b"S":
                name, _, value = body.partition(b"\0")
                told[name] = value.rstrip(b"\0")
            case b"Z" if proof.accepted and b"server_version" in told:
                return told[b"server_version"][:_LONGEST_VERSION].decode("utf-8", "replace")
            case _ if kind not in _PASSED_OVER:
                raise _unexpected()


class _Proof:
    """Answers to what a server asks of a client that logs in.

    Args:
        login: How to get in.
        password: The password.
        certificate: The server's, in DER, where the connection is TLS.

    Attributes:
        accepted: The server lets the client in.
    """

    def __init__(self, login: Login, password: str, certificate: bytes | None) -> None:
        self.accepted = False
        self._certificate = certificate
        self._asked = False
        self._login = login
        self._password = password
        self._scram: ScramExchange | None = None
        self._proven = True

    async def answer(self, body: bytes) -> bytes | None:
        """Return what to send, None where nothing is asked."""
        try:
            (asked,) = struct.unpack_from("!i", body)
            return await self._answer(asked, body[4:])
        except (struct.error, ValueError):
            raise _unexpected() from None  # the server's words and what was computed of them stay out of any traceback

    async def _answer(self, asked: int, body: bytes) -> bytes | None:
        self._check_method(asked)
        match asked:
            case 0 if self._proven:  # let in
                self.accepted = True
                return None
            case 3:  # the password itself
                return self._in_the_clear()
            case 5 if len(body) == 4:
                return text(f"md5{_md5(_md5(self._password.encode() + self._login.user.encode()).encode() + body)}")
            case 10 if self._scram is None:  # SASL: open, prove, verify
                return self._open(body)
            case 11 if self._scram is not None:
                return (await self._scram.prove(body.decode())).encode()
            case 12 if self._scram is not None:
                self._scram.verify(body.decode())
                self._proven = True
                return None
            case 0 | 5 | 10 | 11 | 12:
                raise _unexpected()
        raise Failure(Stage.AUTH, Reason.AUTH, f"the server asks for a login that is not supported: {asked}")

    def _check_method(self, asked: int) -> None:
        """Hold a server to the ways of logging in that are wanted; one that lets in whoever comes is `none`."""
        method = METHODS.get(asked)
        if method is None or (asked == 0 and self._asked):
            return
        self._asked = True
        if self._login.binding == "require" and method != METHODS[10]:
            detail = f"the server wants the login {method}, which nothing binds to its TLS: channel_binding is require"
            raise Failure(Stage.AUTH, Reason.NOT_ALLOWED, detail)
        wanted = self._login.methods
        if wanted is not None and method not in wanted:
            detail = f"the server wants the login {method}, require_auth is {', '.join(wanted)}"
            raise Failure(Stage.AUTH, Reason.NOT_ALLOWED, detail)

    def _in_the_clear(self) -> bytes:
        if self._login.tls is None:
            raise Failure(Stage.AUTH, Reason.NOT_ALLOWED, "the server asks for the password in the clear, which needs tls")
        return text(self._password)

    def _open(self, mechanisms: bytes) -> bytes:
        offered = mechanisms.split(b"\0")
        mechanism, binding = self._bound(offered)
        if mechanism.encode() not in offered:
            raise Failure(Stage.AUTH, Reason.AUTH, f"the server has no {mechanism}")
        self._proven = False
        self._scram = ScramExchange(self._password, self._login.kept, binding)
        first = self._scram.first.encode()
        return text(mechanism) + struct.pack("!i", len(first)) + first

    def _bound(self, offered: Collection[bytes]) -> tuple[str, Binding]:
        """Return the mechanism to take, and what is said of the connection."""
        wanted = self._login.binding
        end_point = server_end_point(self._certificate) if wanted != "disable" else None
        if end_point is not None and MECHANISM_BOUND.encode() in offered:
            return MECHANISM_BOUND, Binding.to(end_point)
        if wanted == "require":
            why = "the server does not offer it" if end_point is not None else "nothing of its certificate can be bound to"
            raise Failure(Stage.AUTH, Reason.NOT_ALLOWED, f"channel_binding is require, and {why}")
        return MECHANISM, Binding("y,," if end_point is not None else "n,,")


def _md5(data: bytes) -> str:
    return md5(data, usedforsecurity=False).hexdigest()


def _unexpected() -> Failure:
    return Failure(Stage.AUTH, Reason.PROTOCOL, "the server's answers to the login cannot be read")
