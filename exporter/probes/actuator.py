"""The `actuator` probe: a Spring Boot application's health, and the meters that explain it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal, TypeVar

from multidict import CIMultiDict
from pydantic import Field, SecretStr, field_validator, model_validator
from yarl import URL

from exporter.actuator import flyway, recording
from exporter.actuator.connections import METRICS as CONNECTION_METRICS
from exporter.actuator.connections import Connections
from exporter.actuator.health_samples import METRICS as HEALTH_METRICS
from exporter.actuator.health_samples import HealthSamples
from exporter.actuator.mainport import METRICS as MAIN_PORT_METRICS
from exporter.actuator.mainport import MainPort, MainPortSettings
from exporter.auth.ways import Authenticator, AuthSettings
from exporter.clients.spring import health, meters, metrics_json, prometheus_text
from exporter.metrics.family import gauge
from exporter.net.http import Answer
from exporter.net.phases import NoPhases, Phases
from exporter.net.tls import TlsSettings, client_context
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, SharedClients, Target
from exporter.verdict import Failure, Reason, Stage

__all__ = ["PROBE", "ActuatorProbe", "ActuatorSettings"]

STATUS_CODE = gauge("probe_http_status_code", "HTTP status code of the health answer.")
REUSED = gauge("probe_connection_reused", "1 if the health request went over a kept-alive connection, 0 over a new one.")
GROUP_UP = gauge("probe_actuator_group_up", "1 if a configured health group is up, 0 if down.", "group")

_HEALTH_ACCEPT = "application/vnd.spring-boot.actuator.v3+json, application/json"
_TEXT_ACCEPT = "text/plain;version=0.0.4"
_RESERVED_HEADERS = frozenset({"accept", "accept-encoding", "connection", "content-length", "transfer-encoding", "host"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

PATIENCE = 0.4
"""Share of the deadline after which a hung health answer is no longer waited for alone: what it hangs on, such as a pool
without free connections, is in the meters."""

TOKEN_PATIENCE = 0.4
"""Share of the deadline that an attempt waits for a token."""

FALLBACK_RUNS = 20
"""Attempts that go straight to the metrics endpoint after the Prometheus endpoint was not found."""

FLYWAY_RUNS = 20
"""Attempts between two questions for migrations: they change when an application starts, and each asks its database."""

THREAD_BYTES = 256 * 1024
"""Answers longer than this are read in a thread: a megabyte takes about 10 ms, which the event loop does not have."""

KEPT_BYTES = 64 * 1024
"""Health answers up to this length are kept to be compared with the next."""

T = TypeVar("T")
Group = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class ActuatorSettings(ProbeSettings):
    """How to reach the actuator and how to read it."""

    scheme: Literal["http", "https"] = Field("http", description="http or https.")
    port: int | None = Field(None, ge=1, le=65535, description="Management port, where it is not the instance's port.")
    base_path: str = Field(
        "/actuator",
        max_length=200,
        pattern=r"^(/[A-Za-z0-9._~-]+)*/?$",
        description="Path of the actuator; / where the management base path is the root.",
    )
    tls: TlsSettings = Field(default_factory=TlsSettings, description="For https: roots, client certificate, name.")
    auth: AuthSettings | None = Field(None, description="Credentials: exactly one of basic, bearer and oauth2.")
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, max_length=20, description="Headers to send; masked wherever shown."
    )
    main: MainPortSettings | None = Field(
        None, description="The port that users are served on, where the actuator has another: it counts too."
    )
    cold_every: int = Field(
        20,
        ge=0,
        le=10_000,
        description="Attempts between two that make a new connection, as a new user would; 0: only where none is kept.",
    )
    groups: tuple[Group, ...] = Field((), max_length=20, description="Health groups to ask for too, such as readiness.")
    metrics: bool = Field(default=True, description="Read the application's meters too; they do not decide the verdict.")
    down_statuses: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(
        health.DEFAULT_DOWN, max_length=20, description="Health statuses that mean down, whatever the HTTP code."
    )
    flyway: bool = Field(default=True, description="With metrics: read the migrations too, where they are exposed.")
    max_health_bytes: int = Field(1_048_576, ge=1024, le=16_777_216, description="Longest health answer that is read.")
    max_metrics_bytes: int = Field(8_388_608, ge=1024, le=67_108_864, description="Longest metrics answer that is read.")

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a header name")
            if name.lower() in _RESERVED_HEADERS:
                raise ValueError(f"{name!r} is set by the probe itself")
            if not value.get_secret_value().isprintable():
                raise ValueError(f"the value of {name!r} has characters that a header cannot carry")
        return headers

    @field_validator("down_statuses")
    @classmethod
    def _check_down(cls, statuses: tuple[str, ...]) -> tuple[str, ...]:
        if any(health.canonical(status) in {"UP", "UNKNOWN"} for status in statuses):
            raise ValueError("UP and UNKNOWN cannot mean down")
        return statuses

    @model_validator(mode="after")
    def _one_authorization(self) -> ActuatorSettings:
        if self.auth is not None and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("give auth or a header Authorization, not both")
        return self


class ActuatorProbe(Probe[ActuatorSettings]):
    """Asks one instance for its health, and beside it for groups and meters."""

    kind = "actuator"
    settings_type = ActuatorSettings
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.SEND, Stage.WAIT, Stage.RECEIVE)
    metrics = (
        STATUS_CODE,
        REUSED,
        *HEALTH_METRICS,
        GROUP_UP,
        *CONNECTION_METRICS,
        *recording.METRICS,
        *flyway.METRICS,
        *MAIN_PORT_METRICS,
    )

    def __init__(self, target: Target, settings: ActuatorSettings, shared: SharedClients) -> None:
        super().__init__(target, settings, shared)
        base = URL.build(
            scheme=settings.scheme,
            host=target.address.host,
            port=settings.port or target.address.port,
            path=settings.base_path.rstrip("/") or "/",
        )
        self._health_url = base / "health"
        self._group_urls = {group: base / "health" / group for group in settings.groups}
        self._prometheus_url = (base / "prometheus").with_query(includedNames=meters.included_names())
        self._metrics_url = base / "metrics"
        self._flyway_url = base / "flyway"
        secrets = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._json_headers = CIMultiDict(secrets, Accept=_HEALTH_ACCEPT)
        self._text_headers = CIMultiDict(secrets, Accept=_TEXT_ACCEPT)
        self._auth = Authenticator(settings.auth, shared.tokens) if settings.auth is not None else None
        self._credentials: dict[str, str] = {}
        self._tls = client_context(settings.tls) if settings.scheme == "https" else None
        self._server_name = settings.tls.server_name if self._tls is not None else None
        self._main: MainPort | None = None
        if settings.main is not None:
            self._main = MainPort(target.address, settings.main, shared.http, settings.cold_every)
        self._has_parts = settings.metrics or bool(settings.groups) or self._main is not None
        self._connections = Connections(settings.cold_every)
        self._known: HealthSamples | None = None
        self._last_health: tuple[bytes, health.Health] | None = None
        self._recorder = recording.Recorder()
        self._fallback_runs = 0
        self._flyway_found: list[flyway.Migrations] | Failure | None = None
        self._flyway_runs = 0
        self._restarts_at_flyway = 0

    async def check(self, attempt: Attempt) -> None:
        """Get the health answer, record what it says, and only then judge; groups and meters come in between."""
        if self._auth is not None:
            attempt.stage = Stage.AUTH
            self._credentials = await self._auth.headers(TOKEN_PATIENCE * attempt.timeout)
        failure = await (self._check_with_parts(attempt) if self._has_parts else self._check_health(attempt))
        if failure is not None:
            raise failure

    async def _check_with_parts(self, attempt: Attempt) -> Failure | None:
        checking = asyncio.create_task(self._check_health(attempt), name=f"health of {self.target}")
        try:
            await asyncio.wait({checking}, timeout=PATIENCE * attempt.timeout)
            if checking.done():
                checking.result()  # raises where no answer came: the parts would meet the same
            if checking.done() or attempt.stage in {Stage.WAIT, Stage.RECEIVE}:
                up = checking.done() and checking.result() is None
                await asyncio.gather(*self._parts(attempt, up=up))
            return await checking or attempt.parts.get("main")
        finally:
            checking.cancel()
            await asyncio.wait({checking})  # the phase it was in is recorded before the outcome is made
            if not checking.cancelled():
                checking.exception()

    def _parts(self, attempt: Attempt, *, up: bool) -> list[Coroutine[Any, Any, None]]:
        """Return what is asked beside the health. Of these the main port alone turns the verdict."""
        parts = []
        if self._main is not None:
            parts.append(self._check_main(attempt, self._main))
        if self._group_urls:
            parts.append(self._check_groups(attempt))
        if self.settings.metrics:
            parts.append(self._read_meters(attempt))
            if self.settings.flyway:
                parts.append(self._read_flyway(attempt, up=up))
        return parts

    async def _check_main(self, attempt: Attempt, main: MainPort) -> None:
        async with attempt.part("main") as part:
            await main.check(part)

    async def _check_health(self, attempt: Attempt) -> Failure | None:
        """Return why the application is down, or None; raise where there is no answer to judge."""
        fresh = self._connections.fresh
        try:
            answer = await self._get(
                self._health_url, attempt, self._json_headers, self.settings.max_health_bytes, fresh=fresh
            )
        except BaseException:
            self._connections.failed(fresh=fresh)
            raise
        finally:
            self._take_latency(attempt)
        attempt.record(STATUS_CODE, answer.status)
        attempt.record(REUSED, answer.reused)
        self._connections.took(answer.reused, attempt)
        try:
            found = await self._parse_health(answer.body)
        except Failure as malformed:
            if answer.status == 401 and self._auth is not None:
                self._auth.rejected()
            return health.refusal(answer.status, answer.headers) or malformed
        known = self._known
        if known is None or known.code != answer.status or known.tree != found:
            known = self._known = HealthSamples.of(answer.status, found, self.settings.down_statuses)
        attempt.samples.update(known.samples)
        return health.judge(answer.status, found, self.settings.down_statuses) if known.down else None

    async def _parse_health(self, body: bytes) -> health.Health:
        """Parse, or take the last tree where the answer is the same byte for byte, as it is while details are hidden."""
        last = self._last_health
        if last is not None and last[0] == body:
            return last[1]
        found = await _parsed(health.parse, body)
        self._last_health = (body, found) if len(body) <= KEPT_BYTES else None
        return found

    def _take_latency(self, attempt: Attempt) -> None:
        """Take in how long the application took, without connecting; timeouts count with the time waited."""
        phases = attempt.phases
        if Stage.WAIT in phases:
            seconds = sum(phases.get(stage, 0.0) for stage in (Stage.SEND, Stage.WAIT, Stage.RECEIVE))
            self._recorder.take_own_latency(attempt, seconds)

    async def _check_groups(self, attempt: Attempt) -> None:
        async with attempt.part("groups") as part:
            asked = [self._check_group(part, group, url) for group, url in self._group_urls.items()]
            for result in await asyncio.gather(*asked, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result

    async def _check_group(self, part: Attempt, group: str, url: URL) -> None:
        answer = await self._get(url, NoPhases(), self._json_headers, self.settings.max_health_bytes)
        try:
            found = await _parsed(health.parse, answer.body)
        except Failure as malformed:
            raise _named(health.refusal(answer.status, answer.headers) or malformed, f"group {group}") from None
        part.record(GROUP_UP, health.judge(answer.status, found, self.settings.down_statuses) is None, group)

    async def _read_meters(self, attempt: Attempt) -> None:
        async with attempt.part("metrics") as part:
            if self._fallback_runs == 0 and await self._read_prometheus(part):
                return
            self._fallback_runs = (self._fallback_runs or FALLBACK_RUNS) - 1
            readings = meters.Readings()
            whole = False
            try:
                await self._read_metrics_json(part, readings)
                whole = True
            finally:
                self._recorder.record(part, readings, whole=whole)

    async def _read_prometheus(self, part: Attempt) -> bool:
        """Read the Prometheus endpoint; return False where the application has none."""
        answer = await self._get(self._prometheus_url, part, self._text_headers, self.settings.max_metrics_bytes)
        if answer.status in {404, 406}:  # Boot 2.1 cannot say in text that there is nothing
            return False
        _accept(answer, "prometheus")
        if not answer.headers.get("Content-Type", "text/plain").startswith(("text/plain", "application/openmetrics-text")):
            raise Failure(Stage.CHECK, Reason.MALFORMED, "prometheus: the answer is not in the text format")
        self._recorder.record(part, await _parsed(_parse_meters, answer.body))
        return True

    async def _read_metrics_json(self, part: Attempt, readings: meters.Readings) -> None:
        answer = await self._get(self._metrics_url, part, self._json_headers, self.settings.max_metrics_bytes)
        if answer.status == 404:
            self._fallback_runs = 0
            raise Failure(Stage.CHECK, Reason.HTTP_STATUS, "HTTP 404: neither prometheus nor metrics is exposed")
        _accept(answer, "metrics")

        async def ask(name: str, tags: metrics_json.Tags) -> metrics_json.Measured | None:
            url = self._metrics_url / name
            if tags:
                url = url.with_query([("tag", f"{tag}:{value}") for tag, value in tags])
            answer = await self._get(url, part, self._json_headers, self.settings.max_metrics_bytes)
            if answer.status == 404:
                return None
            _accept(answer, f"metrics/{name}")
            return metrics_json.parse(answer.body)

        await metrics_json.collect(metrics_json.parse_names(answer.body), ask, readings)

    async def _read_flyway(self, attempt: Attempt, *, up: bool) -> None:
        """Ask for migrations now and then, and after a restart; what was found holds in between.

        An application that is not up is not asked: its answer takes connections of a pool that may have none left.
        """
        if self._recorder.restarts != self._restarts_at_flyway:
            self._flyway_runs, self._flyway_found = 0, None
        self._restarts_at_flyway = self._recorder.restarts
        if self._flyway_runs == 0 and up:
            self._flyway_found = await self._ask_flyway(attempt)
            self._flyway_runs = FLYWAY_RUNS
        self._flyway_runs = max(0, self._flyway_runs - 1)
        match self._flyway_found:
            case None:  # not asked yet; not exposed, or not to us: nothing that could be mended here
                attempt.parts.pop("flyway", None)
            case Failure() as failure:
                attempt.parts["flyway"] = failure
            case migrations:
                attempt.parts["flyway"] = None
                flyway.record(attempt, migrations)

    async def _ask_flyway(self, attempt: Attempt) -> list[flyway.Migrations] | Failure | None:
        async with attempt.part("flyway") as part:
            answer = await self._get(self._flyway_url, part, self._json_headers, self.settings.max_metrics_bytes)
            if answer.status in {401, 403, 404}:
                return None
            _accept(answer, "flyway")
            return await _parsed(flyway.parse, answer.body)
        return attempt.parts["flyway"]

    async def _get(
        self, url: URL, phases: Phases, headers: CIMultiDict[str], max_bytes: int, *, fresh: bool = False
    ) -> Answer:
        if self._credentials:
            headers = CIMultiDict(headers, **self._credentials)
        return await self.shared.http.get(
            url, phases, max_bytes=max_bytes, headers=headers, tls=self._tls, server_name=self._server_name, fresh=fresh
        )


async def _parsed(parse: Callable[[bytes], T], body: bytes) -> T:
    return await asyncio.to_thread(parse, body) if len(body) > THREAD_BYTES else parse(body)


def _parse_meters(body: bytes) -> meters.Readings:
    return meters.read(prometheus_text.parse(body, meters.WANTED))


def _accept(answer: Answer, what: str) -> None:
    failure = health.refusal(answer.status, answer.headers)
    if failure is not None:
        raise _named(failure, what)


def _named(failure: Failure, what: str) -> Failure:
    """Say which of several requests it was."""
    return Failure(failure.stage, failure.reason, f"{what}: {failure.detail}")


PROBE = ActuatorProbe
