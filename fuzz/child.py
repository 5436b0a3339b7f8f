"""The process in which one target is fuzzed: `python -m fuzz.child FILE NAME MODULES [OPTION OF LIBFUZZER …]`.

It is a process of its own because libFuzzer ends it at a finding, and because what is fuzzed must be imported under
instrumentation, and nothing else, or each input would cost many times as much.
"""

from __future__ import annotations

import sys
from importlib import import_module

import atheris


def main() -> None:
    """Import the target with what it covers instrumented, and hand over to libFuzzer."""
    _, file, name, modules, *options = sys.argv
    instrumented = modules.split(",")
    with atheris.instrument_imports(include=instrumented):
        for module in instrumented:  # also what is imported by its first use alone
            import_module(module)
        target = next(each for each in import_module(file).TARGETS if each.name == name)
    from fuzz.model import run_one  # after what it imports was instrumented

    atheris.Setup([sys.argv[0], *options], lambda data: run_one(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
