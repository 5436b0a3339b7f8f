"""The table of network errors: each has its reason, and the prober's own are told from the target's."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl

import pytest

from exporter.net.errors import failure_of
from exporter.net.pool import NoThread
from exporter.verdict import Failure, Reason, Stage, Verdict


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "stage", "reason"),
    [
        (os_error(errno.ECONNREFUSED), Stage.CONNECT, Reason.CONNECT_REFUSED),
        (os_error(errno.ENOENT), Stage.CONNECT, Reason.CONNECT_REFUSED),
        (os_error(errno.ECONNRESET), Stage.WAIT, Reason.CONNECTION_CLOSED),
        (os_error(errno.EPIPE), Stage.SEND, Reason.CONNECTION_CLOSED),
        (os_error(errno.ETIMEDOUT), Stage.CONNECT, Reason.CONNECT_TIMEOUT),
        (os_error(errno.ETIMEDOUT), Stage.RECEIVE, Reason.TIMEOUT),
        (os_error(errno.EHOSTUNREACH), Stage.CONNECT, Reason.UNREACHABLE),
        (ConnectionResetError(), Stage.TLS, Reason.CONNECTION_CLOSED),
        (ConnectionRefusedError(), Stage.CONNECT, Reason.CONNECT_REFUSED),
        (BrokenPipeError(), Stage.SEND, Reason.CONNECTION_CLOSED),
        (OSError("who knows"), Stage.CONNECT, Reason.UNREACHABLE),
        (asyncio.IncompleteReadError(b"", 4), Stage.RECEIVE, Reason.CONNECTION_CLOSED),
        (EOFError(), Stage.WAIT, Reason.CONNECTION_CLOSED),
        (TimeoutError(), Stage.CONNECT, Reason.CONNECT_TIMEOUT),
        (TimeoutError(), Stage.QUERY, Reason.TIMEOUT),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), Stage.CONNECT, Reason.DNS_NOT_FOUND),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), Stage.CONNECT, Reason.TLS_FAILED),
    ],
)
def test_the_targets_faults_make_it_down(error: BaseException, stage: Stage, reason: Reason) -> None:
    found = failure_of(error, stage)
    assert found is not None
    assert found.reason is reason
    assert found.verdict is Verdict.DOWN


@pytest.mark.parametrize(
    ("error", "stage", "reason"),
    [
        (os_error(errno.EMFILE), Stage.CONNECT, Reason.PROBER_DESCRIPTORS),
        (os_error(errno.ENFILE), Stage.CONNECT, Reason.PROBER_DESCRIPTORS),
        (os_error(errno.ENOBUFS), Stage.SEND, Reason.PROBER_MEMORY),
        (MemoryError(), Stage.CHECK, Reason.PROBER_MEMORY),
        (NoThread("no thread can be started"), Stage.AUTH, Reason.PROBER_MEMORY),
        (RuntimeError("can't start new thread"), Stage.RESOLVE, Reason.PROBER_MEMORY),
        (os_error(errno.EADDRNOTAVAIL), Stage.CONNECT, Reason.PROBER_NETWORK),
        (os_error(errno.EAFNOSUPPORT), Stage.CONNECT, Reason.PROBER_NETWORK),
        (os_error(errno.ENETUNREACH), Stage.CONNECT, Reason.PROBER_NETWORK),
        (os_error(errno.EPERM), Stage.CONNECT, Reason.PROBER_NETWORK),
        (TimeoutError(), Stage.RESOLVE, Reason.PROBER_DNS),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), Stage.CONNECT, Reason.PROBER_DNS),
    ],
)
def test_the_probers_faults_leave_the_verdict_unknown(error: BaseException, stage: Stage, reason: Reason) -> None:
    found = failure_of(error, stage)
    assert found is not None
    assert found.reason is reason
    assert found.verdict is Verdict.UNKNOWN


def test_a_name_that_does_not_resolve_failed_in_resolving_whatever_the_stage() -> None:
    found = failure_of(socket.gaierror(socket.EAI_NONAME, "x"), Stage.CONNECT)
    assert found is not None
    assert found.stage is Stage.RESOLVE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[Errno 101] Network is unreachable, [Errno 111] Connect call failed ('127.0.0.1', 1)", Reason.CONNECT_REFUSED),
        ("[Errno 101] Network is unreachable, [Errno 99] Cannot assign", Reason.PROBER_NETWORK),
        ("[Errno 99999] odd", Reason.UNREACHABLE),
    ],
)
def test_of_several_addresses_the_one_that_answered_counts(text: str, reason: Reason) -> None:
    """A host with an AAAA record, probed from where there is no IPv6, must not hide that its IPv4 address refuses."""
    found = failure_of(OSError(f"Multiple exceptions: {text}"), Stage.CONNECT)
    assert found is not None
    assert found.reason is reason


@pytest.mark.parametrize(
    ("alert", "reason"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", Reason.AUTH),
        ("TLSV1_ALERT_UNKNOWN_CA", Reason.AUTH),
        ("SSLV3_ALERT_BAD_CERTIFICATE", Reason.AUTH),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", Reason.TLS_FAILED),
        ("TLSV1_ALERT_PROTOCOL_VERSION", Reason.TLS_FAILED),
    ],
)
def test_an_alert_about_the_clients_certificate_is_about_credentials(alert: str, reason: Reason) -> None:
    """Also where a client library re-raised it as an OSError with errno 1, which is not EPERM here."""
    found = failure_of(OSError(1, f"[SSL: {alert}] alert (_ssl.c:2580)"), Stage.WAIT)
    assert found is not None
    assert (found.stage, found.reason) == (Stage.TLS, reason)


def test_causes_are_followed() -> None:
    wrapped = RuntimeError("the library failed")
    wrapped.__cause__ = os_error(errno.ECONNREFUSED)
    found = failure_of(wrapped, Stage.CONNECT)
    assert found is not None
    assert found.reason is Reason.CONNECT_REFUSED


def test_a_cause_that_says_more_beats_an_error_without_a_number() -> None:
    wrapped = OSError("cannot connect")
    wrapped.__cause__ = ConnectionResetError()
    found = failure_of(wrapped, Stage.CONNECT)
    assert found is not None
    assert found.reason is Reason.CONNECTION_CLOSED


def test_a_circle_of_causes_ends() -> None:
    error = RuntimeError()
    error.__cause__ = error
    assert failure_of(error, Stage.CONNECT) is None


def test_what_is_not_of_the_network_is_left_alone() -> None:
    assert failure_of(KeyError("x"), Stage.CHECK) is None
    assert failure_of(OSError("who knows"), Stage.CHECK) is None
    assert failure_of(os_error(errno.EISDIR), Stage.CHECK) is None


def test_a_failure_stays_what_it_is() -> None:
    failure = Failure(Stage.CHECK, Reason.MALFORMED)
    assert failure_of(failure, Stage.CONNECT) is failure
