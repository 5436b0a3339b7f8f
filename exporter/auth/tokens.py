"""Access tokens of the process: one for equal settings, fetched once however many ask, renewed before it expires."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass, field

from yarl import URL

from exporter.auth.oauth2 import Grant, OAuth2Settings, TokenRequest, read_grant
from exporter.net.errors import failure_of
from exporter.net.http import HttpClient
from exporter.net.phases import NoPhases
from exporter.net.tls import ClientTls
from exporter.unforeseen import Where, tell
from exporter.verdict import Failure, Reason, Stage

__all__ = ["TokenSource", "Tokens"]

MAX_ANSWER_BYTES = 65_536
FETCH_SECONDS = 10.0
"""Deadline of a fetch. It may outlast the attempt that began it: the next one finds its token."""

ASSUMED_LIFE = 60.0
"""Seconds that a token is used where the server does not say how long it lasts."""

LONGEST_LIFE = 86_400.0
"""Seconds after which a token is renewed whatever the server says."""

MARGIN = 10.0
MARGIN_SHARE = 0.2
"""A token is renewed when less than this, or this share of its life, is left: an outage as long does no harm."""

FIRST_DELAY = 1.0
LONGEST_DELAY = 10.0
"""Seconds between fetches that fail: the first, doubled up to the longest."""

REPLACEMENT_AGE = 300.0
"""Seconds before a token is replaced again that was itself fetched because a target refused the one before."""


@dataclass(slots=True)
class _Token:
    """A token and its times, on the loop's clock."""

    value: str = field(repr=False)
    fetched_at: float
    refresh_at: float
    expires_at: float
    replacement: bool
    used: bool = False

    @classmethod
    def of(cls, grant: Grant, asked_at: float, *, replacement: bool) -> _Token:
        life = min(grant.expires_in or ASSUMED_LIFE, LONGEST_LIFE)
        margin = min(max(MARGIN, MARGIN_SHARE * life), life / 2)
        slack = min(1.0, life / 10)  # what is sent at the last moment arrives too late
        return cls(grant.access_token, asked_at, asked_at + life - margin, asked_at + life - slack, replacement)


class TokenSource:
    """The token of one set of client credentials.

    Fetching happens in a task of its own, at most one at a time: a caller that is cancelled takes nothing from the others.
    Once fetched, a token that is used is renewed by a timer while it still is good.
    """

    def __init__(self, settings: OAuth2Settings, http: HttpClient) -> None:
        self._settings = settings
        self._http = http
        self._url = URL(settings.token_url)
        self._tls = ClientTls(settings.tls) if self._url.scheme == "https" else None
        self._token: _Token | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure: Failure | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._closed = False

    async def token(self, within: float, other_than: str | None = None) -> str:
        """Return a token that has not expired.

        Args:
            within: Seconds to wait for a fetch at most.
            other_than: A token that a target refused. Another is fetched then, but once only: a target that refuses every
                token must not keep the identity provider busy. Where there is no other, it is returned again.

        Raises:
            Failure: There is none: `credentials`, since it is not the target that is at fault.
        """
        now = asyncio.get_running_loop().time()
        token = self._good(now)
        if token is None or self._replaceable(token, other_than, now):
            await self._wait(self._fetch(now, replacement=token is not None), within)
            token = self._good(asyncio.get_running_loop().time())
        elif now >= token.refresh_at:
            self._fetch(now)
        if token is None:
            raise self._complaint(within)
        token.used = True
        return token.value

    async def close(self) -> None:
        """End what is under way, and fetch no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})

    def _good(self, now: float) -> _Token | None:
        return self._token if self._token is not None and now < self._token.expires_at else None

    def _replaceable(self, token: _Token, refused: str | None, now: float) -> bool:
        if refused is None or token.value != refused:
            return False
        return not token.replacement or now - token.fetched_at >= REPLACEMENT_AGE

    def _fetch(self, now: float, *, replacement: bool = False) -> asyncio.Task[None] | None:
        """Return the fetch under way, begun now if need be; None while a failure is too recent."""
        if self._fetching is None and not self._closed and now >= self._retry_at:
            self._fetching = asyncio.create_task(self._run(replacement), name=f"token from {self._url.host}")
        return self._fetching

    @staticmethod
    async def _wait(fetch: asyncio.Task[None] | None, within: float) -> None:
        if fetch is not None:
            await asyncio.wait({fetch}, timeout=within)  # neither a timeout nor a cancellation reaches the fetch

    async def _run(self, replacement: bool) -> None:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                grant = await self._ask()
            self._token = _Token.of(grant, asked_at, replacement=replacement)
            self._failure, self._failures, self._retry_at = None, 0, 0.0
            self._renew_at(self._token.refresh_at)
        except Exception as error:
            self._fail(_named(error), loop.time())
        finally:
            self._fetching = None

    async def _ask(self) -> Grant:
        request = await TokenRequest.of(self._settings)
        answer = await self._http.post_form(
            self._url,
            NoPhases(),
            form=request.form,
            max_bytes=MAX_ANSWER_BYTES,
            headers=request.headers,
            tls=await self._tls.context() if self._tls is not None else None,
            server_name=self._tls.server_name if self._tls is not None else None,
        )
        return read_grant(answer, request)

    def _fail(self, failure: Failure, now: float) -> None:
        self._failure = failure
        self._retry_at = now + min(FIRST_DELAY * 2**self._failures, LONGEST_DELAY)
        self._failures = min(self._failures + 1, 10)
        if self._good(self._retry_at) is not None:
            self._renew_at(self._retry_at)

    def _renew_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # A weak reference: a source that no probe has any more is not kept alive by its timer.
        self._timer = asyncio.get_running_loop().call_at(when, _renew, weakref.ref(self))

    def renew(self) -> None:
        """Fetch anew if the token at hand was used; one that nobody asks for may expire."""
        token = self._token
        if token is not None and token.used:
            self._fetch(max(asyncio.get_running_loop().time(), self._retry_at))

    def _complaint(self, within: float) -> Failure:
        if self._failure is None:
            return Failure(Stage.AUTH, Reason.CREDENTIALS, f"no token from {self._url.host} within {within:.3g} s")
        found = self._failure
        detail = found.detail if found.reason is Reason.CREDENTIALS else str(found)
        return Failure(Stage.AUTH, Reason.CREDENTIALS, f"no token from {self._url.host}: {detail}")


def _renew(source: weakref.ref[TokenSource]) -> None:
    found = source()
    if found is not None:
        found.renew()


def _named(error: Exception) -> Failure:
    if isinstance(error, Failure):
        return error
    found = failure_of(error, Stage.AUTH)
    if found is None:
        tell(Where.TOKENS, "an access token could not be fetched", error)
        found = Failure(Stage.AUTH, Reason.INTERNAL, f"unexpected {type(error).__name__}: see the log")
    return found


class Tokens:
    """The token sources of the process, one for equal settings, each kept as long as a probe uses it."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._sources: weakref.WeakValueDictionary[OAuth2Settings, TokenSource] = weakref.WeakValueDictionary()

    def source(self, settings: OAuth2Settings) -> TokenSource:
        """Return the source for these settings. Blocking (reads the files of `tls`): call it where probes are built.

        Raises:
            OSError: A file of `tls` cannot be read; `ssl.SSLError` is one.
        """
        found = self._sources.get(settings)
        if found is None:
            found = self._sources[settings] = TokenSource(settings, self._http)
        return found

    async def close(self) -> None:
        """End every fetch."""
        for source in list(self._sources.values()):
            await source.close()
