"""The `actuator` probe: a Spring Boot application's health, and the meters that explain it."""

from __future__ import annotations

import asyncio
import re
import shlex
from functools import partial
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from yarl import URL

from exporter.actuator import flyway, recording
from exporter.actuator.client import ActuatorClient, named, parsed
from exporter.actuator.connections import METRICS as CONNECTION_METRICS
from exporter.actuator.connections import Connections
from exporter.actuator.flyway import MigrationReader
from exporter.actuator.health_samples import METRICS as HEALTH_METRICS
from exporter.actuator.health_samples import HealthSamples
from exporter.actuator.mainport import METRICS as MAIN_PORT_METRICS
from exporter.actuator.mainport import MainPort, MainPortSettings
from exporter.actuator.meter_reader import JSON_ACCEPT, MeterReader
from exporter.auth.ways import Authenticator, AuthSettings
from exporter.clients.spring import health
from exporter.masking import remember
from exporter.metrics.family import gauge
from exporter.net.http import Answer
from exporter.net.phases import NoPhases
from exporter.net.tls import ClientTls, TlsSettings
from exporter.probing.attempt import Attempt
from exporter.probing.cadence import Step, Turn, in_turn
from exporter.probing.probe import Probe, ProbeSettings, SharedClients, Target
from exporter.values import Address
from exporter.verdict import Failure, Stage

__all__ = ["PROBE", "ActuatorProbe", "ActuatorSettings"]

STATUS_CODE = gauge("probe_http_status_code", "HTTP status code of the health answer.")
REUSED = gauge("probe_connection_reused", "1 if the health request went over a kept-alive connection, 0 over a new one.")
GROUP_UP = gauge("probe_actuator_group_up", "1 if a configured health group is up, 0 if down.", "group")

