"""Defects of the exporter, for the rows that ask for them: Python imports this at its start where it is on the path.

SIGUSR2 has the event loop held for three seconds. SIGUSR1 has no thread start any more; once more, and they start again.
`PLANTED_NO_THREADS` has none start from the beginning.
`PLANTED_DEFECT` names a service whose actuator probe raises.
`PLANTED_LEAK` says what each attempt of an actuator probe keeps for ever: `memory=600000` bytes, `descriptors=1`,
`threads=0.1`, `tasks=1`, `series=10`; several with commas.
`PLANTED_LIE` names a service whose actuator probe is told down after its third attempt, though it is up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections import Counter
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
    broken, lie = os.environ.get("PLANTED_DEFECT"), os.environ.get("PLANTED_LIE")
    leaks = [leak.split("=") for leak in os.environ.get("PLANTED_LEAK", "").split(",") if leak]
    attempts: Counter[Any] = Counter()

    async def planted(self: Any, attempt: Any) -> None:
        if self.target.service == broken:
            raise ZeroDivisionError("a planted defect")
        target = self.target.service, self.target.name
        attempts[target] += 1
        if self.target.service == lie and attempts[target] > 3:
            raise ConnectionRefusedError
        for what, count in leaks:
            _leak(what, float(count), attempt, attempts[target])
        await check(self, attempt)

    probe.check = planted


def _leak(what: str, rate: float, attempt: Any, attempts: int) -> None:
    count = int(rate * attempts) - int(rate * (attempts - 1))
    if what == "memory":
        _kept.append(b"x" * count)
    elif what == "series":
        # Not from the start: a soak as short as a test's allows what it found there to grow by a third.
        for number in range(min(int(rate * max(0, attempts - 40)), 8000)):
            attempt.record(sys.modules[_PROBE].GROUP_UP, 1, f"leaked-{number}")
    for _ in range(count if what in ("descriptors", "threads", "tasks") else 0):
        if what == "descriptors":
            _kept.append(os.open(os.devnull, os.O_RDONLY))
        elif what == "threads":
            before = threading.stack_size(262_144)  # of the usual 8 MiB, fifty are all the memory that there is
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            threading.stack_size(before)
        else:
            _kept.append(asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="leaked"))


def _hold(_number: int, _frame: Any) -> None:
    time.sleep(3.0)


_threads: Any = threading  # what it starts threads by is its own


def _no_threads(_number: int, _frame: Any) -> None:
    _threads._start_new_thread = _start_new_thread if _threads._start_new_thread is _refuse else _refuse


def _refuse(*_arguments: Any) -> None:
    raise RuntimeError("can't start new thread")


_start_new_thread = _threads._start_new_thread
signal.signal(signal.SIGUSR1, _no_threads)
if "PLANTED_NO_THREADS" in os.environ:
    _threads._start_new_thread = _refuse
signal.signal(signal.SIGUSR2, _hold)
sys.meta_path.insert(0, _Planter())
