"""The process in which one target is fuzzed: `python -m fuzz.child FILE NAME MODULES [OPTION OF LIBFUZZER …]`.

It is a process of its own because libFuzzer ends it at a finding, and because what is fuzzed must be imported under
instrumentation, and nothing else, or each input would cost many times as much.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

import atheris
from atheris.import_hook import AtherisSourceFileLoader


class Instrumenting(MetaPathFinder):
    """Instruments modules, and what is in packages, by their whole names.

    Atheris's own way goes by the first part of a name: of one module of the exporter it makes all of it, and the inputs that
    are kept are those that reach something new in models and tables that read nothing.

    Args:
        names: Of the modules and packages.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self._packages = tuple(f"{name}." for name in names)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find a module that is to be instrumented; all others are found by who comes next."""
        if fullname not in self._names and not fullname.startswith(self._packages):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = AtherisSourceFileLoader(fullname, spec.loader.path, True)  # noqa: FBT003 - comparisons are traced too
        return spec


def main() -> None:
    """Import the target with what it covers instrumented, and hand over to libFuzzer."""
    _, file, name, modules, *options = sys.argv
    instrumented = modules.split(",")
    finder = Instrumenting(instrumented)
    sys.meta_path.insert(0, finder)
    for module in instrumented:  # also what is imported by its first use alone
        import_module(module)
    target = next(each for each in import_module(file).TARGETS if each.name == name)
    sys.meta_path.remove(finder)
    from fuzz.model import run_one  # after what it imports was instrumented

    atheris.Setup([sys.argv[0], *options], lambda data: run_one(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
