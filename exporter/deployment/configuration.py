"""The fleet's configuration as it is in a cluster: config/exporter.yml with instances found by their labels."""

from __future__ import annotations

import re
from enum import StrEnum

__all__ = ["Mode", "in_cluster", "sharing"]

PEERS = "hafnium-exporter-peers"
"""The headless Service that has every exporter behind it, ready or not."""

_INSTANCES = re.compile(r'instances: \{dns: "([a-z-]+)-service\.\$\{NAMESPACE:-hafnium\}\.svc", port: (\d+), refresh: 15s\}')
_ACTUATOR = """\
    actuator: # under every use of this kind
      groups: [liveness, readiness]
"""
SKIP = "    kubernetes: {skip: [nodes]} # nodes are in no namespace: without this line it needs the ClusterRole for them\n"
"""What the configuration has while nodes may not be read."""
_PROBES = "probes: &spring {actuator: {}}"
_DNS = re.compile(r"# A DNS name stands for.*\n# (`min_ready` instances must be up)")


class Mode(StrEnum):
    """How many exporters there are, and how they share their work."""

    SINGLE = "single"
    """One."""
    LEADER = "leader"
    """Several, of which one leads."""
    SHARDS = "shards"
    """Several, each with a part of the services."""


def in_cluster(text: str) -> str:
    """Make of the fleet's configuration the one for a cluster; comments stay.

    Raises:
        ValueError: The text is not as this function knows it: both are changed together.
    """
    section = "kubernetes: {} # by the pod's service account, in its own namespace\n\nlimits:"
    changes = (
        (_INSTANCES, r'instances: {kubernetes: {selector: "app=\1-service,tier=backend", port: \2}}', 8),
        (re.compile(re.escape(_PROBES)), "probes: &spring {actuator: {}, kubernetes: {}}", 1),
        (_DNS, r"# Every pod that has the labels is an instance.\n# \1", 1),
        (re.compile(r"^limits:$", re.MULTILINE), section, 1),
        (re.compile(re.escape(_ACTUATOR)), _ACTUATOR + SKIP, 1),
        (re.compile(r"^# yaml-language-server.*\n#\n"), "", 1),
    )  # fmt: skip
    for pattern, replacement, times in changes:
        text, found = pattern.subn(replacement, text)
        if found != times:
            raise ValueError(f"config/exporter.yml has {found} of {pattern.pattern!r}, not {times}")
    return text


def sharing(mode: Mode) -> str:
    """Return what a mode adds to the end of a configuration."""
    if mode is Mode.SINGLE:
        return ""
    head = "\n# Several exporters run: see docs/kubernetes.md.\nsharing:\n"
    if mode is Mode.SHARDS:
        return (
            head
            + '  shards: {count: "${SHARDS}"} # as many as the StatefulSet has replicas; each knows its own by its number\n'
        )
    return head + "\n".join(
        (
            "  lease:",
            f'    peers: {{dns: "{PEERS}.${{NAMESPACE}}.svc"}} # asked while the API server cannot be reached',
            "",
        )
    )
