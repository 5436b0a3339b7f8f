"""Reading an application's meters: from the Prometheus endpoint, or number by number where it has none."""

from __future__ import annotations

import asyncio

from yarl import URL

from exporter.actuator.client import ActuatorClient, accept
from exporter.actuator.recording import Recorder
from exporter.clients.spring import meters, metrics_json, prometheus_text
from exporter.probing.attempt import Attempt
from exporter.probing.cadence import Every
from exporter.verdict import Failure, Reason, Stage

__all__ = ["FALLBACK_RUNS", "JSON_ACCEPT", "MeterReader"]

FALLBACK_RUNS = 20
"""Attempts that go straight to the metrics endpoint after the Prometheus endpoint was not found."""

MAX_JSON_BYTES = 1_048_576
"""Longest answer about one meter, or list of meters, that is read: more is more work than the event loop has time for."""

JSON_ACCEPT = "application/vnd.spring-boot.actuator.v3+json, application/json"
_TEXT_ACCEPT = "text/plain;version=0.0.4"
_TEXT_TYPES = ("text/plain", "application/openmetrics-text")


class MeterReader:
    """Reads the meters of one application, attempt after attempt.

    Args:
        client: Asks the actuator.
        base: URL of the actuator.
        max_bytes: Longest answer that is read.
        recorder: Records what was read.
    """

    def __init__(self, client: ActuatorClient, base: URL, max_bytes: int, recorder: Recorder) -> None:
        self._client = client
        self._text_url = (base / "prometheus").with_query(includedNames=meters.included_names())
        self._json_url = base / "metrics"
        self._max_bytes = max_bytes
        self._recorder = recorder
        self._text = Every(FALLBACK_RUNS)

    async def read(self, part: Attempt, *, spare: bool) -> None:
        """Read and record the meters.

        Args:
            part: Receives them.
            spare: Keep no connection that has to be made.

        Raises:
            Failure: They could not be read; what was read before is recorded.
        """
        if self._text.due:
            if await self._read_text(part, spare=spare):
                return
            self._text.done()
        self._text.passed()
        readings = meters.Readings()
        whole = False
        try:
            await self._read_json(part, readings, spare=spare)
            whole = True
        finally:
            self._recorder.record(part, readings, whole=whole)

    async def _read_text(self, part: Attempt, *, spare: bool) -> bool:
        """Read the Prometheus endpoint; return False where the application has none."""
        answer = await self._client.ask(self._text_url, _TEXT_ACCEPT, part, self._max_bytes, spare=spare)
        if answer.status in {404, 406}:  # Boot 2.1 cannot say in text that there is nothing
            return False
        accept(answer, "prometheus")
        if not answer.headers.get("Content-Type", "text/plain").startswith(_TEXT_TYPES):
            raise Failure(Stage.CHECK, Reason.MALFORMED, "prometheus: the answer is not in the text format")
        self._recorder.record(part, await _parsed(answer.body))
        return True

    async def _read_json(self, part: Attempt, readings: meters.Readings, *, spare: bool) -> None:
        limit = min(self._max_bytes, MAX_JSON_BYTES)
        answer = await self._client.ask(self._json_url, JSON_ACCEPT, part, limit, spare=spare)
        if answer.status == 404:
            self._text.at_once()
            raise Failure(Stage.CHECK, Reason.HTTP_STATUS, "HTTP 404: neither prometheus nor metrics is exposed")
        accept(answer, "metrics")

        async def ask(name: str, tags: metrics_json.Tags) -> metrics_json.Measured | None:
            url = self._json_url / name
            if tags:
                url = url.with_query([("tag", f"{tag}:{value}") for tag, value in tags])
            answer = await self._client.ask(url, JSON_ACCEPT, part, limit, spare=spare, once=True)
            if answer.status == 404:
                return None
            accept(answer, f"metrics/{name}")
            return metrics_json.parse(answer.body)

        await metrics_json.collect(metrics_json.parse_names(answer.body), ask, readings)


async def _parsed(body: bytes) -> meters.Readings:
    """Read an answer in pieces, between which the event loop has its turn: a thread would hold it up no less."""
    reader = prometheus_text.Reader(meters.WANTED)
    first = True
    for piece in prometheus_text.pieces(body):
        if not first:
            await asyncio.sleep(0)
        first = False
        reader.read(piece)
    return meters.read(reader.result())
