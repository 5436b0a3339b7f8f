"""A Lease of Kubernetes as the daemon takes part in it: looking, claiming, renewing, giving back.

Written over the project's own client: what is put into it is what `kubectl get lease` and client-go know. What decides is in
`election`; this module asks, with a deadline on each question, and says what changed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from math import ceil
from typing import Any
from uuid import uuid4

from exporter.clients.kubernetes.api import Api, ApiFailure, Conflict
from exporter.ownership.election import RELEASED, Election, Move, Record, Role, Terms
from exporter.ownership.settings import LeaseSettings
from exporter.unforeseen import Where, tell
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Leadership", "identity_of", "sleepless"]

log = logging.getLogger(__name__)

_JITTER = 0.1
"""Share of the time between two looks by which one may come early: exporters that start together are not to ask together."""


def sleepless() -> float:
    """Tell seconds of a clock that goes on while the process is stopped and the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def identity_of(settings: LeaseSettings, host: str) -> str:
    """Make the identity of a process: one that is restarted under the same name is another."""
    return f"{settings.identity or host}_{uuid4().hex[:12]}"


class Leadership:
    """One exporter's part in a Lease. As an `Ownership` it has all services, or none.

    Args:
        api: The API server.
        settings: Of the lease.
        namespace: Where it is.
        identity: Of this process.
        changed: Called when the role has changed, or who leads.
        others_wait: Asks the other exporters whether none can take over for now; None where they are not known.
        clock: Tells the time, also that which passes while the process is stopped.
    """

    def __init__(
        self,
        api: Api,
        settings: LeaseSettings,
        namespace: str,
        identity: str,
        changed: Callable[[], None],
        *,
        others_wait: Callable[[], Awaitable[bool]] | None = None,
        clock: Callable[[], float] = sleepless,
    ) -> None:
        self.election = Election(identity, Terms(settings.duration))
        self.failure: Failure | None = None
        self._api = api
        self._name = settings.name
        self._namespace = namespace
        self._folder = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._folder}/{settings.name}"
        self._duration = ceil(settings.duration)
        self._changed = changed
        self.others_wait = others_wait
        self._clock = clock
        self._raw: dict[str, Any] = {}
        self._told: tuple[Role, str | None] = (Role.FOLLOWING, None)

    @property
    def role(self) -> Role:
        """What this exporter is at this moment."""
        return self.election.role(self._clock())

    @property
    def leads(self) -> bool:
        """Whether it may export verdicts, at this moment."""
        return self.role is Role.LEADING

    @property
    def waits(self) -> bool:
        """Whether it cannot take over before a whole duration from now has passed."""
        return self.election.blind(self._clock())

    def owns(self, _service: str) -> bool:
        """Say whether this exporter probes: also one that has lapsed, until it is seen that another leads."""
        return self.role is not Role.FOLLOWING

    def needs(self, service: str) -> bool:
        """Say the same: what is probed is exported."""
        return self.owns(service)

    async def run(self) -> None:
        """Take part, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(self.election.terms.retry * (1 - _JITTER * random.random()))  # noqa: S311 - no secret

    async def look(self) -> None:
        """Look at the lease once, claim or renew it where that is to be done, and tell what has changed."""
        try:
            await self._round()
        except Failure as error:
            self._failed(error)
            await self._stand_in()
        except TimeoutError:
            self._failed(Failure(Stage.WAIT, Reason.TIMEOUT, f"no answer within {self.election.terms.request:g} s"))
            await self._stand_in()
        except Exception as error:  # a defect here must not end the exporter: another may lead meanwhile
            tell(Where.SHARING, f"the lease {self._namespace}/{self._name} could not be looked at", error)
            self._failed(Failure(Stage.INTERNAL, Reason.INTERNAL, f"unexpected {type(error).__name__}: see the log"))
        else:
            self.failure = None
        self._tell()

    def give_up(self) -> None:
        """Stop leading, at once and for good."""
        self.election.give_up()
        self._tell()

    async def release(self) -> None:
        """Stop leading, and give the lease back, so that another takes over at its next look; in a bounded time."""
        self.give_up()
        if self.election.holder != self.election.identity:
            return
        try:
            async with asyncio.timeout(self.election.terms.request):
                raw = await self._api.get(self._path)
                if _record(raw).holder != self.election.identity:
                    return
                now = _micro_time()
                spec = {**_spec(raw), "holderIdentity": "", "leaseDurationSeconds": int(RELEASED), "renewTime": now}
                await self._api.send("PUT", self._path, {**raw, "spec": spec})
                log.info("gave the lease %s/%s back", self._namespace, self._name)
        except (Failure, TimeoutError) as error:
            log.warning("the lease %s/%s could not be given back: %s", self._namespace, self._name, error)
        except Exception as error:
            tell(Where.SHARING, f"the lease {self._namespace}/{self._name} could not be given back", error)

    async def _round(self) -> None:
        election = self.election
        if not self.leads:
            election.unseen()
        if election.next(self._clock()) is Move.LOOK:
            await self._read()
        move = election.next(self._clock())
        if move is Move.CREATE:
            await self._create()
        elif move is Move.CLAIM:
            await self._claim()

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self.election.terms.request):
                raw = await self._api.get(self._path)
        except ApiFailure as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            self.election.seen(None, self._clock())
            return
        self._take(raw)

    async def _create(self) -> None:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {},
        }
        try:
            async with asyncio.timeout(self.election.terms.request):
                self._take(await self._api.send("POST", self._folder, body))
        except Conflict:
            self.election.unseen()

    async def _claim(self) -> None:
        before = self.election.claiming()
        renews = before.holder == self.election.identity
        now, old = _micro_time(), _spec(self._raw)
        spec = {
            **old,
            "holderIdentity": self.election.identity,
            "leaseDurationSeconds": self._duration,
            "acquireTime": old.get("acquireTime", now) if renews else now,
            "renewTime": now,
            "leaseTransitions": before.transitions + (not renews),
        }
        asked = self._clock()
        try:
            async with asyncio.timeout(self.election.terms.request):
                raw = await self._api.send("PUT", self._path, {**self._raw, "spec": spec})
        except Conflict:
            self.election.refused()
            await self._read()
            return
        self._raw = raw
        self.election.claimed(_record(raw), asked, self._clock())

    def _take(self, raw: dict[str, Any]) -> None:
        record = _record(raw)
        self._raw = raw
        self.election.seen(record, self._clock())

    def _failed(self, error: Failure) -> None:
        self.election.unseen()
        if self.failure is None:
            log.warning("the lease %s/%s cannot be read or renewed: %s", self._namespace, self._name, error)
        self.failure = error

    async def _stand_in(self) -> None:
        """Lead on where the API server cannot be reached, if nobody can take over."""
        if self.others_wait is None or self.role is Role.FOLLOWING:
            return
        asked = self._clock()
        try:
            async with asyncio.timeout(self.election.terms.request):
                if await self.others_wait():
                    self.election.stands(asked)
        except (Failure, TimeoutError) as error:
            log.debug("the other exporters could not be asked: %s", error)
        except Exception as error:
            tell(Where.SHARING, "the other exporters could not be asked", error)

    def _tell(self) -> None:
        now = self.role, self.election.holder
        if now == self._told:
            return
        (before, _), self._told = self._told, now
        if now[0] is not before:
            log.info("%s (lease %s/%s, held by %s)", now[0], self._namespace, self._name, now[1] or "nobody")
        self._changed()


def _record(raw: Mapping[str, Any]) -> Record:
    """Read a Lease.

    Raises:
        Failure: It is none.
    """
    metadata, spec = raw.get("metadata"), _spec(raw)
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    holder, duration, transitions = (spec.get(key) for key in ("holderIdentity", "leaseDurationSeconds", "leaseTransitions"))
    if not isinstance(version, str) or not version or not isinstance(holder or "", str):
        raise Failure(Stage.CHECK, Reason.MALFORMED, "what the API server sent is no Lease")
    return Record(version, holder or "", _number(duration), int(_number(transitions)), str(spec.get("renewTime", "")))


def _spec(raw: Mapping[str, Any]) -> dict[str, Any]:
    spec = raw.get("spec")
    return spec if isinstance(spec, dict) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int) and 0 <= value < 2**31 else 0.0


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
