"""The kinds of probe, one file each. Dropping a file in here adds a kind; there is no list to edit."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.probing.probe import Probe

__all__ = ["probe_types"]


@cache
def probe_types() -> Mapping[str, type[Probe[Any]]]:
    """Return every kind of probe by name: the `PROBE` of each module in this package.

    Raises:
        RuntimeError: A module names no probe, or one whose kind is not the module's name.
    """
    found: dict[str, type[Probe[Any]]] = {}
    for module in sorted(iter_modules(__path__), key=lambda item: item.name):
        probe = getattr(import_module(f"{__name__}.{module.name}"), "PROBE", None)
        if probe is None or probe.kind != module.name:
            raise RuntimeError(f"exporter/probes/{module.name}.py must name its probe PROBE, with kind {module.name!r}")
        found[module.name] = probe
    return MappingProxyType(found)
