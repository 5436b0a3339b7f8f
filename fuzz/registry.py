"""The targets by name, and which modules have none, with the reason."""

from __future__ import annotations

from fuzz.model import Target
from fuzz.targets import files, http, identity, kafka, kubernetes, postgres, redis, spring, web, words

__all__ = ["READS_NOTHING", "TARGETS"]

TARGETS: dict[str, Target] = {
    target.name: target
    for group in (spring, redis, postgres, kafka, http, identity, kubernetes, files, web, words)
    for target in group.TARGETS
}

READS_NOTHING = {
    "exporter.clients.kafka.brokers": "asks brokers side by side, whatever they are asked",
    "exporter.clients.kafka.cluster": "puts together what the others have read",
    "exporter.clients.kafka.group_reading": "puts together what the others have read",
    "exporter.clients.kafka.pool": "keeps connections",
    "exporter.clients.kafka.progress": "follows numbers that were read",
    "exporter.clients.kafka.seeking": "goes by what groups.py has read",
    "exporter.clients.kafka.verdicts": "is a list of words",
    "exporter.clients.kubernetes.access": "reads what the operator has configured",
    "exporter.clients.kubernetes.cluster": "puts together what the others have read",
    "exporter.clients.kubernetes.followers": "follows objects that were read",
    "exporter.clients.kubernetes.incluster": "reads files that the kubelet has written",
    "exporter.clients.kubernetes.kubeconfig": "asks a process of its own, which reads the operator's file",
    "exporter.clients.kubernetes.kubeconfig_reader": "reads the operator's file by the official client's loader",
    "exporter.clients.kubernetes.oom": "follows pods that were read",
    "exporter.clients.kubernetes.permissions": "is a table",
    "exporter.clients.kubernetes.resources": "is a table",
}
"""Modules of exporter/clients/ without a target of their own."""
