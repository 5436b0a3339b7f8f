"""What a service's own health says of what it needs: its components, and in which dependency each lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporter.actuator.health_samples import COMPONENT_UP
from exporter.diagnosis.facts import clean
from exporter.diagnosis.model import Member
from exporter.verdict import Verdict

__all__ = ["ailing", "ailing_itself", "is_database", "lies_in", "shared_name"]

MOST = 20
"""Components of a service that are looked at."""

_OWN = frozenset({"diskspace", "ping", "livenessstate", "readinessstate", "refreshscope", "ssl", "process"})
"""Components that speak of the process or its machine, and of nothing that services share."""

_WORDS: Mapping[str, frozenset[str]] = {
    "postgres": frozenset({"db", "datasource", "r2dbc", "jdbc", "postgres", "postgresql", "hikari", "flyway"}),
    "redis": frozenset({"redis", "valkey", "reactiveredis"}),
    "kafka": frozenset({"kafka"}),
    "oidc": frozenset({"keycloak", "oauth2", "oidc", "jwt", "identityprovider"}),
}
"""By kind of probe, what components that speak of such a dependency are called."""


def ailing(member: Member) -> tuple[str, ...]:
    """Return the components that are down, contain no others, and may speak of what others share, by their names."""
    return tuple(path for path in _ailing(member) if not _is_own(path))[:MOST]


def ailing_itself(member: Member) -> tuple[str, ...]:
    """Return the components that are down and speak of the process or its machine: `readinessState`, `diskSpace`."""
    return tuple(path for path in _ailing(member) if _is_own(path))[:MOST]


def _is_own(path: str) -> bool:
    return path.rpartition("/")[2].lower() in _OWN


def _ailing(member: Member) -> list[str]:
    """Return the components that are down and contain no others, in the order of their names."""
    down: set[str] = set()
    parents: set[str] = set()
    for reading in member.readings(COMPONENT_UP):
        path = reading.labels.get("component", "")
        parents.add(path.rpartition("/")[0])
        if reading.value == 0:
            down.add(path)
    return sorted(down - parents)


def is_database(path: str) -> bool:
    """Say whether a component speaks of a database, which is reached through a pool."""
    return not _WORDS["postgres"].isdisjoint(_segments(path))


def lies_in(path: str, member: Member, members: Mapping[str, Member]) -> str | None:
    """Return the configured dependency that a component of a service speaks of, or None where that cannot be told.

    One of that name is it; else, of what the service needs, the one of that kind; where it needs none, the one that there
    is, unless that is well: then the service has another.
    """
    segments = _segments(path)
    named = [name for name in (*member.needs, *members) if name in segments and name in members and name != member.name]
    if named:
        return named[0]
    kind = next((kind for kind, words in _WORDS.items() if not words.isdisjoint(segments)), None)
    if kind is None:
        return None
    needed = [name for name in member.needs if name in members and kind in members[name].kinds]
    if len(needed) > 1:
        needed = [name for name in needed if members[name].verdict is not Verdict.UP]
    elif not needed:
        needed = list(_only(kind, members))
    return needed[0] if len(needed) == 1 else None


def shared_name(path: str) -> str:
    """Return what to call the dependency of a component that no configured one fits: `db` of `db/primary`."""
    for segment in path.split("/"):
        if any(segment.lower() in words for words in _WORDS.values()):
            return clean(segment)
    return clean(path.rpartition("/")[2] or path)


def _only(kind: str, members: Mapping[str, Member]) -> Iterator[str]:
    there = [name for name, member in members.items() if kind in member.kinds]
    if len(there) == 1 and members[there[0]].verdict is not Verdict.UP:
        yield there[0]


def _segments(path: str) -> frozenset[str]:
    return frozenset(path.lower().split("/"))
