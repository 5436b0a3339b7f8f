"""Playing a fault, and what came of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.model import Fault, Outcome, Wrong
from tests.faults.scene import Scene, Targets

__all__ = ["play"]


def play(fault: Fault, folder: Path, targets: Targets, *, long: bool = False) -> Outcome:
    """Play a fault, and then see that it ends on SIGTERM and that its log has no traceback."""
    began = time.monotonic()
    scene = Scene(folder / fault.name, targets, long=long)
    seen, wrong = "", []
    try:
        seen = fault.act(scene)
        process = scene.daemon.process
        if process is not None and process.poll() is None:
            scene.ends()
    except Wrong as error:
        wrong.append(str(error))
    except Exception as error:
        wrong.append(f"{type(error).__name__}: {error}")
    finally:
        scene.close()
    wrong += scene.watch.problems
    if "Traceback" in scene.daemon.log and not scene.traceback_allowed:
        wrong.append("there is a traceback in the log")
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    return Outcome(fault.name, seen, tuple(wrong), time.monotonic() - began, scene.watch.scrapes, day)