_RESERVED_HEADERS = frozenset({"accept", "accept-encoding", "connection", "content-length", "transfer-encoding", "host"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

PATIENCE = 0.4
"""Share of the deadline after which a hung health answer is no longer waited for alone: what it hangs on, such as a pool
without free connections, is in the meters."""

TOKEN_PATIENCE = 0.4
"""Share of the deadline that an attempt waits for a token."""

KEPT_BYTES = 16 * 1024
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
    auth: AuthSettings | None = Field(None, description="Credentials: exactly one of basic, bearer and oauth2.")
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, max_length=20, description="Headers to send; masked wherever shown."
    )
    allow_cleartext: bool = Field(
        default=False, description="Do not warn of credentials and headers that cross a network over plain HTTP."
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

    def by_hand(self, address: Address) -> str:
        """The health that is asked for."""
        at = Address(address.host, self.port or address.port)
        return shlex.join(["curl", "-sS", f"{self.scheme}://{at}{self.base_path.rstrip('/')}/health"])

    @property
    def in_the_clear(self) -> str | None:
        """Credentials, and headers, whose values are secrets."""
        if self.scheme == "https" or self.allow_cleartext:
            return None
        return "what auth sends" if self.auth is not None else "what headers hold" if self.headers else None


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
        self._client = ActuatorClient(
            shared.http,
            {name: _sent(value) for name, value in settings.headers.items()},
            ClientTls(settings.tls) if settings.scheme == "https" else None,
            Authenticator(settings.auth, shared.tokens) if settings.auth is not None else None,
        )
        self._groups = {group: (self._health_url / group, _Judged(settings.down_statuses)) for group in settings.groups}
        self._main: MainPort | None = None
        if settings.main is not None:
            self._main = MainPort(target.address, settings.main, shared.http, settings.cold_every)
        self._connections = Connections(settings.cold_every)
        self._health = _Judged(settings.down_statuses)
        self._recorder = recording.Recorder()
        self._meters = MeterReader(self._client, base, settings.max_metrics_bytes, self._recorder)
        self._migrations = MigrationReader(self._client, base, settings.max_metrics_bytes)

    async def check(self, attempt: Attempt) -> None:
        """Get the health answer, record what it says, and only then judge; groups and meters come in between."""
        if self.settings.auth is not None:
            attempt.stage = Stage.AUTH
        await self._client.prepare(TOKEN_PATIENCE * attempt.timeout)
        judged: list[Failure | None] = []

        async def ask_health(_: Turn) -> None:
            judged.append(await self._check_health(attempt))

        async def ask_parts(turn: Turn) -> None:
            await self._check_parts(attempt, up=judged == [None], aside=turn.aside)

        if self.settings.metrics or self._groups or self._main is not None:
            hangs = {Stage.WAIT, Stage.RECEIVE}  # of what does not even connect, there is nothing else to ask
            await in_turn(
                [ask_health, ask_parts], PATIENCE * attempt.timeout, may_pass=lambda: bool(judged) or attempt.stage in hangs
            )
        else:
            await ask_health(Turn())
        failure = judged[0] or attempt.parts.get("main")
        if failure is not None:
            raise failure

    async def _check_parts(self, attempt: Attempt, *, up: bool, aside: bool) -> None:
        """Ask what is asked beside the health, over its connection. Of these the main port alone turns the verdict."""
        steps: list[Step] = [partial(self._check_group, attempt, group) for group in self._groups]
        if self.settings.metrics:
            steps.append(partial(self._read_meters, attempt))
            if self.settings.flyway:
                steps.append(partial(self._read_migrations, attempt, up))
        asked = in_turn(steps, PATIENCE * attempt.part_time, aside=aside)
        if self._main is None:
            await asked
            return
        async with asyncio.TaskGroup() as both:
            both.create_task(self._check_main(attempt, self._main), name=f"main port of {self.target}")
            await asked

    async def _check_main(self, attempt: Attempt, main: MainPort) -> None:
        async with attempt.part("main") as part:
            await main.check(part)

    async def _check_health(self, attempt: Attempt) -> Failure | None:
        """Return why the application is down, or None; raise where there is no answer to judge."""
        fresh = self._connections.fresh
        try:
            answer = await self._client.ask(
                self._health_url, JSON_ACCEPT, attempt, self.settings.max_health_bytes, fresh=fresh
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
            found = await self._health.read(answer)
        except Failure as malformed:
            self._client.distrust()
            if answer.status == 401:
                self._client.rejected()
            return health.refusal(answer.status, answer.headers) or malformed
        attempt.record_all(found.samples)
        return found.failure

    def _take_latency(self, attempt: Attempt) -> None:
        """Take in how long the application took, without connecting; timeouts count with the time waited."""
        phases = attempt.phases
        if Stage.WAIT in phases:
            seconds = sum(phases.get(stage, 0.0) for stage in (Stage.SEND, Stage.WAIT, Stage.RECEIVE))
            self._recorder.take_own_latency(attempt, seconds)

    async def _check_group(self, attempt: Attempt, group: str, turn: Turn) -> None:
        async with attempt.part("groups", timeout=turn.share * attempt.part_time) as part:
            url, judged = self._groups[group]
            limit = self.settings.max_health_bytes
            answer = await self._client.ask(url, JSON_ACCEPT, NoPhases(), limit, spare=turn.aside)
            try:
                found = await judged.read(answer)
            except Failure as malformed:
                raise named(health.refusal(answer.status, answer.headers) or malformed, f"group {group}") from None
            part.record(GROUP_UP, not found.down, group)
        self._trust(attempt, "groups")

    async def _read_meters(self, attempt: Attempt, turn: Turn) -> None:
        async with attempt.part("metrics", timeout=turn.share * attempt.part_time) as part:
            await self._meters.read(part, spare=turn.aside)
        self._trust(attempt, "metrics")

    async def _read_migrations(self, attempt: Attempt, up: bool, turn: Turn) -> None:
        await self._migrations.check(attempt, turn, up=up, restarts=self._recorder.restarts)

    def _trust(self, attempt: Attempt, part: str) -> None:
        """Go on over the same connection only if a part has worked."""
        if attempt.parts[part] is not None:
            self._client.distrust()


class _Judged:
    """Reads the answers of one health endpoint, and only those that are not the same byte for byte as the one before."""

    def __init__(self, down_statuses: tuple[str, ...]) -> None:
        self._down_statuses = down_statuses
        self._last: tuple[int, bytes | None, HealthSamples] | None = None

    async def read(self, answer: Answer) -> HealthSamples:
        """Return what an answer says.

        Raises:
            Failure: `malformed`.
        """
        last = self._last
        if last is not None and last[1] == answer.body and last[0] == answer.status:
            return last[2]
        tree = await parsed(health.parse, answer.body)
        if last is not None and last[0] == answer.status and last[2].tree == tree:
            found = last[2]
        else:
            found = HealthSamples.of(answer.status, tree, self._down_statuses)
        self._last = (answer.status, answer.body if len(answer.body) <= KEPT_BYTES else None, found)
        return found


PROBE = ActuatorProbe


def _sent(value: SecretStr) -> str:
    """Return a header's value, which is masked in what the service answers."""
    remember(value.get_secret_value())
    return value.get_secret_value()
