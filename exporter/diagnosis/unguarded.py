"""Why what Sentinels watch is not well: two masters, a master that is down, too few Sentinels to fail one over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from exporter.diagnosis import causes
from exporter.diagnosis.facts import MOST, evidence
from exporter.diagnosis.model import Confidence, Diagnosis, Evidence, Member, Reading, Suspicion, Symptom
from exporter.metrics.family import Family
from exporter.redis import families as r

__all__ = ["why_unguarded"]

_Of = dict[str, list[Reading]]
"""Readings by the master that they are of."""


def why_unguarded(member: Member) -> Diagnosis | None:
    """Return what is wrong with the masters that its Sentinels watch; None where nothing is.

    What each Sentinel that tells of a master says alike is certain. What some say and others do not may lie in their way to
    it, or be a failover that not all have heard of yet.
    """
    found = [*_split(member), *_down(member), *_too_few(member)]
    if not found:
        return None
    found.sort(key=lambda each: each.confidence is not Confidence.HIGH)  # those of a kind stay as they are
    return Diagnosis(member.name, Symptom.UNGUARDED, tuple(_of_one_kind(found)))


def _of_one_kind(found: Sequence[Suspicion]) -> Iterator[Suspicion]:
    """Make one suspicion of those of one cause, of several masters."""
    for cause in dict.fromkeys(each.cause for each in found):
        these = [each for each in found if each.cause is cause]
        yield Suspicion(cause, "", these[0].confidence, tuple(seen for each in these for seen in each.evidence)[:MOST])


def _split(member: Member) -> Iterator[Suspicion]:
    for name, told in _by_master(member, r.SENTINEL_MASTERS).items():
        most = max(reading.value for reading in told)
        if most > 1:
            seen = evidence(f"masters of {name} that a Sentinel reaches", most, r.SENTINEL_MASTERS, member.name, _is(name))
            yield Suspicion(causes.SPLIT_BRAIN, "", _sure(told, sum(reading.value > 1 for reading in told)), (seen,))


def _down(member: Member) -> Iterator[Suspicion]:
    for name, told in _by_master(member, r.SENTINEL_UP).items():
        saying = [reading for reading in told if not reading.value]
        addresses = Counter(_address(member, name, reading) for reading in saying)
        seen = tuple(
            evidence(f"Sentinels that hold the master {name}{at} to be down", count, r.SENTINEL_UP, member.name, _is(name))
            for at, count in sorted(addresses.items())
        )
        if seen:
            yield Suspicion(causes.MASTER_DOWN, "", _sure(told, len(saying)), seen)


def _too_few(member: Member) -> Iterator[Suspicion]:
    for name, told in _by_master(member, r.SENTINEL_QUORUM_OK).items():
        saying = sum(not reading.value for reading in told)
        if saying:
            yield Suspicion(causes.QUORUM_LOST, "", _sure(told, saying), tuple(_sentinels(member, name, saying)))


def _sentinels(member: Member, name: str, saying: int) -> Iterator[Evidence]:
    text = f"Sentinels of {name} that reach too few others"
    yield evidence(text, saying, r.SENTINEL_QUORUM_OK, member.name, _is(name))
    for state in ("usable", "known"):
        most = member.highest(r.SENTINEL_SENTINELS, master=name, state=state)
        if most is not None:
            labels = {**_is(name), "state": state}
            yield evidence(f"Sentinels of {name} that are {state}", most.value, r.SENTINEL_SENTINELS, member.name, labels)


def _by_master(member: Member, family: Family) -> _Of:
    found: _Of = {}
    for reading in member.readings(family):
        found.setdefault(reading.labels["master"], []).append(reading)
    return found


def _address(member: Member, name: str, reading: Reading) -> str:
    """Return where the Sentinel that a reading is of tells that the master is; empty where it does not."""
    told = member.readings(r.SENTINEL_ADDRESS, master=name, target=reading.labels["target"])
    return f" at {told[0].labels['address']}" if told else ""


def _sure(told: Sequence[Reading], saying: int) -> Confidence:
    return Confidence.HIGH if saying == len(told) else Confidence.MEDIUM


def _is(name: str) -> dict[str, str]:
    return {"master": name}
