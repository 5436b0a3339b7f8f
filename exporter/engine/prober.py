"""Whether what is seen may be the prober's own doing: what people ask first when everything fails at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field

from exporter.engine.service import ServiceState
from exporter.engine.view import View
from exporter.verdict import Reason, Verdict

__all__ = ["Blindness", "ProberView", "prober_steps", "prober_view"]

STALL = 1.0
"""Seconds for which the event loop may have stood still lately."""

_SHARE = 0.5
"""Share of the targets, of which nothing can be told for a reason of the prober's own, from which on it is blind."""

_LEAST = 3
"""Services and dependencies that must all be out of reach for that to be held against the prober."""

_OWN = {
    Reason.PROBER_DNS: "its resolver does not answer",
    Reason.PROBER_DESCRIPTORS: "it has no file descriptor left",
    Reason.PROBER_MEMORY: "it has no memory left",
    Reason.PROBER_NETWORK: "its own network is down",
    Reason.PROBER_LOOP_LAG: "it stood still",
}

_OUT_OF_REACH = frozenset({Reason.CONNECT_TIMEOUT, Reason.UNREACHABLE, Reason.DNS_NOT_FOUND})
"""What a network that is cut off looks like from within."""


class Blindness(StrEnum):
    """How far the prober can be believed."""

    SEES = "sees"
    PARTLY = "partly"
    DOUBTFUL = "doubtful"
    BLIND = "blind"


class ProberView(View):
    """Whether it is the prober: how it does itself."""

    sight: Blindness = Field(
        description="Whether it sees; partly: not all targets; doubtful: nothing can be reached at all, which may be its "
        "own network; blind: of most it cannot tell, for reasons of its own, or it stood still."
    )
    text: str = Field(description="The same in a sentence.")
    untold: int = Field(description="Targets of which it cannot tell anything for a reason of its own.")
    targets: int = Field(description="All targets.")
    reasons: dict[str, int] = Field(description="Why it cannot, and of how many.")
    longest_stall: float = Field(description="Longest time that it stood still in the last 15 s, seconds.")
    kept_connections: int = Field(description="Connections that it keeps open between attempts.")
    descriptor_limit: int = Field(description="Most file descriptors that it may have open.")


def prober_view(services: Iterable[ServiceState], stall: float, kept: int, limit: int) -> ProberView:
    """Judge the prober by what it says of the fleet.

    Args:
        services: All services and dependencies.
        stall: Longest stall of its event loop lately, seconds.
        kept: Connections that it keeps.
        limit: Of its file descriptors.
    """
    own: Counter[Reason] = Counter()
    targets, unreached, known = 0, 0, 0
    for service in services:
        targets += len(service.targets)
        for reason, count in service.reasons_unknown.items():
            if reason in _OWN:
                own[reason] += count
        known += 1
        unreached += service.verdict is Verdict.DOWN and _OUT_OF_REACH.issuperset(service.reasons_down)
    sight, text = _judged(own, targets, known if unreached == known else 0, stall)
    return ProberView(
        sight=sight,
        text=text,
        untold=own.total(),
        targets=targets,
        reasons={reason.value: count for reason, count in own.most_common()},
        longest_stall=stall,
        kept_connections=kept,
        descriptor_limit=limit,
    )


def _judged(own: Counter[Reason], targets: int, unreached: int, stall: float) -> tuple[Blindness, str]:
    untold = own.total()
    why = " and ".join(_OWN[reason] for reason, _ in own.most_common(2))
    if untold and untold >= _SHARE * targets:
        return Blindness.BLIND, f"Yes: of {untold} of {targets} targets the exporter cannot tell anything, since {why}."
    if stall >= STALL:
        return (
            Blindness.BLIND,
            f"Perhaps: the exporter stood still for {stall:.1f} s just now: overloaded, or starved.",
        )
    if unreached >= _LEAST:
        return Blindness.DOUBTFUL, (
            f"Perhaps: none of {unreached} services can be reached at all. That is how it looks when the exporter's own "
            "network is cut off."
        )
    if untold:
        return Blindness.PARTLY, f"In part: of {untold} of {targets} targets the exporter cannot tell anything, since {why}."
    return Blindness.SEES, "No: the exporter is well."


_STEPS = {
    Reason.PROBER_DNS: "Ask the name server from where the exporter runs: `getent hosts NAME`; in a cluster: CoreDNS",
    Reason.PROBER_DESCRIPTORS: "Raise its limit of open files: `LimitNOFILE` of the unit, or of the container runtime",
    Reason.PROBER_MEMORY: "Look at its host's memory, and at the limit of its container",
    Reason.PROBER_NETWORK: "Look at its host's network: `ip route`, `ss -s`; ports may have run out",
    Reason.PROBER_LOOP_LAG: "Look at its CPU: throttled by a limit, or a host that is overloaded",
}


def prober_steps(prober: ProberView) -> list[str]:
    """Return what to look at first, one line each."""
    steps = [_STEPS[reason] for reason in _STEPS if reason.value in prober.reasons]
    if prober.sight is Blindness.DOUBTFUL:
        steps = [_STEPS[Reason.PROBER_NETWORK]]
    if prober.longest_stall >= STALL and Reason.PROBER_LOOP_LAG.value not in prober.reasons:
        steps.append(_STEPS[Reason.PROBER_LOOP_LAG])
    return [*steps, "Ask another exporter, or one target by hand from elsewhere, before anybody is woken up for a target"]
