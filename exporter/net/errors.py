"""One table from operating-system, DNS and TLS errors to reasons.

The split that matters is between the target's side and the prober's own: running out of descriptors, memory or local
ports, or having no route at all, says nothing about the target.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl

from exporter.net.handshake import ClientCertificateRefused
from exporter.net.pool import is_no_thread
from exporter.verdict import PROBER_FAULTS, Failure, Reason, Stage

__all__ = ["failure_of"]

_ERRNO = {
    errno.ECONNREFUSED: Reason.CONNECT_REFUSED,
    errno.ECONNRESET: Reason.CONNECTION_CLOSED,
    errno.ECONNABORTED: Reason.CONNECTION_CLOSED,
    errno.EPIPE: Reason.CONNECTION_CLOSED,
    errno.ETIMEDOUT: Reason.CONNECT_TIMEOUT,
    errno.EHOSTUNREACH: Reason.UNREACHABLE,
    errno.EHOSTDOWN: Reason.UNREACHABLE,
    errno.ENOENT: Reason.CONNECT_REFUSED,  # a Unix socket that is not there
    errno.EMFILE: Reason.PROBER_DESCRIPTORS,
    errno.ENFILE: Reason.PROBER_DESCRIPTORS,
    errno.ENOMEM: Reason.PROBER_MEMORY,
    errno.ENOBUFS: Reason.PROBER_MEMORY,
    errno.EAFNOSUPPORT: Reason.PROBER_NETWORK,  # IPv6, on a kernel without it
    errno.EADDRNOTAVAIL: Reason.PROBER_NETWORK,
    errno.EADDRINUSE: Reason.PROBER_NETWORK,
    errno.ENETUNREACH: Reason.PROBER_NETWORK,
    errno.ENETDOWN: Reason.PROBER_NETWORK,
    errno.EPERM: Reason.PROBER_NETWORK,
    errno.EACCES: Reason.PROBER_NETWORK,
}

_X509_NOT_YET_VALID, _X509_EXPIRED = 9, 10
_X509_NAME = {62, 63, 64}  # host name, e-mail, IP address mismatch
_TLS_TEXT = re.compile(r"\[SSL: ([A-Z0-9_]+)\]")
_ERRNO_TEXT = re.compile(r"\[Errno (\d+)\]")
_CERTIFICATE_ALERT = re.compile(
    r"ALERT_(?:CERTIFICATE|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|NO_CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)"
    r"|CLIENT_CERTIFICATE_REFUSED"
)
_CLASSES: tuple[tuple[type[OSError], Reason], ...] = (
    (ConnectionRefusedError, Reason.CONNECT_REFUSED),
    (ConnectionError, Reason.CONNECTION_CLOSED),
)
_DNS_MISSING = {socket.EAI_NONAME, socket.EAI_NODATA}


def failure_of(error: BaseException, stage: Stage) -> Failure | None:
    """Name what went wrong, or return None for an error that is not of the network.

    Args:
        error: What was raised; `__cause__` is followed, since client libraries wrap.
        stage: The stage under way.
    """
    seen: BaseException | None = error
    for _ in range(5):
        if seen is None:
            break
        found = _failure_of_one(seen, stage)
        if found is not None:
            return found
        seen = seen.__cause__
    if stage is Stage.CONNECT and isinstance(error, OSError):
        return Failure(stage, Reason.UNREACHABLE, error.strerror or str(error))
    return None


def _failure_of_one(error: BaseException, stage: Stage) -> Failure | None:  # noqa: PLR0911 - a table of types
    if isinstance(error, Failure):
        return error
    if isinstance(error, TimeoutError) and getattr(error, "errno", None) is None:
        return Failure(stage, timeout_reason(stage), "no answer within the deadline")
    if isinstance(error, socket.gaierror):
        missing = error.errno in _DNS_MISSING
        return Failure(Stage.RESOLVE, Reason.DNS_NOT_FOUND if missing else Reason.PROBER_DNS, error.strerror or "")
    if isinstance(error, ssl.SSLError):
        return Failure(Stage.TLS, _tls_reason(error), _tls_detail(error))
    if isinstance(error, asyncio.IncompleteReadError | EOFError):
        return Failure(stage, Reason.CONNECTION_CLOSED, "the connection was closed before the answer was whole")
    if isinstance(error, MemoryError):
        return Failure(Stage.INTERNAL, Reason.PROBER_MEMORY, "out of memory")
    if is_no_thread(error):
        return Failure(Stage.INTERNAL, Reason.PROBER_MEMORY, "no thread can be started")
    if isinstance(error, OSError):
        return _of_os_error(error, stage)
    return None


def timeout_reason(stage: Stage) -> Reason:
    """Say what a timeout in this stage means: a resolver that does not answer is the prober's, not the target's."""
    match stage:
        case Stage.RESOLVE:
            return Reason.PROBER_DNS
        case Stage.CONNECT:
            return Reason.CONNECT_TIMEOUT
        case _:
            return Reason.TIMEOUT


def _of_os_error(error: OSError, stage: Stage) -> Failure | None:
    text = error.strerror or str(error)
    tls = _TLS_TEXT.match(text)
    if tls is not None:  # re-raised as a plain OSError, whose errno is then of OpenSSL
        return Failure(Stage.TLS, _alert_reason(tls[1]), _in_words(tls[1]))
    reason = _ERRNO.get(error.errno) if error.errno is not None else _reason_without_errno(error, text)
    if reason is None:
        return None
    if error.errno in _ERRNO:
        text = os.strerror(error.errno)  # asyncio words it with the address, which is known
    if reason is Reason.CONNECT_TIMEOUT and stage is not Stage.CONNECT:
        reason = Reason.TIMEOUT
    return Failure(stage, reason, text)


def _reason_without_errno(error: OSError, text: str) -> Reason | None:
    """Name an error by its class, or by the errors of the several addresses that were tried."""
    for kind, reason in _CLASSES:
        if isinstance(error, kind):
            return reason
    reasons = [_ERRNO[int(number)] for number in _ERRNO_TEXT.findall(text) if int(number) in _ERRNO]
    # An address of the target that refuses says more than one that this host has no route to.
    return next((reason for reason in reasons if reason not in PROBER_FAULTS), reasons[0] if reasons else None)


def _tls_reason(error: ssl.SSLError) -> Reason:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _X509_EXPIRED:
            return Reason.TLS_EXPIRED
        if error.verify_code == _X509_NOT_YET_VALID:
            return Reason.TLS_NOT_YET_VALID
        return Reason.TLS_NAME_MISMATCH if error.verify_code in _X509_NAME else Reason.TLS_UNTRUSTED
    return _alert_reason(getattr(error, "reason", None) or "")  # the attribute is there only when OpenSSL gave one


def _alert_reason(reason: str) -> Reason:
    """An alert about a certificate is the server's, about the one that this client showed or lacks."""
    return Reason.AUTH if _CERTIFICATE_ALERT.search(reason) else Reason.TLS_FAILED


def _tls_detail(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ClientCertificateRefused):
        return error.words
    return _in_words(getattr(error, "reason", None) or str(error))


def _in_words(reason: str) -> str:
    return reason.replace("_", " ").lower()
