"""The kinds of probe, one file each. Dropping a file in here adds a kind; there is no list to edit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.probing.probe import Probe

__all__ = ["probe_types"]


class _Kinds(Mapping[str, "type[Probe[Any]]"]):
    """The kinds by name. Names are those of the files; a file and its libraries are imported when it is asked for."""

    def __init__(self) -> None:
        self._found: dict[str, type[Probe[Any]] | None] = dict.fromkeys(sorted(each.name for each in iter_modules(__path__)))

    def __getitem__(self, kind: str) -> type[Probe[Any]]:
        probe = self._found[kind]
        if probe is None:
            probe = self._found[kind] = _imported(kind)
        return probe

    def __contains__(self, kind: object) -> bool:
        return kind in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


@cache
def probe_types() -> Mapping[str, type[Probe[Any]]]:
    """Return every kind of probe by name: the `PROBE` of each module in this package, imported when it is looked up.

    A look-up raises:
        RuntimeError: The module names no probe, or one whose kind is not the module's name.
    """
    return _Kinds()


def _imported(kind: str) -> type[Probe[Any]]:
    probe: type[Probe[Any]] | None = getattr(import_module(f"{__name__}.{kind}"), "PROBE", None)
    if probe is None or probe.kind != kind:
        raise RuntimeError(f"exporter/probes/{kind}.py must name its probe PROBE, with kind {kind!r}")
    return probe
