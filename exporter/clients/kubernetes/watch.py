"""List and watch: the objects of one kind, kept as they are, whatever the network and the API server do."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from exporter.clients.kubernetes.answers import ApiFailure, Expired, failure_of_status
from exporter.clients.kubernetes.api import Api, Lines
from exporter.clients.kubernetes.objects.reading import Malformed, mapping, required
from exporter.unforeseen import Where, tell
from exporter.verdict import Failure, Reason, Stage

__all__ = ["ListWatch", "Question", "Sink"]

T = TypeVar("T")

WATCH_SECONDS = (240.0, 300.0)
"""How long a watch lasts, by chance in between, so that not all end at once. The API server ends it."""

SLACK = 30.0
"""Seconds after which a watch that the API server should have ended is ended here."""

QUIET = 15.0
"""Seconds of silence after which the API server is asked whether it is there: a watch that hangs is as silent as one of
which nothing changes."""

LOOK = 60.0
"""Seconds after which a busy watch is held against the way as it is now; a quiet one is, whenever it is quiet."""

SILENT = 150.0
"""Seconds of silence after which a watch is begun anew. Bookmarks come every minute."""

PAGE = 100
"""Objects of one page of a list: decoding it holds the loop up for some 10 ms."""

LARGEST_PAGE = 10_000

LIST_SECONDS = 120.0
"""Seconds that a list may take, all pages together."""

MOST_OBJECTS = 100_000

FIRST_WAIT, LONGEST_WAIT = 0.25, 30.0
"""Seconds between two tries: each wait may be twice the one before, and is shortened by chance to as little as half."""

SHORT_LIFE = 1.0
"""Seconds that a watch must last, or bring something, to count as one that works."""

MOST_IN_VAIN = 3
"""Watches in a row that brought nothing and did not last, after which the objects are listed again."""

SLICE = 0.005
"""Seconds of work on events after which others have their turn."""

_MANAGED_FIELDS, _AFTER_MANAGED_FIELDS = b',"managedFields":[', b'}]},"spec":{'

CONFIRM = 2.0
"""Seconds after which an empty list is asked for again, where there were objects before."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is watched.

    Attributes:
        path: Of the list.
        what: How it is called in messages: `pods in hafnium`.
        params: More for the query, such as a field selector.
    """

    path: str
    what: str
    params: Mapping[str, str]


class Sink(Protocol[T]):
    """Is told what is known. Everything here is called from the loop and must not block."""

    def replaced(self, objects: dict[str, T]) -> None:
        """Take in a whole list, by uid."""

    def changed(self, uid: str, found: T) -> None:
        """Take in an object that is new or has changed."""

    def gone(self, uid: str) -> None:
        """Take in that an object is gone."""

    def failed(self, failure: Failure) -> None:
        """Take in that what is known is not current any more."""

    def alive(self) -> None:
        """Take in a sign of life: what is known is current."""

    def malformed(self) -> None:
        """Take in that an object or event could not be read; it is skipped."""


class ListWatch(Generic[T]):
    """Lists objects, watches them, and lists again only where it must.

    Lists ask for what is true now (no resource version), never for what some API server has cached: after a restart that may
    be of long ago, and objects that exist would seem to be gone.

    Args:
        api: The API server.
        question: What is watched.
        reduce: Makes of a raw object what is kept; what it raises makes the object a malformed one.
    """

    def __init__(self, api: Api, question: Question, reduce: Callable[[Mapping[str, Any]], T]) -> None:
        self._api = api
        self._question = question
        self._reduce = reduce
        self._version: str | None = None
        self._server: str | None = None
        self._known = 0
        self._page = PAGE
        self._wait = FIRST_WAIT
        self._in_vain = 0
        self._tried = 0
        self._broken = False

    async def run(self, sink: Sink[T]) -> None:
        """List and watch for ever."""
        while True:
            try:
                if self._version is None:
                    await self._list(sink)
                if await self._watch(sink):
                    continue
                failure = Failure(
                    Stage.RECEIVE, Reason.CONNECTION_CLOSED, f"the watch of {self._question.what} does not last"
                )
            except Failure as error:
                failure = self._named(error).bare()
            self._tried += 1
            if self._tried > 1 or not _may_be_chance(failure):  # one broken connection is nothing, if the next one stands
                sink.failed(failure)
            await self._pause(failure)

    async def _list(self, sink: Sink[T]) -> None:
        self._server = await self._api.server()  # as it is before: where it becomes another meanwhile, all is listed again
        found, version = await self._listed_in_time(sink)
        if not found and self._known:
            # All gone at once while nobody watched: rather another etcd, or one that is being restored. It is true only if
            # it is still so a moment later.
            await asyncio.sleep(CONFIRM)
            found, version = await self._listed_in_time(sink)
        self._version, self._known, self._in_vain = version, len(found), 0
        sink.replaced(found)
        if not self._broken:  # what can be listed and not watched is old a moment later: only a watch says otherwise
            sink.alive()

    async def _listed_in_time(self, sink: Sink[T]) -> tuple[dict[str, T], str]:
        try:
            async with asyncio.timeout(LIST_SECONDS):
                return await self._listed(sink)
        except TimeoutError:
            raise Failure(Stage.RECEIVE, Reason.TIMEOUT, f"the list of {self._question.what} did not end in time") from None

    async def _listed(self, sink: Sink[T]) -> tuple[dict[str, T], str]:
        found: dict[str, T] = {}
        token, seen = "", 0
        while True:
            answer = await self._get_page(token)
            items = answer.get("items") or []
            if not isinstance(items, list):
                raise Failure(Stage.CHECK, Reason.MALFORMED, f"the list of {self._question.what} has no items")
            for raw in items:
                self._take(raw, found.__setitem__, sink)
            seen += len(items)
            if seen > MOST_OBJECTS:
                raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"more than {MOST_OBJECTS} {self._question.what}")
            metadata = answer.get("metadata")
            metadata = metadata if isinstance(metadata, dict) else {}
            before, token = token, metadata.get("continue") or ""
            if not isinstance(token, str):
                raise Failure(Stage.CHECK, Reason.MALFORMED, f"the list of {self._question.what} cannot be gone on with")
            if not token:
                break
            if token == before or not items:
                raise Failure(Stage.CHECK, Reason.PROTOCOL, f"the list of {self._question.what} has no end")
            await asyncio.sleep(0)
        version = metadata.get("resourceVersion")
        if not isinstance(version, str) or not version:
            raise Failure(Stage.CHECK, Reason.MALFORMED, f"the list of {self._question.what} has no resource version")
        return found, version

    async def _get_page(self, token: str) -> dict[str, Any]:
        params = {**self._question.params, "limit": str(self._page)}
        if token:
            params["continue"] = token
        try:
            return await self._api.get(self._question.path, params)
        except Expired:
            self._page = min(LARGEST_PAGE, self._page * 4)  # the list took so long that its version was compacted away
            raise
        except Failure as failure:
            if failure.reason is Reason.TOO_LARGE and self._page > 1:
                self._page = max(1, self._page // 4)
            raise

    async def _watch(self, sink: Sink[T]) -> bool:
        """Watch until the API server ends it; return whether the watch was worth something.

        Raises:
            Failure: It broke, or could not be begun.
        """
        seconds = random.uniform(*WATCH_SECONDS)  # noqa: S311 - it spreads work, it hides nothing
        params = {
            **self._question.params,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version or "",
            "timeoutSeconds": str(int(seconds)),
        }
        loop = asyncio.get_running_loop()
        began, before, refused = loop.time(), self._version, False
        try:
            async with self._api.stream(self._question.path, params, timeout=seconds + SLACK) as lines:
                if lines.server == self._server:
                    await self._follow(lines, sink)
                else:
                    self._version = None  # it is of what may be another cluster, and says nothing in this one
        except Expired:
            self._version, self._broken = None, False  # it can be watched, and a list is what mends it
            raise
        except Failure as failure:
            self._broken, refused = True, isinstance(failure, ApiFailure)
            raise
        finally:
            worked = self._version != before or (not refused and loop.time() - began >= SHORT_LIFE)
            self._count_in_vain(worked=worked)
        self._broken = self._broken or not worked
        return worked

    def _count_in_vain(self, *, worked: bool) -> None:
        """Have all listed again after watches in a row from which nothing came: their version may be the reason."""
        self._in_vain = 0 if worked else self._in_vain + 1
        if self._in_vain >= MOST_IN_VAIN:
            self._version, self._in_vain = None, 0

    async def _follow(self, lines: Lines, sink: Sink[T]) -> None:
        """Take in events until there are no more."""
        loop = asyncio.get_running_loop()
        heard, current = loop.time(), False
        looked = heard
        pace = _Pace()
        try:
            while True:
                # An error, such as that the version is too old, comes at once: what is known is not held to be current
                # until a moment has passed without one.
                line = await lines.next(QUIET if current else SHORT_LIFE)
                if line is not None:
                    heard = loop.time()
                    self._take_event(line, sink)
                    spent = loop.time() - heard
                    await pace.keep(spent)
                elif current and loop.time() - heard > SILENT:
                    self._version = None  # it may be one of the future, as after etcd was restored: nothing comes until then
                    raise Failure(Stage.RECEIVE, Reason.TIMEOUT, f"the watch of {self._question.what} has fallen silent")
                elif current:
                    await self._api.ping()
                if loop.time() - looked >= (LOOK if line is not None else 0.0):
                    looked = loop.time()
                    if await self._api.server() != lines.server:
                        self._version = None  # the way leads elsewhere: what comes on this one is of before
                        return
                if line is None and current:
                    continue  # that the API server is there says nothing of this watch
                current = True
                self._wait, self._tried, self._broken = FIRST_WAIT, 0, False
                sink.alive()
        except EOFError:
            return

    def _take_event(self, line: bytes, sink: Sink[T]) -> None:
        try:
            event = _decoded(line)
            kind, raw = event["type"], event["object"]
            metadata = raw.get("metadata") or {}
            version = metadata.get("resourceVersion")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise Failure(Stage.CHECK, Reason.MALFORMED, f"an event of {self._question.what} cannot be read") from None
        if kind == "ERROR":
            code = raw.get("code")
            raise failure_of_status(code if isinstance(code, int) else 500, raw)
        if kind == "DELETED":
            uid = metadata.get("uid")
            if isinstance(uid, str):
                self._known = max(0, self._known - 1)
                sink.gone(uid)
        elif kind in ("ADDED", "MODIFIED"):
            self._known += kind == "ADDED"
            self._take(raw, sink.changed, sink)
        elif kind != "BOOKMARK":
            sink.malformed()
        if isinstance(version, str) and version:
            self._version = version

    def _take(self, raw: Any, put: Callable[[str, T], None], sink: Sink[T]) -> None:
        try:
            found = self._reduce(raw)
            uid = required(mapping(raw, "metadata"), "uid")
        except Malformed:
            sink.malformed()
        except Exception as error:  # whatever an object holds that nobody foresaw, it costs that object only
            tell(Where.KUBERNETES, f"an object of {self._question.what} could not be read", error)
            sink.malformed()
        else:
            put(uid, found)

    async def _pause(self, failure: Failure) -> None:
        wanted = failure.retry_after if isinstance(failure, ApiFailure) else None
        wait = max(self._wait * random.uniform(0.5, 1.0), min(wanted or 0.0, LONGEST_WAIT))  # noqa: S311 - it spreads work
        self._wait = min(LONGEST_WAIT, self._wait * 2)
        await asyncio.sleep(wait)

    def _named(self, failure: Failure) -> Failure:
        """Say what is refused as those know it who grant it."""
        status = failure.status if isinstance(failure, ApiFailure) else 0
        what = self._question.what
        if status == 403:
            return Failure(Stage.AUTH, Reason.AUTH, f"forbidden: {what}: needs list, watch")
        if status == 401:
            return Failure(Stage.AUTH, Reason.AUTH, f"the API server does not accept the credentials ({failure.detail})")
        if isinstance(failure, ApiFailure):
            failure.detail = f"{what}: {failure.detail}"[: Failure.MAX_DETAIL]
        return failure


class _Pace:
    """Has a flood of events take no more than half of the loop's time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._spent = 0.0
        self._since = self._loop.time()

    async def keep(self, spent: float) -> None:
        """Take note of the seconds that an event took, and wait where there were too many of late."""
        self._spent += spent
        if self._spent >= SLICE:
            if self._loop.time() - self._since < 2 * self._spent:
                await asyncio.sleep(self._spent)
            self._spent, self._since = 0.0, self._loop.time()


def _decoded(line: bytes) -> Any:
    """Decode an event; what its fields are managed by is cut out before, nearly half of it, where that is sure to be all.

    Quotes within a text are escaped, so what is found is a key; where it is followed by something else than what an API
    server writes, the rest is not JSON, or an object without uid, and all is decoded.
    """
    start = line.find(_MANAGED_FIELDS)
    end = line.find(_AFTER_MANAGED_FIELDS, start) if start >= 0 else -1
    if end >= 0:
        try:
            event = json.loads(line[:start] + line[end + 2 :])
            if event["object"]["metadata"]["uid"]:
                return event
        except (ValueError, TypeError, KeyError):
            pass
    return json.loads(line)


def _may_be_chance(failure: Failure) -> bool:
    return isinstance(failure, Expired) or failure.reason in (Reason.CONNECTION_CLOSED, Reason.CONNECT_REFUSED)
