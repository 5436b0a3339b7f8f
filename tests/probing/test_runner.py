"""The runner: any exception becomes an outcome, cancellation does not."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

import pytest

from exporter.metrics.family import gauge, histogram
from exporter.probing.attempt import MAX_SERIES, Attempt
from exporter.probing.runner import run_probe
from exporter.verdict import Failure, Reason, Stage, Verdict
from tests.conftest import ScriptedProbe

FACT = gauge("probe_test_fact", "A fact.", "name")


def raising(error: Exception, stage: Stage = Stage.CONNECT) -> ScriptedProbe:
    async def step(attempt: Attempt) -> None:
        attempt.record(FACT, 1.0, "before")
        attempt.stage = stage
        raise error

    return ScriptedProbe(step)


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "said OpenSSL"
    return error


def chained() -> Exception:
    error = RuntimeError("wrapped by a client library")
    error.__cause__ = ConnectionResetError(errno.ECONNRESET, "reset")
    return error


@pytest.mark.parametrize(
    ("make", "stage", "verdict", "expected"),
    [
        (lambda: ConnectionRefusedError(errno.ECONNREFUSED, "x"), Stage.CONNECT, Verdict.DOWN, Reason.CONNECT_REFUSED),
        (lambda: ConnectionResetError(errno.ECONNRESET, "x"), Stage.WAIT, Verdict.DOWN, Reason.CONNECTION_CLOSED),
        (lambda: OSError(errno.EHOSTUNREACH, "x"), Stage.CONNECT, Verdict.DOWN, Reason.UNREACHABLE),
        (lambda: OSError("Multiple exceptions: a, b"), Stage.CONNECT, Verdict.DOWN, Reason.UNREACHABLE),
        (lambda: OSError(errno.ETIMEDOUT, "x"), Stage.CONNECT, Verdict.DOWN, Reason.CONNECT_TIMEOUT),
        (lambda: OSError(errno.ETIMEDOUT, "x"), Stage.WAIT, Verdict.DOWN, Reason.TIMEOUT),
        (TimeoutError, Stage.CONNECT, Verdict.DOWN, Reason.CONNECT_TIMEOUT),
        (TimeoutError, Stage.QUERY, Verdict.DOWN, Reason.TIMEOUT),
        (TimeoutError, Stage.RESOLVE, Verdict.UNKNOWN, Reason.PROBER_DNS),
        (lambda: OSError(errno.EMFILE, "x"), Stage.CONNECT, Verdict.UNKNOWN, Reason.PROBER_DESCRIPTORS),
        (lambda: OSError(errno.ENOBUFS, "x"), Stage.CONNECT, Verdict.UNKNOWN, Reason.PROBER_MEMORY),
        (lambda: OSError(errno.ENETUNREACH, "x"), Stage.CONNECT, Verdict.UNKNOWN, Reason.PROBER_NETWORK),
        (lambda: OSError(errno.EADDRNOTAVAIL, "x"), Stage.CONNECT, Verdict.UNKNOWN, Reason.PROBER_NETWORK),
        (MemoryError, Stage.RECEIVE, Verdict.UNKNOWN, Reason.PROBER_MEMORY),
        (lambda: socket.gaierror(socket.EAI_NONAME, "x"), Stage.RESOLVE, Verdict.DOWN, Reason.DNS_NOT_FOUND),
        (lambda: socket.gaierror(socket.EAI_AGAIN, "x"), Stage.RESOLVE, Verdict.UNKNOWN, Reason.PROBER_DNS),
        (lambda: certificate_error(10), Stage.TLS, Verdict.DOWN, Reason.TLS_EXPIRED),
        (lambda: certificate_error(62), Stage.TLS, Verdict.DOWN, Reason.TLS_NAME_MISMATCH),
        (lambda: certificate_error(18), Stage.TLS, Verdict.DOWN, Reason.TLS_UNTRUSTED),
        (lambda: ssl.SSLError(1, "handshake failure"), Stage.TLS, Verdict.DOWN, Reason.TLS_FAILED),
        (EOFError, Stage.RECEIVE, Verdict.DOWN, Reason.CONNECTION_CLOSED),
        (chained, Stage.QUERY, Verdict.DOWN, Reason.CONNECTION_CLOSED),
        (lambda: Failure(Stage.CHECK, Reason.REPORTED_DOWN), Stage.CHECK, Verdict.DOWN, Reason.REPORTED_DOWN),
    ],
)
async def test_every_known_error_has_its_reason(
    make: Callable[[], Exception], stage: Stage, verdict: Verdict, expected: Reason
) -> None:
    outcome = await run_probe(raising(make(), stage), 5.0)
    assert outcome.failure is not None
    assert (outcome.verdict, outcome.failure.reason) == (verdict, expected)
    assert outcome.samples[FACT] == {("before",): 1.0}, "facts learnt before the failure are kept"


async def test_an_unknown_error_is_the_probers_own_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        outcome = await run_probe(raising(KeyError("surprise")), 5.0)
    assert outcome.failure is not None
    assert (outcome.verdict, outcome.failure.reason) == (Verdict.UNKNOWN, Reason.INTERNAL)
    assert "surprise" in caplog.text
    assert "surprise" not in outcome.failure.detail, "free text of unknown errors may hold secrets"


async def test_a_broken_classifier_does_not_end_the_run(caplog: pytest.LogCaptureFixture) -> None:
    probe = raising(KeyError("x"))
    probe.classify = lambda error, stage: 1 / 0  # type: ignore[method-assign,assignment,return-value] # on purpose
    outcome = await run_probe(probe, 5.0)
    assert outcome.failure is not None
    assert outcome.failure.reason is Reason.INTERNAL
    assert "classifying" in caplog.text


async def test_who_counts_unknown_errors_is_told_of_those_of_parts_too(caplog: pytest.LogCaptureFixture) -> None:
    async def check(attempt: Attempt) -> None:
        async with attempt.part("optional"):
            raise KeyError("in a part")
        raise ZeroDivisionError

    told: list[str] = []
    probe = ScriptedProbe(check)
    outcome = await run_probe(probe, 5.0, unexpected=lambda what, error: told.append(f"{what}: {type(error).__name__}"))
    assert outcome.parts["optional"] is not None
    assert told == [f"{probe.target}: KeyError", f"{probe.target}: ZeroDivisionError"]
    assert caplog.text == "", "who is told logs it"


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("stage", "reason"),
    [(Stage.CONNECT, Reason.CONNECT_TIMEOUT), (Stage.WAIT, Reason.TIMEOUT), (Stage.RESOLVE, Reason.PROBER_DNS)],
)
async def test_the_deadline_is_named_after_the_stage_it_struck_in(stage: Stage, reason: Reason) -> None:
    async def hang(attempt: Attempt) -> None:
        with attempt.phase(stage):
            await asyncio.sleep(3600)

    outcome = await run_probe(ScriptedProbe(hang), 5.0)
    assert outcome.failure is not None
    assert (outcome.failure.stage, outcome.failure.reason) == (stage, reason)
    assert outcome.phases[stage] == pytest.approx(5.0, abs=0.1)
    assert outcome.duration == pytest.approx(5.0, abs=0.1)


@pytest.mark.looptime
async def test_a_timeout_while_the_loop_stood_still_is_the_probers() -> None:
    async def hang(attempt: Attempt) -> None:
        with attempt.phase(Stage.WAIT):
            await asyncio.sleep(3600)

    outcome = await run_probe(ScriptedProbe(hang), 4.0, loop_lag=lambda start: 1.5)
    assert outcome.failure is not None
    assert (outcome.verdict, outcome.failure.reason) == (Verdict.UNKNOWN, Reason.PROBER_LOOP_LAG)


@pytest.mark.looptime
@pytest.mark.parametrize(("stall", "reason"), [(0.5, Reason.TIMEOUT), (1.5, Reason.PROBER_LOOP_LAG)])
async def test_so_is_that_of_a_part(stall: float, reason: Reason) -> None:
    async def hang(attempt: Attempt) -> None:
        async with attempt.part("more", timeout=1.0) as part, part.part("within") as within:
            within.stage = Stage.WAIT
            await asyncio.sleep(3600)

    outcome = await run_probe(ScriptedProbe(hang), 4.0, loop_lag=lambda start: stall)
    assert outcome.verdict is Verdict.UP
    assert {name: found and found.reason for name, found in outcome.parts.items()} == {"more": None, "within": reason}


async def test_a_refused_connection_is_down_however_the_loop_fared() -> None:
    outcome = await run_probe(raising(ConnectionRefusedError(111, "x")), 4.0, loop_lag=lambda start: 3.0)
    assert outcome.verdict is Verdict.DOWN


async def test_cancellation_is_raised() -> None:
    started = asyncio.Event()

    async def hang(attempt: Attempt) -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run_probe(ScriptedProbe(hang), 5.0))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.looptime
async def test_a_slow_part_cannot_turn_the_verdict() -> None:
    async def check(attempt: Attempt) -> None:
        with attempt.phase(Stage.WAIT):
            await asyncio.sleep(1)
        async with attempt.part("metrics") as part:
            with part.phase(Stage.WAIT):
                await asyncio.sleep(3600)

    outcome = await run_probe(ScriptedProbe(check), 5.0)
    assert outcome.verdict is Verdict.UP
    failure = outcome.parts["metrics"]
    assert failure is not None
    assert (failure.stage, failure.reason) == (Stage.WAIT, Reason.TIMEOUT)
    assert outcome.phases[Stage.WAIT] == pytest.approx(1.0, abs=0.1), "a part's phases are its own"


async def test_parts_run_side_by_side_and_record_together() -> None:
    async def one(attempt: Attempt, name: str) -> None:
        async with attempt.part(name) as part:
            part.record(FACT, 1.0, name)

    async def check(attempt: Attempt) -> None:
        await asyncio.gather(one(attempt, "a"), one(attempt, "b"))

    outcome = await run_probe(ScriptedProbe(check), 5.0)
    assert outcome.parts == {"a": None, "b": None}
    assert set(outcome.samples[FACT]) == {("a",), ("b",)}


async def test_an_answer_with_too_many_series_is_not_believed() -> None:
    async def flood(attempt: Attempt) -> None:
        for number in range(MAX_SERIES + 1):
            attempt.record(FACT, 1.0, str(number))

    outcome = await run_probe(ScriptedProbe(flood), 5.0)
    assert outcome.failure is not None
    assert outcome.failure.reason is Reason.TOO_LARGE


async def test_a_probe_cannot_record_a_histogram_or_wrong_labels() -> None:
    attempt = Attempt(1.0, lambda error, stage: Failure(stage, Reason.INTERNAL))
    with pytest.raises(ValueError, match="kept by the engine"):
        attempt.record(histogram("probe_test_seconds", "x", buckets=(1.0,)), 1.0)
    with pytest.raises(ValueError, match="takes labels"):
        attempt.record(FACT, 1.0)
    assert 0 < attempt.remaining <= 1.0


def test_a_failure_is_one_bounded_line() -> None:
    failure = Failure(Stage.CHECK, Reason.MALFORMED, "line one\nline two " + "x" * 1000)
    assert "\n" not in failure.detail
    assert len(failure.detail) == Failure.MAX_DETAIL
    assert str(Failure(Stage.CHECK, Reason.MALFORMED)) == "check: malformed"


async def test_a_part_that_is_cut_off_is_not_told_as_fine() -> None:
    attempt = Attempt(5.0, lambda error, _: pytest.fail(f"classified {error!r}"))

    async def work() -> None:
        async with attempt.part("slow") as part:
            part.stage = Stage.QUERY
            await asyncio.sleep(100)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    cut = attempt.parts["slow"]
    assert cut is not None
    assert (cut.stage, cut.reason) == (Stage.QUERY, Reason.TIMEOUT)


@pytest.mark.looptime
async def test_a_library_that_keeps_the_cancellation_to_itself_is_not_up_after_its_deadline() -> None:
    async def swallow(attempt: Attempt) -> None:
        attempt.stage = Stage.QUERY
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)

    outcome = await run_probe(ScriptedProbe(swallow), 5.0)
    assert outcome.failure is not None
    assert (outcome.failure.stage, outcome.failure.reason) == (Stage.QUERY, Reason.TIMEOUT)


async def test_an_outcome_holds_on_to_nothing_of_where_its_failures_were_raised() -> None:
    """A traceback holds the frames, and those what was parsed in them."""

    class Parsed:
        pass

    def fail() -> None:
        parsed = Parsed()
        try:
            dict[Parsed, int]()[parsed]
        except KeyError as error:
            raise Failure(Stage.CHECK, Reason.MALFORMED, "x") from error

    async def check(attempt: Attempt) -> None:
        async with attempt.part("one"):
            fail()
        fail()

    outcome = await run_probe(ScriptedProbe(check), 5.0)
    part = outcome.parts["one"]
    assert outcome.failure is not None
    assert part is not None
    for failure in (outcome.failure, part):
        assert (failure.__traceback__, failure.__context__, failure.__cause__) == (None, None, None)
    gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Parsed)]


async def test_a_part_in_several_blocks_has_worked_where_all_have_and_tells_the_first_failure() -> None:
    async def check(attempt: Attempt) -> None:
        for reason in (None, Reason.MALFORMED, Reason.TIMEOUT, None):
            async with attempt.part("groups"):
                if reason is not None:
                    raise Failure(Stage.CHECK, reason)

    outcome = await run_probe(ScriptedProbe(check), 5.0)
    part = outcome.parts["groups"]
    assert part is not None
    assert part.reason is Reason.MALFORMED


async def test_many_samples_at_once_are_counted_checked_and_not_shared() -> None:
    attempt = Attempt(1.0, lambda error, stage: Failure(stage, Reason.INTERNAL))
    mine: dict[tuple[str, ...], float] = {(str(number),): 1.0 for number in range(MAX_SERIES - 1)}
    attempt.record_all({FACT: mine})
    attempt.record_all({FACT: {("0",): 2.0, ("1",): 2.0}})
    attempt.record(FACT, 3.0, "new")
    assert (len(attempt.samples[FACT]), attempt.samples[FACT][("0",)], mine[("0",)]) == (MAX_SERIES, 2.0, 1.0)
    with pytest.raises(Failure, match="series"):
        attempt.record_all({FACT: {("too", "many")[:1]: 1.0, ("many",): 1.0}})
    with pytest.raises(ValueError, match="takes labels"):
        attempt.record_all({FACT: {("a", "b"): 1.0}})
    with pytest.raises(ValueError, match="kept by the engine"):
        attempt.record_all({histogram("probe_test_seconds", "x", buckets=(1.0,)): {(): 1.0}})
