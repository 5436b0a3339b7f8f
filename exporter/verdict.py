"""The closed vocabulary of outcomes: verdicts, stages, reasons, and the failure that carries them.

Every failed attempt names one `Stage` (how far it got) and one `Reason` (what went wrong). Both lists are closed, so
they can be label values; free text stays in `Failure.detail`, which is shown to people and never becomes a label.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from exporter.masking import cut, mask_own
from exporter.visible import visible

__all__ = ["PROBER_FAULTS", "Failure", "Reason", "Stage", "Verdict"]


class Verdict(StrEnum):
    """What an attempt, a target or a service is held to be."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"
    """The prober is at fault or cannot tell: never a page, never a frozen value."""


class _Word(StrEnum):
    """A word of a closed list, with its meaning for people."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        word = str.__new__(cls, value)
        word._value_ = value
        word.meaning = meaning
        return word

    __hash__ = str.__hash__  # the words are keys of every attempt's phases; Enum's own hash is Python code


class Stage(_Word):
    """How far an attempt got before it ended; also the names of timed phases."""

    RESOLVE = "resolve", "Asking for the addresses of a name."
    CONNECT = "connect", "Opening the TCP connection."
    TLS = "tls", "The TLS handshake."
    AUTH = "auth", "Logging in, the protocol's handshake included."
    SEND = "send", "Writing the request."
    WAIT = "wait", "From the request's last byte to the answer's first."
    RECEIVE = "receive", "From the answer's first byte to its last."
    QUERY = "query", "A request and its answer, where the protocol's client does not tell them apart."
    CHECK = "check", "The answer arrived whole, and what it says decided."
    INTERNAL = "internal", "Inside the prober, before or beside the network."


class Reason(_Word):
    """Why an attempt failed."""

    # The target's side: these make an attempt down.
    DNS_NOT_FOUND = "dns_not_found", "The name does not exist, or has no address."
    CONNECT_REFUSED = "connect_refused", "Nobody listens on the port."
    CONNECT_TIMEOUT = "connect_timeout", "No connection before the deadline."
    UNREACHABLE = "unreachable", "The network has no way to the host, or the host said so."
    CONNECTION_CLOSED = "connection_closed", "The other side closed or reset the connection."
    TIMEOUT = "timeout", "No whole answer before the deadline."
    TLS_EXPIRED = "tls_expired", "A certificate has expired."
    TLS_NOT_YET_VALID = "tls_not_yet_valid", "A certificate is not valid yet: a wrong clock, or one from the future."
    TLS_UNTRUSTED = "tls_untrusted", "The chain does not lead to a trusted root."
    TLS_NAME_MISMATCH = "tls_name_mismatch", "The certificate is for another name."
    TLS_FAILED = "tls_failed", "The handshake failed in another way."
    HTTP_STATUS = "http_status", "An HTTP status that is not success, without an answer that says more."
    REDIRECT = "redirect", "A redirect, which is not followed."
    PROTOCOL = "protocol", "The answer breaks the protocol, or is of another."
    MALFORMED = "malformed", "The answer cannot be read."
    TOO_LARGE = "too_large", "The answer is larger than is read."
    REPORTED_DOWN = "reported_down", "The target says of itself that it is down."
    STARTING = "starting", "The target is starting or stopping, and serves nobody."
    TOO_MANY_CONNECTIONS = "too_many_connections", "The target has no connection left."
    QUERY_FAILED = "query_failed", "The target answered a query with an error."
    NO_LEADER = "no_leader", "A Kafka partition or group has no broker that answers for it."
    NO_INSTANCES = "no_instances", "The service has no instance."

    # The prober's side, or no way to tell: these make an attempt unknown.
    PROBER_DNS = "prober_dns", "The resolver does not answer."
    PROBER_DESCRIPTORS = "prober_descriptors", "The exporter has no file descriptor left."
    PROBER_MEMORY = "prober_memory", "The exporter, or its kernel, has no memory left."
    PROBER_NETWORK = "prober_network", "The exporter's own network is down, or has no port left."
    PROBER_LOOP_LAG = "prober_loop_lag", "The exporter stood still for so long that a timeout says nothing."
    AUTH = "auth", "The target refuses the exporter's credentials."
    CREDENTIALS = "credentials", "The exporter cannot read its credentials."
    NOT_ALLOWED = "not_allowed", "An address that it was sent to, or a way to log in, that its settings do not let it take."
    INTERNAL = "internal", "A defect of the exporter; its log says more."
    API_UNREACHABLE = "api_unreachable", "The API server that would tell cannot be asked: nothing is known of the target."
    NOT_DISCOVERED = "not_discovered", "The instances of the service have never been known."
    NOT_BUILT = "not_built", "The probes that the service asks for cannot be made, as when a certificate file has gone."
    NOT_YET_PROBED = "not_yet_probed", "No attempt has ended yet."
    UNCONFIRMED = "unconfirmed", "The first attempts failed, too few to call it down."
    STALE = "stale", "No attempt has ended for three intervals."


PROBER_FAULTS = frozenset(
    {
        Reason.PROBER_DNS,
        Reason.PROBER_DESCRIPTORS,
        Reason.PROBER_MEMORY,
        Reason.PROBER_NETWORK,
        Reason.PROBER_LOOP_LAG,
        Reason.AUTH,
        Reason.CREDENTIALS,
        Reason.NOT_ALLOWED,
        Reason.INTERNAL,
        Reason.API_UNREACHABLE,
        Reason.NOT_DISCOVERED,
        Reason.NOT_BUILT,
        Reason.NOT_YET_PROBED,
        Reason.UNCONFIRMED,
        Reason.STALE,
    }
)
"""Reasons that leave the verdict unknown.

`AUTH` is here because credentials that a server rejects are the prober's own until proven otherwise: a rotated monitoring
password must not page for a database that serves everyone else.
"""


class Failure(Exception):  # noqa: N818 - it says what was found, it is not an error of the program
    """An attempt that did not come out up.

    Args:
        stage: How far the attempt got.
        reason: What went wrong; decides between down and unknown.
        detail: One line for people: bounded, without secrets. Never a label value. What a terminal would obey is marked.
    """

    MAX_DETAIL = 300

    def __init__(self, stage: Stage, reason: Reason, detail: str = "") -> None:
        super().__init__(detail)
        self.stage = stage
        self.reason = reason
        self.detail = visible(mask_own(" ".join(cut(detail, 4 * self.MAX_DETAIL).split())))[: self.MAX_DETAIL]

    @property
    def verdict(self) -> Verdict:
        """Down, or unknown where the reason lies with the prober."""
        return Verdict.UNKNOWN if self.reason in PROBER_FAULTS else Verdict.DOWN

    def bare(self) -> Failure:
        """Return it without where it was raised and what led to it, which hold on to all that the code there had in hand."""
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self

    def __str__(self) -> str:
        return f"{self.stage}: {self.reason}" + (f": {self.detail}" if self.detail else "")
