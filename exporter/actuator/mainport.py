"""The port that an application serves its users on, where its actuator has another one.

A management port answers while the main one is broken, or full: both are asked.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from typing import Annotated, Literal

from pydantic import Field
from yarl import URL

from exporter.actuator.connections import Turns
from exporter.clients.spring import health
from exporter.metrics.family import gauge
from exporter.net.errors import timeout_reason
from exporter.net.http import Answer, HttpClient, Request
from exporter.net.phases import NoPhases, phase_clock
from exporter.net.tls import ClientTls, TlsSettings
from exporter.probing.attempt import Attempt
from exporter.probing.cadence import Step, Turn, in_turn
from exporter.values import Address, Settings
from exporter.verdict import Failure

__all__ = ["METRICS", "MainPort", "MainPortSettings"]

UP = gauge("probe_main_port_up", "1 if a path of the application's main port answers well, 0 if not.", "path")
STATUS_CODE = gauge("probe_main_port_status_code", "HTTP status code of a path of the main port.", "path")
SECONDS = gauge("probe_main_port_seconds", "Time that a path of the main port took, connecting included.", "path")
METRICS = (UP, STATUS_CODE, SECONDS)

MAX_BYTES = 1_048_576

_PATIENCE = 0.2
"""Share of the part's time after which a path that hangs is no longer waited for before the others are asked."""

_SHARE = 0.98
"""Share of the part's time that a path has, so that its failure is its own and names it, also where it hangs."""

UrlPath = Annotated[str, Field(max_length=200, pattern=r"^/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$")]


class MainPortSettings(Settings):
    """How to reach the main port."""

    port: int | None = Field(None, ge=1, le=65535, description="The main port, where it is not the instance's port.")
    scheme: Literal["http", "https"] = Field("http", description="http or https.")
    tls: TlsSettings = Field(default_factory=TlsSettings, description="For https: roots, client certificate, name.")
    paths: tuple[UrlPath, ...] = Field(
        ("/livez", "/readyz"),
        min_length=1,
        max_length=10,
        description="Paths to ask for; each must answer 2xx, and say UP if it answers as Boot's health does.",
    )


class MainPort:
    """Asks the paths of one instance's main port, one after the other over one connection.

    No credentials of the actuator are sent there.

    Args:
        address: The instance.
        settings: What to ask for.
        http: The client to ask with.
        cold_every: Exchanges over a kept connection after which a new one is made; 0: never on purpose.
    """

    def __init__(self, address: Address, settings: MainPortSettings, http: HttpClient, cold_every: int = 0) -> None:
        base = URL.build(scheme=settings.scheme, host=address.host, port=settings.port or address.port)
        self._requests = {path: Request.get(base.with_path(path, encoded=True)) for path in settings.paths}
        self._turns = {path: Turns(cold_every) for path in settings.paths}
        self._tls = ClientTls(settings.tls) if settings.scheme == "https" else None
        self._server_name = self._tls.server_name if self._tls is not None else None
        self._context: ssl.SSLContext | None = None
        self._http = http

    async def check(self, part: Attempt) -> None:
        """Ask every path.

        Raises:
            Failure: Of the first of them, as they are configured, that does not answer well.
        """
        if self._tls is not None:
            context = await self._tls.context()
            if self._context is not None and self._context is not context:
                self._http.retire(self._context)
            self._context = context
        failures: dict[str, Failure] = {}
        steps: list[Step] = [partial(self._check, part, path, failures) for path in self._requests]
        for path in self._requests:
            part.record(UP, 0, path)
        await in_turn(steps, _PATIENCE * part.remaining)
        for path in self._requests:
            if path in failures:
                raise failures[path]

    async def _check(self, part: Attempt, path: str, failures: dict[str, Failure], turn: Turn) -> None:
        clock = phase_clock()
        started = clock()
        own = NoPhases()
        try:
            async with asyncio.timeout(_SHARE * turn.share * part.remaining) as deadline:
                answer = await self._get(path, own, spare=turn.aside)
            part.record(SECONDS, clock() - started, path)
            part.record(STATUS_CODE, answer.status, path)
            _judge(answer)
        except Failure as failure:
            self._http.discard(self._requests[path], tls=self._context, server_name=self._server_name)
            failures[path] = _named(failure, path)
        except TimeoutError:
            if not deadline.expired():
                raise
            why = Failure(own.stage, timeout_reason(own.stage), "no answer within the deadline")
            failures[path] = _named(why, path)
        except asyncio.CancelledError:
            part.stage = own.stage  # the attempt's own deadline struck here
            raise
        else:
            part.record(UP, 1, path)

    async def _get(self, path: str, phases: NoPhases, *, spare: bool) -> Answer:
        turns = self._turns[path]
        answer = await self._http.ask(
            self._requests[path],
            phases,
            max_bytes=MAX_BYTES,
            tls=self._context,
            server_name=self._server_name,
            fresh=turns.fresh,
            spare=spare,
        )
        turns.worked(answer.reused)
        return answer


def _named(failure: Failure, path: str) -> Failure:
    return Failure(failure.stage, failure.reason, f"main port {path}: {failure.detail}")


def _judge(answer: Answer) -> None:
    """Take Boot's own word where there is one: a custom mapping makes the code say anything."""
    try:
        found = health.parse(answer.body)
    except Failure:
        failure = health.refusal(answer.status, answer.headers)
    else:
        failure = health.judge(answer.status, found)
    if failure is not None:
        raise failure
