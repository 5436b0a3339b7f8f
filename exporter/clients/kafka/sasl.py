"""SASL as brokers want it: PLAIN (RFC 4616), OAUTHBEARER (RFC 7628), and SCRAM (RFC 5802, 7677) by scramp.

A login is where a hostile or mistaken server gets to choose what the client computes: the iteration count is looked at
before the library computes anything, and the library has the server prove that it knows the password too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest

from exporter.clients.kafka.errors import failure_of_code
from exporter.verdict import Failure, Reason, Stage

__all__ = ["CLEARTEXT", "MAX_ITERATIONS", "Dialogue", "OAuthBearer", "Plain", "Scram", "dialogue", "log_in"]

MAX_ITERATIONS = 100_000
"""Most rounds of PBKDF2 that a server may ask for: some 150 ms of a thread. Kafka's own limit is 16,384."""

CLEARTEXT = frozenset({"PLAIN", "OAUTHBEARER"})
"""Mechanisms that send the secret itself."""

_MAX_CHALLENGE = 4096
"""Longest message of a server that is looked at, in bytes; they have some hundred."""


class Dialogue(Protocol):
    """One login: a token for each challenge, None when nothing more is to be said."""

    def step(self, challenge: bytes) -> bytes | None:
        """Answer a challenge, the first of which is empty. May compute for some 100 ms: call it from a thread.

        Raises:
            Failure: The server says what it must not, or the password cannot be used.
        """


class Plain:
    """User and password as they are."""

    def __init__(self, user: str, password: str) -> None:
        self._token: bytes | None = b"\0".join((b"", user.encode(), password.encode()))

    def step(self, challenge: bytes) -> bytes | None:
        """Say all there is to say once."""
        token, self._token = self._token, None
        return token


class OAuthBearer:
    """A token of an identity provider. A broker that does not believe it says why, and waits for leave to refuse it."""

    def __init__(self, token: str) -> None:
        self._token: bytes | None = f"n,,\x01auth=Bearer {token}\x01\x01".encode()

    def step(self, challenge: bytes) -> bytes | None:
        """Say the token once; what is answered to it is why it is refused."""
        token, self._token = self._token, None
        if challenge:
            status = _STATUS.search(challenge[:_MAX_CHALLENGE])
            why = f": {status[1].decode()}" if status is not None else ""
            raise Failure(Stage.AUTH, Reason.AUTH, f"OAUTHBEARER: the broker refuses the token{why}")
        return token


_STATUS = re.compile(rb'"status"\s*:\s*"([a-z_]{1,40})"')
"""An error of RFC 7628, 3.2.2, and nothing longer: what a server says may echo the token."""


class Scram:
    """Proof of the password on both sides, without sending it.

    Args:
        mechanism: SCRAM-SHA-256 or SCRAM-SHA-512.
        user: Its name.
        password: Its password.
        nonce: For tests against published examples.

    Raises:
        Failure: User or password have characters that cannot be.
    """

    def __init__(self, mechanism: str, user: str, password: str, nonce: str | None = None) -> None:
        from scramp import ScramClient, ScramException  # noqa: PLC0415 - slow to import, and few logins need it

        try:
            self._client = ScramClient([mechanism], user, "", c_nonce=nonce)
        except ScramException:
            raise Failure(Stage.AUTH, Reason.CREDENTIALS, "SCRAM: the user's name has characters that cannot be") from None
        self._client.password = _Verbatim(password)
        self._steps = iter((self._open, self._prove, self._verify))

    def step(self, challenge: bytes) -> bytes | None:
        """Open, prove, verify."""
        from scramp import ScramException  # noqa: PLC0415 - see above

        try:
            if len(challenge) > _MAX_CHALLENGE:
                raise Failure(Stage.AUTH, Reason.PROTOCOL, f"SCRAM: a message of {len(challenge)} bytes")
            return next(self._steps)(challenge.decode())
        except (ScramException, ValueError, StopIteration):
            # from None: the challenge and what was computed of it stay out of any traceback
            raise Failure(Stage.AUTH, Reason.PROTOCOL, "SCRAM: the broker's message is not what it must be") from None

    def _open(self, _: str) -> bytes:
        return str(self._client.get_client_first()).encode()

    def _prove(self, challenge: str) -> bytes:
        _refused(challenge)
        self._client.set_server_first(challenge)  # reads, and computes nothing yet
        iterations = int(self._client.iterations)
        if iterations > MAX_ITERATIONS:
            detail = f"SCRAM: {iterations} iterations, at most {MAX_ITERATIONS} are computed"
            raise Failure(Stage.AUTH, Reason.PROTOCOL, detail)
        return str(self._client.get_client_final()).encode()

    def _verify(self, challenge: str) -> None:
        _refused(challenge)
        self._client.set_server_final(challenge)


class _Verbatim:
    """A password as it is: Kafka, unlike RFC 5802, does not normalise it (SASLprep), so nor must its clients."""

    def __init__(self, password: str) -> None:
        self._password = password

    def __bytes__(self) -> bytes:
        return self._password.encode()


def _refused(challenge: str) -> None:
    if challenge.startswith("e="):
        raise Failure(Stage.AUTH, Reason.AUTH, "SCRAM: the broker refuses user or password")


async def log_in(ask: Callable[[Any], Awaitable[Any]], mechanism: str, user: str, password: str) -> None:
    """Log in over a connection that has just agreed on versions.

    Args:
        ask: Sends a request and returns its answer.
        mechanism: Of those that `dialogue` knows.
        user: Its name; OAUTHBEARER has none.
        password: Its password, or the token of OAUTHBEARER.

    Raises:
        Failure: The broker does not offer the mechanism, refuses the login, or says what it must not.
    """
    answer = await ask(SaslHandShakeRequest(mechanism))
    if answer.error_code:
        offered = ", ".join(str(name) for name in answer.enabled_mechanisms or ())
        raise failure_of_code(answer.error_code, f"{mechanism} (the broker offers {offered or 'nothing'})", Stage.AUTH)
    steps = await asyncio.to_thread(dialogue, mechanism, user, password)  # which may import what SCRAM is computed with
    token = steps.step(b"")
    while token is not None:
        answer = await ask(SaslAuthenticateRequest(token))
        if answer.error_code:
            raise failure_of_code(answer.error_code, "login", Stage.AUTH)
        token = await asyncio.to_thread(steps.step, answer.sasl_auth_bytes or b"")


def dialogue(mechanism: str, user: str, password: str) -> Dialogue:
    """Begin a login by PLAIN, OAUTHBEARER, SCRAM-SHA-256 or SCRAM-SHA-512."""
    if mechanism == "OAUTHBEARER":
        return OAuthBearer(password)
    return Plain(user, password) if mechanism == "PLAIN" else Scram(mechanism, user, password)
