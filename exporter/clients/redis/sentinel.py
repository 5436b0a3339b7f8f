"""SENTINEL: which masters a Sentinel watches, where they are, and whether it could bring a failover about."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from exporter.clients.redis.connection import Connection
from exporter.clients.redis.fields import Fields
from exporter.clients.redis.resp import Answer, ServerError
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_WATCHED", "Watched", "read_watched"]

MAX_WATCHED = 50
"""Masters of a Sentinel that are read; each takes two questions."""

_LONGEST_NAME = 255
_USABLE = re.compile(r"(?:OK|NOQUORUM) (\d{1,6}) usable Sentinels")
_DOWN = frozenset({"s_down", "o_down"})


@dataclass(frozen=True, slots=True)
class Watched:
    """A master with its replicas, as one Sentinel sees them.

    Attributes:
        name: What the Sentinel calls them.
        address: Where it tells clients that the master is.
        up: Whether it can reach the master.
        failing_over: Whether a failover is under way.
        replicas: Replicas that it knows, those that are gone too.
        replicas_ok: Those of them that it reaches and that are connected to their master.
        masters: Of the master and its replicas, those that it reaches and that say they are a master: more than one, once a
            failover is over, is a split brain.
        sentinels: Sentinels that it knows to watch it, itself included.
        quorum: Sentinels that must agree that the master is down.
        usable: Sentinels that it reaches, itself included; None where it does not say.
        quorum_reached: Whether these are enough for the quorum, and for the majority that a failover needs.
    """

    name: str
    address: str
    up: bool
    failing_over: bool
    replicas: int
    replicas_ok: int
    masters: int
    sentinels: float
    quorum: float
    usable: float | None
    quorum_reached: bool


async def read_watched(connection: Connection) -> AsyncIterator[Watched]:
    """Ask a Sentinel for all that it watches, one after the other.

    Raises:
        Failure, OSError: As for `Connection.ask`; `malformed` where an answer cannot be read; `too_large` after
            `MAX_WATCHED`, where there are more; `query_failed` where there is none. What lies in one master is raised once
            the others are read.
    """
    masters = _tables("SENTINEL MASTERS", await connection.ask("SENTINEL", "MASTERS"))
    if not masters:  # as after a start without its configuration: it answers, and nobody would fail anything over
        raise Failure(Stage.CHECK, Reason.QUERY_FAILED, "it watches no master: SENTINEL MONITOR gives it one")
    failure: Failure | None = None
    for master in masters[:MAX_WATCHED]:
        try:
            watched = await _read(connection, master)
        except Failure as refused:
            if not isinstance(refused, ServerError) and refused.reason is not Reason.MALFORMED:
                raise
            failure = failure or refused
        else:
            yield watched
    if failure is not None:
        raise failure
    if len(masters) > MAX_WATCHED:
        raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"{len(masters)} masters, of which {MAX_WATCHED} were read")


async def _read(connection: Connection, master: Fields) -> Watched:
    name = master.text("name") or ""
    if not 0 < len(name) <= _LONGEST_NAME or "\ufffd" in name:
        raise Failure(Stage.CHECK, Reason.MALFORMED, "SENTINEL MASTERS: a master without a name that can be told")
    replicas = _tables("SENTINEL REPLICAS", await connection.ask("SENTINEL", "REPLICAS", name))
    usable, reached = await _quorum(connection, name)
    flags = _flags(master)
    return Watched(
        name=name,
        address=_address(master),
        up=flags.isdisjoint(_DOWN),
        failing_over="failover_in_progress" in flags,
        replicas=len(replicas),
        replicas_ok=sum(_reached(each) and each.text("master-link-status") == "ok" for each in replicas),
        masters=sum(_reached(each) and each.text("role-reported") == "master" for each in (master, *replicas)),
        sentinels=(master.number("num-other-sentinels") or 0.0) + 1,
        quorum=master.number("quorum") or 0.0,
        usable=usable,
        quorum_reached=reached,
    )


async def _quorum(connection: Connection, name: str) -> tuple[float | None, bool]:
    """Return how many Sentinels can be used, and whether these are enough."""
    try:
        answer = await connection.ask("SENTINEL", "CKQUORUM", name)
    except ServerError as error:
        if not error.detail.startswith("NOQUORUM"):
            raise
        reached, text = False, error.detail
    else:
        reached, text = True, answer.decode("utf-8", "replace") if isinstance(answer, bytes) else ""
    found = _USABLE.match(text)
    return float(found[1]) if found is not None else None, reached


def _flags(instance: Fields) -> frozenset[str]:
    return frozenset((instance.text("flags") or "").split(","))


def _reached(instance: Fields) -> bool:
    return _flags(instance).isdisjoint({*_DOWN, "disconnected"})


def _address(instance: Fields) -> str:
    host, port = instance.text("ip") or "", instance.text("port") or ""
    text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if len(text) > 300 or not text.isprintable():
        raise Failure(Stage.CHECK, Reason.MALFORMED, "SENTINEL MASTERS: an address that is none")
    return text


def _tables(source: str, answer: Answer) -> list[Fields]:
    """Read an array of instances, each an array of names and values in turn."""
    if not isinstance(answer, list):
        raise Failure(Stage.CHECK, Reason.MALFORMED, f"the answer to {source} is not an array")
    return [Fields(source, _pairs(source, instance)) for instance in answer]


def _pairs(source: str, instance: Answer) -> Mapping[str, str]:
    words = instance if isinstance(instance, list) else ()
    texts = [word.decode("utf-8", "replace") for word in words if isinstance(word, bytes)]
    if not texts or len(texts) != len(words) or len(texts) % 2:
        raise Failure(Stage.CHECK, Reason.MALFORMED, f"{source}: an instance is not names and values")
    return dict(zip(texts[::2], texts[1::2], strict=True))
