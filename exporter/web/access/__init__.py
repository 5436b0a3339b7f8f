"""Who may ask the exporter, and how: TLS, users, names, roles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exporter.config.server import Server
from exporter.web.access.follow import Way
from exporter.web.access.gate import Turned
from exporter.web.defects import Defect, unforeseen
from exporter.web.guard import Closed

__all__ = ["Access"]


@dataclass(frozen=True, slots=True)
class Access:
    """How the server's clients are let in. All but `lifecycle` is asked anew each time, since it may change.

    Attributes:
        way: By which web configuration; None where there is no file, and all are let in.
        server: Names and roles.
        turned: Is told of each request that is turned away.
        closed: Is told of each connection that is closed because all are taken.
        defect: Is told of each unexpected exception, after what could not be done.
        lifecycle: Whether the configuration may be reloaded over HTTP.
    """

    way: Callable[[], Way | None] = lambda: None
    server: Callable[[], Server] = Server
    turned: Callable[[Turned], None] = lambda _why: None
    closed: Callable[[Closed], None] = lambda _why: None
    defect: Defect = unforeseen
    lifecycle: bool = False
