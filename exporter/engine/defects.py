"""Unexpected exceptions: counted, logged once in a while with their traceback, and never swallowed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import Any

from exporter.metrics import core as m
from exporter.metrics.store import LabelValues, Store
from exporter.unforeseen import WHERE, Where

__all__ = ["Defects"]

log = logging.getLogger(__name__)

QUIET = 60.0
"""Seconds for which the same defect at the same place is counted and not logged again: thousands of targets may share it."""

_CLOSED = "the handler is closed"
"""How uvloop's error ends where something is asked of a transport that is closed."""


class Defects:
    """Counts unexpected exceptions in `probe_exporter_defects_total`.

    Args:
        store: Where they are published. Every place is there from the start, so that an increase from zero is seen.
    """

    def __init__(self, store: Store) -> None:
        self._owner = store.owner({})
        self._counts: Counter[LabelValues] = Counter({(where.value,): 0 for where in Where})
        self._logged: dict[tuple[Where, str, str], float] = {}
        self._owner.put(m.DEFECTS, self._counts)

    def count(self, where: Where) -> None:
        """Count a defect that was logged already."""
        self._counts[where.value,] += 1
        self._owner.put(m.DEFECTS, self._counts)

    def note(self, where: Where, what: str, error: BaseException) -> None:
        """Count a defect, and log it with its traceback unless it has just been.

        Args:
            where: In which part.
            what: What could not be done, and of what, for the log.
            error: What was raised.
        """
        self.count(where)
        key = (where, type(error).__name__, _origin(error))
        now = time.monotonic()
        if now - self._logged.get(key, -QUIET) >= QUIET:
            self._logged[key] = now
            log.error("defect: %s", what, exc_info=error)

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what nobody waited for, and what `unforeseen.tell` is told: it is the event loop's exception handler."""
        error = context.get("exception")
        if _is_of_a_closed_connection(context.get("message"), error):
            log.debug("%s", error)
        elif isinstance(error, Exception):
            self.note(context.get(WHERE, Where.LOOP), str(context.get("message")), error)
        else:
            self.count(Where.LOOP)
            loop.default_exception_handler(context)


def _is_of_a_closed_connection(message: Any, error: Any) -> bool:
    """Tell whether uvloop stumbled over bytes that came for TLS after the connection was given up, as at a deadline.

    It answers them on a transport that is closed, and reports that; nobody is there any more whom it could concern.
    """
    return message == "Fatal error on SSL protocol" and isinstance(error, RuntimeError) and str(error).endswith(_CLOSED)


def _origin(error: BaseException) -> str:
    """Name the line that raised."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback is not None else ""
