"""What the API server's refusals and the network's errors are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.net.errors import failure_of
from exporter.verdict import Failure, Reason, Stage

__all__ = ["ApiFailure", "Conflict", "Expired", "blind", "failure_of_error", "failure_of_status"]


class ApiFailure(Failure):
    """The API server has answered, and not with success.

    Attributes:
        status: The HTTP status.
        retry_after: Seconds after which it wants to be asked again, where it says so.
        cause: Its own word for why, such as NotFound or AlreadyExists; empty where it gave none.
    """

    def __init__(
        self, reason: Reason, detail: str, status: int, *, cause: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(Stage.AUTH if reason is Reason.AUTH else Stage.CHECK, reason, detail)
        self.status = status
        self.cause = cause
        self.retry_after = retry_after


class Expired(ApiFailure):
    """410: the resource version or the continue token is too old; list again."""


class Conflict(ApiFailure):
    """409: someone else has written meanwhile, or it is there already."""


def failure_of_status(
    status: int, said: Mapping[str, Any], *, retry_after: float | None = None, secret: str = ""
) -> ApiFailure:
    """Name a refusal.

    Args:
        status: HTTP status, or the code of a Status object.
        said: The Status object; empty where there was none.
        retry_after: Seconds, from the header.
        secret: What must not be repeated, should the server have quoted it.
    """
    message, cause = (said.get(key) if isinstance(said.get(key), str) else "" for key in ("message", "reason"))
    detail = f"{status}: {str(message)[:1_000]}" if message else f"HTTP status {status}"
    if secret:
        detail = detail.replace(secret, "***")
    details = said.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    if retry_after is None and isinstance(seconds, int) and 0 < seconds < 100_000:
        retry_after = float(seconds)
    kind = {410: Expired, 409: Conflict}.get(status, ApiFailure)
    reason = Reason.AUTH if status in (401, 403) else Reason.REDIRECT if 300 <= status < 400 else Reason.HTTP_STATUS
    return kind(reason, detail, status, cause=str(cause)[:100], retry_after=retry_after)


def failure_of_error(error: BaseException) -> Failure:
    """Name an error of the network, as aiohttp wraps it."""
    import aiohttp  # noqa: PLC0415 - whoever has an error of it has it; others do not wait a fifth of a second for it

    seen: BaseException | None = error
    for _ in range(5):  # the project's resolver names its failures itself
        if isinstance(seen, Failure):
            return seen
        seen = seen.__cause__ if seen is not None else None
    found: Failure | None
    match error:
        case aiohttp.ConnectionTimeoutError():
            found = Failure(Stage.CONNECT, Reason.CONNECT_TIMEOUT, "no connection within the deadline")
        case TimeoutError():
            found = Failure(Stage.WAIT, Reason.TIMEOUT, "no answer within the deadline")
        case aiohttp.ClientConnectorCertificateError():
            found = failure_of(error.certificate_error, Stage.TLS)
        case aiohttp.ClientConnectorError():
            found = failure_of(error.os_error, Stage.CONNECT)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            found = failure_of(EOFError(), Stage.RECEIVE)
        case OSError():
            found = failure_of(error, Stage.RECEIVE)
        case _:
            found = None
    return found or Failure(Stage.RECEIVE, Reason.PROTOCOL, f"no HTTP answer: {type(error).__name__}")


def blind(failure: Failure) -> Failure:
    """Return a failure to learn of something from a cluster as what it is: nothing that says how a service does."""
    if failure.reason in (Reason.AUTH, Reason.CREDENTIALS, Reason.NOT_YET_PROBED):
        return Failure(failure.stage, failure.reason, failure.detail)
    return Failure(failure.stage, Reason.API_UNREACHABLE, f"{failure.reason.value}: {failure.detail}")
