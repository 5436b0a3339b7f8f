"""Where the web server's unexpected exceptions go."""

from __future__ import annotations

import logging
from collections.abc import Callable

__all__ = ["Defect", "unforeseen"]

log = logging.getLogger(__name__)

Defect = Callable[[str, Exception], None]
"""Is told what could not be done, and what was raised: the daemon counts it, and logs it once in a while."""


def unforeseen(what: str, error: Exception) -> None:
    """Log it, where there is no daemon that counts."""
    log.error("defect: %s", what, exc_info=error)
