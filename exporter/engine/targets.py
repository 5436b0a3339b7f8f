"""Which targets a service's configuration and instances ask for, and the probes that are built for them."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from exporter.config.errors import ConfigError, Problem
from exporter.config.models import MemberSettings
from exporter.discovery.source import Instance
from exporter.probes import probe_types
from exporter.probing.probe import Probe, ProbeSettings, Scope, SharedClients, Target
from exporter.values import Address

__all__ = ["Wanted", "build", "trials", "wanted_targets"]

_ANYWHERE = Instance.at(Address("0.0.0.0", 1))  # noqa: S104 - nothing connects to it


class Wanted(NamedTuple):
    """A target that is asked for, and the settings of its probe."""

    target: Target
    settings: ProbeSettings


def wanted_targets(name: str, settings: MemberSettings, instances: Iterable[Instance]) -> Iterator[Wanted]:
    """List the targets of a service: one for each instance, or one for the whole, as each kind of probe wants it.

    What is terminating is none: it serves nobody, and that it fails says nothing.
    """
    known = tuple(instance for instance in instances if not instance.terminating)
    for kind, probe_settings in settings.probe_settings.items():
        probe = probe_types()[kind]
        labels = {**settings.labels, **probe_settings.labels}
        if not known and probe.needs_instances:
            continue
        if probe.scope is Scope.INSTANCE:
            for instance in known:
                target = Target(name, kind, instance.name, (instance.address,), labels, instance.labels, instance.uid)
                yield Wanted(target, probe_settings)
        else:
            yield Wanted(Target(name, kind, name, tuple(instance.address for instance in known), labels), probe_settings)


def trials(name: str, settings: MemberSettings, before: MemberSettings | None) -> Iterator[Wanted]:
    """List a target for each kind of probe whose settings are others than before, to see whether its probe can be built."""
    old = before.probe_settings if before is not None else {}
    for wanted in wanted_targets(name, settings, (_ANYWHERE,)):
        if old.get(wanted.target.probe) != wanted.settings:
            yield wanted


def build(wanted: Wanted, shared: SharedClients) -> Probe[Any]:
    """Build a probe. Blocking: it may read certificates.

    Raises:
        ConfigError: A file that the settings name cannot be used.
    """
    target, settings = wanted
    try:
        return probe_types()[target.probe](target, settings, shared)
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
        name = getattr(error, "filename", None)
        text = f"{name}: {reason}" if name else str(reason)
        raise ConfigError([Problem(f"{target.service}/{target.probe}", 0, 0, "", text)]) from error
