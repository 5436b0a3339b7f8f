"""Where exceptions go that nobody foresaw, from parts that know no daemon: to the handler of the event loop."""

from __future__ import annotations

import asyncio
from enum import StrEnum

__all__ = ["WHERE", "Where", "tell"]

WHERE = "where"
"""The key by which the loop's handler learns in which part it was raised."""


class Where(StrEnum):
    """The part of the exporter in which something unexpected was raised."""

    PROBE = "probe"
    """A probe raised what neither it nor the common table of errors knows."""
    TARGET = "target"
    """An attempt could not be judged or published."""
    SERVICE = "service"
    """A service's verdict could not be worked out or published."""
    RECONCILE = "reconcile"
    """The targets of a service could not be brought about."""
    DISCOVERY = "discovery"
    """A source of instances raised."""
    DIAGNOSIS = "diagnosis"
    """The likely causes could not be worked out."""
    RELOAD = "reload"
    """A reload raised something else than an error of the configuration."""
    WEB = "web"
    """A connection, a request or the web configuration was dealt with in a way that is not foreseen."""
    HISTORY = "history"
    """The history could not be read or written for no fault of its file's."""
    SHARING = "sharing"
    """The lease could not be looked at or given back for no fault of the API server's."""
    TOKENS = "tokens"
    """An access token or a cluster's credentials could not be fetched for no fault of whoever issues them."""
    KUBERNETES = "kubernetes"
    """What a cluster tells could not be watched, read or passed on."""
    LOOP = "loop"
    """A task or callback that nobody waits for raised."""


def tell(where: Where, what: str, error: Exception) -> None:
    """Hand an exception to the event loop's handler: the daemon's counts and logs it, the one of other commands logs it.

    Args:
        where: In which part it was raised.
        what: What could not be done, and of what, for the log.
        error: What was raised.
    """
    asyncio.get_running_loop().call_exception_handler({"message": what, "exception": error, WHERE: where})
