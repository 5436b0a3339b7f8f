"""Defects of the exporter, for the rows that ask for them: Python imports this at its start where it is on the path.

SIGUSR2 has the event loop held for three seconds. SIGUSR1 has no thread start any more; once more, and they start again.
`PLANTED_DEFECT` names a service whose actuator probe raises.
`PLANTED_LEAK` is a number of bytes that each attempt of an actuator probe keeps for ever, and a descriptor each hundred.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from typing import Any

_PROBE = "exporter.probes.actuator"
_kept: list[Any] = []


class _Planter(MetaPathFinder):
    """Changes the probe once it has been imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != _PROBE:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def execute(module: Any) -> None:
            run(module)
            _plant(module.ActuatorProbe)

        spec.loader.exec_module = execute  # type: ignore[method-assign] # that is what is planted
        return spec


def _plant(probe: Any) -> None:
    check = probe.check
    broken, leak = os.environ.get("PLANTED_DEFECT"), int(os.environ.get("PLANTED_LEAK", "0"))

    async def planted(self: Any, attempt: Any) -> None:
        if self.target.service == broken:
            raise ZeroDivisionError("a planted defect")
        if leak:
            _kept.append(b"x" * leak)
            if len(_kept) % 100 == 0:
                _kept.append(os.open(os.devnull, os.O_RDONLY))
        await check(self, attempt)

    probe.check = planted


def _hold(_number: int, _frame: Any) -> None:
    time.sleep(3.0)


_threads: Any = threading  # what it starts threads by is its own


def _no_threads(_number: int, _frame: Any) -> None:
    _threads._start_new_thread = _start_new_thread if _threads._start_new_thread is _refuse else _refuse


def _refuse(*_arguments: Any) -> None:
    raise RuntimeError("can't start new thread")


_start_new_thread = _threads._start_new_thread
signal.signal(signal.SIGUSR1, _no_threads)
signal.signal(signal.SIGUSR2, _hold)
sys.meta_path.insert(0, _Planter())
