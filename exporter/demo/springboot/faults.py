"""What can go wrong inside a service, and how it is brought about and undone."""

from __future__ import annotations

from exporter.demo.springboot.actuator import Site
from exporter.demo.springboot.pool import SIZE
from exporter.demo.springboot.service import Service

__all__ = ["FAULTS", "order"]

FAULTS = {
    "stop": "nobody listens on the service's port",
    "hang": "connections are accepted, and nothing is answered",
    "slow": "every answer takes 700 ms longer, and every request of its users too",
    "status-503": "every answer is a proxy's 503 without a body that says more",
    "garbage": "every answer is a login page",
    "component-down": "one health component reports DOWN",
    "readiness-down": "the application refuses traffic",
    "heap-full": "the heap is 97 % full, and garbage collection takes most of the time",
    "pool-exhausted": "every connection of the pool is held",
    "idle-transactions": "sessions are left idle in transaction",
    "lock-held": "a session holds a lock in a transaction that is not gone on with, and another waits for it",
    "migration-stuck": "a session holds Flyway's lock, and does not go on",
    "database-newer": "the history has a migration that a newer version of the service brought",
    "consumer-stopped": "the consumer stops polling, while producers go on",
    "consumer-stuck": "the consumer fails at a record and tries it again and again, while producers go on",
    "consumer-poisoned": "the consumer fails at a record of one partition again and again, and reads the others",
    "last-unread": "producers stop, and the consumer fails at their last records again and again",
    "poison": "records end in the dead-letter topic",
    "flaky": "a proxy answers one question in a hundred for its health with a 503",
    "errors-5xx": "half of the requests of its users fail",
}
"""Every fault, and what it is in a sentence."""


async def order(site: Site, fault: str, *, on: bool) -> None:
    """Make something go wrong, or right again; asked twice, nothing more happens.

    Faults that are not seen to here are looked at where the answers are made.

    Raises:
        OSError: The port of a stopped service was taken in the meantime.
    """
    service = site.service
    if on:
        service.faults.add(fault)
    else:
        service.faults.discard(fault)
    messaging = service.messaging
    match fault, on:
        case "stop", True:
            await site.close()
        case "stop", False:
            await site.open()
        case (("pool-exhausted" | "idle-transactions" | "lock-held" | "migration-stuck"), True):
            await _hold(service, fault)
        case (("pool-exhausted" | "idle-transactions" | "lock-held" | "migration-stuck"), False):
            service.pool.release(fault)
        case "database-newer", _:
            await service.migrations.leave_newer(on=on)
        case "consumer-stopped", True:
            messaging.consuming.clear()
        case "consumer-stopped", False:
            messaging.consuming.set()
        case (("consumer-stuck" | "consumer-poisoned" | "last-unread" | "poison"), _):
            messaging.fail(fault, on=on)


async def _hold(service: Service, fault: str) -> None:
    pool = service.pool
    match fault:
        case "pool-exhausted":
            await pool.hold(fault)
        case "idle-transactions":
            await pool.hold(fault, SIZE - 1, "BEGIN; SELECT 1")
        case "lock-held":
            await pool.block(fault, f"SELECT pg_advisory_xact_lock(hashtext('{service.name}'))")
        case "migration-stuck":
            await service.migrations.hold(fault)
