"""docs/diagnosis.md: how causes are found, and all that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator

from exporter.diagnosis.causes import CAUSES
from exporter.diagnosis.model import Cause

__all__ = ["diagnosis_reference"]

_TEXT = """\
What is down, slow, lagging or unguarded is given its likely causes, from verdicts and facts alone and always the same ones
from the same. Nothing is asked for it but what is probed anyway, only sooner.

| series | meaning |
|---|---|
| `probe_suspected_cause{service,cause,dependency}` | a likely cause, and what it lies in; empty: the service itself |
| `probe_suspected_cause_evidence{service,cause,dependency,evidence}` | what speaks for it: the value that was seen |
| `probe_suspected_lag_cause{service,group,cause}` | a likely cause of a consumer group's lag |
| `probe_incident{service,incident}` | the incident that the service's page belongs to, named after the root cause |

## How a cause is found

- **Down.** Who needs what is a graph of any depth. What is down and needs something that is down is a symptom; the cause is
  what lies at the end (`dependency_down`). In a circle of which no way leads out, each may be it.
- What was down already while what it needs was well, for a minute or more, is down for a cause of its own, which comes
  first; that what it needs is down by now comes after it. Unless it says itself that this is what is down. An exporter that
  was restarted since does not know what was down before what.
- A health component that is down although its dependency answers the exporter: the pool, if threads wait or it is full
  (`pool_exhausted`), else network, credentials or client (`dependency_unreachable`).
- Two or more services with the same component down: that dependency, whether a probe of it is configured or not. Where its
  own probe says that it is up, they cannot reach it, and it is their incident even so. A component lies in the dependency of
  its name, else in that of its kind among what the service needs. Components that speak of the process itself (disk space,
  liveness …) are left out.
- What Kubernetes says of its pods: they cannot be created, have no node, no image, end again and again, or are killed for
  their memory. A crash loop of what needs something that is down is a symptom of that. It is sure where no pod is ready.
- What a Redis says of itself: its cluster does not serve (`cluster_down`); it refuses writes because it is at its
  limit of memory (`memory_limit`) or cannot save (`save_failing`).
- Else what the service's process says or said within the last minutes: a full heap (`memory_short`), restarts
  (`restarting`). Else the reason why its targets fail. Else `unknown`: nothing is guessed.
- **Slow**: the p99 is over the service's threshold. What it needs is slow or down, over any number of steps; its pool, its
  cache, garbage collection, instances that are missing; else `unknown`.
- **Lagging**: a consumer group is over the cluster's threshold, or behind with no member. The group `case-service` is taken
  to be of the service `case`.
- **Unguarded**: a Sentinel is up, and says that a master it watches is down (`master_down`), that there are two
  (`split_brain`), or that the Sentinels are too few for a failover (`quorum_lost`). It is certain where each Sentinel that
  answers says so.

## Incidents

The first failure that may bring a service down has all that it needs probed at once; something confirmed down has all that
it needs and all that needs it probed at once; a service that is first to blame a dependency which no probe calls down has
all services probed at once (at most four targets each, none more than once in two seconds). Then the incident is chosen: as
soon as all of these have answered, for all that has the same root at the same moment, and ten seconds after the service was
confirmed down at the latest. Of several roots it is the one that has been down longest, those last that it
did without for a minute, then the first by name.

It is kept while the service is down, also where that cannot be told for a while (the series is withdrawn meanwhile). When
the root has been up for 60 s and the service is still down, it is chosen anew: the service then stands for itself. It
follows from what is known alone, so an exporter that was restarted names the same.

## Causes

The label `cause`. *Confidence* is how far a suspicion goes where nothing more is said: high is seen directly, medium is
concluded, low means that nothing speaks for anything else.

*What to do* names what there is and nothing else. NAMESPACE, SELECTOR and the context are those of the service's own
`instances: {kubernetes: …}` or `probes: {kubernetes: …}`; a DNS name such as `identity-service.hafnium.svc` tells of a
Service and its namespace. WORKLOAD (`deployment/…`) and AUTOSCALER are what the cluster itself calls them, which the
kubernetes probe has seen. ASK is the command by which a person asks its first instance what its probe asks, such as
`psql … -c 'SELECT 1'`, and HANDSHAKE the one that shows its certificate; no password is in them. What is not known is told
in words, and of what is in no cluster nothing is said of kubectl.

A cause is one entry of `exporter/diagnosis/causes.py` and one rule in the file of its symptom.

| cause | of what is | meaning | confidence | what to do | runbook |
|---|---|---|---|---|---|
"""


def diagnosis_reference(mark: str) -> str:
    """Return the document.

    Args:
        mark: The line that says that it is generated.
    """
    rows = (" | ".join(cell.replace("|", r"\|") for cell in _cells(cause)) for cause in CAUSES.values())
    return f"# Diagnosis and incidents\n\n{mark}\n\n{_TEXT}" + "".join(f"| {row} |\n" for row in rows)


def _cells(cause: Cause) -> Iterator[str]:
    yield f"`{cause.name}`"
    yield ", ".join(symptom.value for symptom in cause.symptoms)
    yield _named(cause.meaning)
    yield cause.confidence.value
    yield _named("; ".join(step if isinstance(step, str) else step[0] for step in cause.steps))
    yield f"[{cause.section}](runbook.md#{cause.section})"


def _named(text: str) -> str:
    named = text.replace("{kubectl}", "kubectl")
    return re.sub(r"\{([a-z]+)\}", lambda found: found[1].upper(), named).replace("<", "&lt;")
