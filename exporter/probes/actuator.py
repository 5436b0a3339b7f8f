"""The `actuator` probe: a Spring Boot application's health, and the meters that explain it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from multidict import CIMultiDict
from pydantic import Field, SecretStr, field_validator
from yarl import URL

from exporter.metrics.family import Family, counter, gauge
from exporter.metrics.store import LabelValues
from exporter.net.http import Answer
from exporter.net.phases import Phases
from exporter.net.tls import TlsSettings, client_context
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, Target, Tools
from exporter.spring import exposition, health, meters, metrics_json
from exporter.verdict import Failure, Reason, Stage

__all__ = ["PROBE", "ActuatorProbe", "ActuatorSettings"]

STATUS_CODE = gauge("probe_http_status_code", "HTTP status code of the health answer.")
REUSED = gauge("probe_connection_reused", "1 if the health request went over a kept-alive connection, 0 over a new one.")
STATUS = gauge("probe_actuator_status", "1 for the status that the application reports for itself.", "status")
COMPONENT_UP = gauge(
    "probe_actuator_component_up", "1 if a health component is up, 0 if down; nested ones joined by /.", "component"
)
COMPONENT_STATUS = gauge(
    "probe_actuator_component_status", "1 for the status that a health component reports.", "component", "status"
)
GROUP_UP = gauge("probe_actuator_group_up", "1 if a configured health group is up, 0 if down.", "group")
REQUESTS = counter("probe_http_server_requests_total", "HTTP requests that the application served.", "outcome")
REQUEST_SECONDS = counter(
    "probe_http_server_request_seconds_total", "Time that the application spent serving HTTP requests."
)
REQUEST_P99 = gauge(
    "probe_http_server_request_p99_seconds",
    "p99 latency of HTTP requests: of those between two attempts (histogram), as the application computes it (quantile), or "
    "of this probe's last 100 requests (own).",
    "source",
)
CONNECTIONS = gauge(
    "probe_hikari_connections", "Connections of a Hikari pool by state; pending are waiting threads.", "pool", "state"
)
CONNECTIONS_MAX = gauge("probe_hikari_connections_max", "Most connections that a Hikari pool may open.", "pool")
CONNECTION_TIMEOUTS = counter(
    "probe_hikari_connection_timeouts_total", "Requests for a connection of a Hikari pool that timed out.", "pool"
)
MEMORY_USED = gauge("probe_jvm_memory_used_bytes", "Memory that the JVM uses.", "area")
MEMORY_MAX = gauge(
    "probe_jvm_memory_max_bytes", "Memory that the JVM may use; memory pools without a limit are left out.", "area"
)
MEMORY_COMMITTED = gauge("probe_jvm_memory_committed_bytes", "Memory that the JVM has from the system.", "area")
GC_SECONDS = counter("probe_jvm_gc_pause_seconds_total", "Time that the JVM stood still for garbage collection.")
GC_PAUSES = counter("probe_jvm_gc_pauses_total", "Pauses of the JVM for garbage collection.")
CACHE_GETS = counter("probe_cache_gets_total", "Cache lookups by result: hit, miss or pending.", "cache", "result")
KAFKA_LAG = gauge(
    "probe_kafka_client_records_lag", "Records that the application's Kafka consumers say they are behind.", "topic"
)
UPTIME = gauge("probe_process_uptime_seconds", "Time since the application's process started.")
STARTED = gauge("probe_process_start_timestamp_seconds", "Unix time at which the application's process started.")

_SERIES: tuple[tuple[Family, Callable[[meters.Readings], meters.Series]], ...] = (
    (REQUESTS, lambda readings: readings.requests),
    (REQUEST_SECONDS, lambda readings: readings.request_seconds),
    (CONNECTIONS, lambda readings: readings.connections),
    (CONNECTIONS_MAX, lambda readings: readings.connections_max),
    (CONNECTION_TIMEOUTS, lambda readings: readings.connection_timeouts),
    (MEMORY_USED, lambda readings: readings.memory_used),
    (MEMORY_MAX, lambda readings: readings.memory_max),
    (MEMORY_COMMITTED, lambda readings: readings.memory_committed),
    (GC_SECONDS, lambda readings: readings.gc_seconds),
    (GC_PAUSES, lambda readings: readings.gc_pauses),
    (CACHE_GETS, lambda readings: readings.cache_gets),
    (KAFKA_LAG, lambda readings: readings.lag),
    (UPTIME, lambda readings: readings.uptime),
    (STARTED, lambda readings: readings.started),
)

_HEALTH_ACCEPT = "application/vnd.spring-boot.actuator.v3+json, application/json"
_TEXT_ACCEPT = "text/plain;version=0.0.4"
_RESERVED_HEADERS = frozenset({"accept", "accept-encoding", "connection", "content-length", "transfer-encoding", "host"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

PATIENCE = 0.4
"""Share of the deadline after which a hung health answer is no longer waited for alone: what it hangs on, such as a pool
without free connections, is in the meters."""

FALLBACK_RUNS = 20
"""Attempts that go straight to the metrics endpoint after the Prometheus endpoint was not found."""

THREAD_BYTES = 256 * 1024
"""Metrics longer than this are read in a thread: a megabyte takes about 10 ms, which the event loop does not have."""

KEPT_BYTES = 64 * 1024
"""Health answers up to this length are kept to be compared with the next."""

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
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, max_length=20, description="Headers to send; masked wherever shown."
    )
    groups: tuple[Group, ...] = Field((), max_length=20, description="Health groups to ask for too, such as readiness.")
    metrics: bool = Field(default=True, description="Read the application's meters too; they do not decide the verdict.")
    down_statuses: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(
        health.DEFAULT_DOWN, max_length=20, description="Health statuses that mean down, whatever the HTTP code."
    )
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


class _Untimed:
    """Phases of requests whose timing nobody asks for, made side by side."""

    __slots__ = ("stage",)

    def __init__(self) -> None:
        self.stage = Stage.CONNECT

    def add_phase(self, stage: Stage, seconds: float) -> None:
        """Forget it."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What one health answer is recorded as; made anew only when the answer says something else.

    An application's components rarely change, and this is the path that every attempt takes.
    """

    code: int
    tree: health.Health
    down: bool
    samples: Mapping[Family, dict[LabelValues, float]]

    @classmethod
    def of(cls, code: int, found: health.Health, down_statuses: tuple[str, ...]) -> _Known:
        down = found.down(code, down_statuses)
        ups: dict[LabelValues, float] = {
            (item.path,): float(health.canonical(item.status) not in down) for item in found.components
        }
        statuses: dict[LabelValues, float] = {(item.path, item.status): 1.0 for item in found.components}
        samples: dict[Family, dict[LabelValues, float]] = {
            STATUS: {(found.status,): 1.0},
            COMPONENT_UP: ups,
            COMPONENT_STATUS: statuses,
        }
        return cls(code, found, health.canonical(found.status) in down, samples)


class ActuatorProbe(Probe[ActuatorSettings]):
    """Asks one instance for its health, and beside it for groups and meters."""

    kind = "actuator"
    settings_type = ActuatorSettings
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.SEND, Stage.WAIT, Stage.RECEIVE)
    metrics = (
        STATUS_CODE,
        REUSED,
        STATUS,
        COMPONENT_UP,
        COMPONENT_STATUS,
        GROUP_UP,
        REQUEST_P99,
        *(item for item, _ in _SERIES),
    )

    def __init__(self, target: Target, settings: ActuatorSettings, tools: Tools) -> None:
        super().__init__(target, settings, tools)
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
        secrets = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._json_headers = CIMultiDict(secrets, Accept=_HEALTH_ACCEPT)
        self._text_headers = CIMultiDict(secrets, Accept=_TEXT_ACCEPT)
        self._tls = client_context(settings.tls) if settings.scheme == "https" else None
        self._server_name = settings.tls.server_name if self._tls is not None else None
        self._has_parts = settings.metrics or bool(settings.groups)
        self._known: _Known | None = None
        self._last_health: tuple[bytes, health.Health] | None = None
        self._window = meters.LatencyWindow()
        self._own_latency = meters.OwnLatency()
        self._application_has_p99 = False
        self._fallback_runs = 0

    async def check(self, attempt: Attempt) -> None:
        """Get the health answer, record what it says, and only then judge; groups and meters come in between."""
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
                await asyncio.gather(self._check_groups(attempt), self._read_meters(attempt))
            return await checking
        finally:
            checking.cancel()
            await asyncio.wait({checking})  # the phase it was in is recorded before the outcome is made
            if not checking.cancelled():
                checking.exception()

    async def _check_health(self, attempt: Attempt) -> Failure | None:
        """Return why the application is down, or None; raise where there is no answer to judge."""
        try:
            answer = await self._get(self._health_url, attempt, self._json_headers, self.settings.max_health_bytes)
        finally:
            self._take_latency(attempt)
        attempt.record(STATUS_CODE, answer.status)
        attempt.record(REUSED, answer.reused)
        try:
            found = self._parse_health(answer.body)
        except Failure as malformed:
            return health.refusal(answer.status, answer.headers) or malformed
        known = self._known
        if known is None or known.code != answer.status or known.tree != found:
            known = self._known = _Known.of(answer.status, found, self.settings.down_statuses)
        attempt.samples.update(known.samples)
        return health.judge(answer.status, found, self.settings.down_statuses) if known.down else None

    def _parse_health(self, body: bytes) -> health.Health:
        """Parse, or take the last tree where the answer is the same byte for byte, as it is while details are hidden."""
        last = self._last_health
        if last is not None and last[0] == body:
            return last[1]
        found = health.parse(body)
        self._last_health = (body, found) if len(body) <= KEPT_BYTES else None
        return found

    def _take_latency(self, attempt: Attempt) -> None:
        """Take in how long the application took, without connecting; timeouts count with the time waited."""
        phases = attempt.phases
        if Stage.WAIT not in phases:
            return
        self._own_latency.add(sum(phases.get(stage, 0.0) for stage in (Stage.SEND, Stage.WAIT, Stage.RECEIVE)))
        if not self._application_has_p99:
            self._record_p99(attempt, "own", self._own_latency.p99())

    async def _check_groups(self, attempt: Attempt) -> None:
        if not self._group_urls:
            return
        async with attempt.part("groups") as part:
            asked = [self._check_group(part, group, url) for group, url in self._group_urls.items()]
            for result in await asyncio.gather(*asked, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result

    async def _check_group(self, part: Attempt, group: str, url: URL) -> None:
        answer = await self._get(url, _Untimed(), self._json_headers, self.settings.max_health_bytes)
        try:
            found = health.parse(answer.body)
        except Failure as malformed:
            raise _named(health.refusal(answer.status, answer.headers) or malformed, f"group {group}") from None
        part.record(GROUP_UP, health.judge(answer.status, found, self.settings.down_statuses) is None, group)

    async def _read_meters(self, attempt: Attempt) -> None:
        if not self.settings.metrics:
            return
        async with attempt.part("metrics") as part:
            if self._fallback_runs == 0 and await self._read_prometheus(part):
                return
            self._fallback_runs = (self._fallback_runs or FALLBACK_RUNS) - 1
            readings = meters.Readings()
            try:
                await self._read_metrics_json(part, readings)
            finally:
                self._record_readings(part, readings)

    async def _read_prometheus(self, part: Attempt) -> bool:
        """Read the Prometheus endpoint; return False where the application has none."""
        answer = await self._get(self._prometheus_url, part, self._text_headers, self.settings.max_metrics_bytes)
        if answer.status == 404:
            return False
        _accept(answer, "prometheus")
        if not answer.headers.get("Content-Type", "text/plain").startswith(("text/plain", "application/openmetrics-text")):
            raise Failure(Stage.CHECK, Reason.MALFORMED, "prometheus: the answer is not in the text format")
        if len(answer.body) > THREAD_BYTES:
            readings = await asyncio.to_thread(_parse_meters, answer.body)
        else:
            readings = _parse_meters(answer.body)
        self._record_readings(part, readings)
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

    def _record_readings(self, part: Attempt, readings: meters.Readings) -> None:
        for family, series_of in _SERIES:
            for labels, value in series_of(readings).items():
                part.record(family, value, *labels)
        p99 = self._window.p99(readings)
        self._application_has_p99 = bool(readings.buckets) or readings.quantile is not None
        if self._application_has_p99:
            part.samples.pop(REQUEST_P99, None)  # the application's own figure is better than this probe's
            if readings.buckets:
                self._record_p99(part, "histogram", p99)
            else:
                self._record_p99(part, "quantile", readings.quantile)

    def _record_p99(self, attempt: Attempt, source: str, seconds: float | None) -> None:
        if seconds is not None and seconds == seconds:  # noqa: PLR0124 - not NaN
            attempt.record(REQUEST_P99, seconds, source)

    async def _get(self, url: URL, phases: Phases, headers: CIMultiDict[str], max_bytes: int) -> Answer:
        return await self.tools.http.get(
            url, phases, max_bytes=max_bytes, headers=headers, tls=self._tls, server_name=self._server_name
        )


def _parse_meters(body: bytes) -> meters.Readings:
    return meters.read(exposition.parse(body, meters.WANTED))


def _accept(answer: Answer, what: str) -> None:
    failure = health.refusal(answer.status, answer.headers)
    if failure is not None:
        raise _named(failure, what)


def _named(failure: Failure, what: str) -> Failure:
    """Say which of several requests it was."""
    return Failure(failure.stage, failure.reason, f"{what}: {failure.detail}")


PROBE = ActuatorProbe
