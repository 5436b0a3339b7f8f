"""aiokafka without its clients: only the protocol, the errors and the records are used here.

Importing any part of a package runs the package first, and aiokafka's imports a consumer, a producer and all that these
need: half of what the kafka probe takes to start.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from typing import Any

__all__ = ["import_parts_alone"]

_PACKAGE = "aiokafka"


def import_parts_alone() -> None:
    """Have parts of aiokafka imported without the package, which runs when somebody asks for a name of its own."""
    if _PACKAGE in sys.modules:
        return
    spec = find_spec(_PACKAGE)
    if spec is None or spec.loader is None:  # the import of a part says so
        return
    package, loader = module_from_spec(spec), spec.loader

    def run(name: str) -> Any:
        if name.startswith("__"):  # what the import system looks for, such as __all__
            raise AttributeError(name)
        vars(package).pop("__getattr__", None)
        loader.exec_module(package)
        return getattr(package, name)

    vars(package)["__getattr__"] = run
    sys.modules[_PACKAGE] = package
