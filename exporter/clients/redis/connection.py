"""One connection: phases timed apart, every answer bounded, and nothing left behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from exporter.clients.redis.resp import MAX_ANSWER_BYTES, Answer, ServerError, command, read_answer
from exporter.net.cleartext import refuse_cleartext
from exporter.net.phases import Phases, timed
from exporter.net.resolver import Resolver
from exporter.net.stream import Stream
from exporter.net.tls import ClientTls
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Connection", "Login", "connect"]

_ARGUMENTS = ", with args beginning with"
"""How Redis and Valkey begin to repeat what came after a command that they do not know."""


@dataclass(frozen=True, slots=True)
class Login:
    """How to get in.

    Attributes:
        user: ACL user; None is the default user.
        password: Gives the password, None where none is sent; raises `Failure` where it cannot be read.
        tls: TLS, where it is wanted.
        allow_cleartext: The password may cross a network as it is.
    """

    user: str | None
    password: Callable[[], Awaitable[str | None]] = field(repr=False)
    tls: ClientTls | None = None
    allow_cleartext: bool = False


async def connect(address: Address, login: Login, resolver: Resolver, phases: Phases) -> Connection:
    """Connect and log in, with resolve, connect, tls and auth timed apart. The caller sets the deadline.

    Raises:
        Failure: As the server says, or the password cannot be read, or would cross a network in the clear.
        OSError: The network's errors; `ssl.SSLError` is one.
    """
    password = await login.password()
    context = await login.tls.context() if login.tls is not None else None
    stream = await Stream.open(address, resolver, phases, MAX_ANSWER_BYTES)
    connection = Connection(stream)
    try:
        if login.tls is not None and context is not None:
            await stream.secure(context, login.tls.server_name or address.host, phases)
        if password is not None:
            with timed(phases, Stage.AUTH):
                if login.tls is None and not login.allow_cleartext:
                    refuse_cleartext(stream.peer)
                await connection.log_in(login.user, password)
    except BaseException:
        connection.abort()
        raise
    return connection


class Connection:
    """A connection that is logged in."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._owed = False

    @property
    def usable(self) -> bool:
        """Whether it can be asked again: an answer that was not waited for would be taken for the next."""
        return not self._owed

    async def ask(self, *words: str, stage: Stage = Stage.QUERY) -> Answer:
        """Send a command and return its answer.

        Raises:
            ServerError: The answer is an error.
            Failure: It is not RESP, or is too much; the connection is given up.
            OSError: The connection ended.
        """
        self._owed = True
        self._stream.write(command(*words))
        try:
            answer = await read_answer(self._stream, stage)
        except ServerError:
            self._owed = False
            raise
        self._owed = False
        return answer

    async def log_in(self, user: str | None, password: str) -> None:
        """Log in; raises as `ask` does, without what a server says of the words that it was sent."""
        words = ("AUTH", password) if user is None else ("AUTH", user, password)
        try:
            answer = await self.ask(*words, stage=Stage.AUTH)
        except ServerError as error:
            raise _without_arguments(error, password) from None
        if answer != b"OK":
            raise Failure(Stage.AUTH, Reason.PROTOCOL, "the answer to AUTH is not OK")

    def abort(self) -> None:
        """Close the socket at once."""
        self._stream.abort()


def _without_arguments(error: ServerError, password: str) -> ServerError:
    """Leave out the arguments that a server repeats, of which one is the password.

    One that knows no AUTH, as where that was renamed, names them in its error, cut where they are long.
    """
    words, said = error.detail.partition(_ARGUMENTS)[0], " ".join(password.split())
    return ServerError(error.stage, "the server refuses AUTH" if said and said in words else words)
