"""What the simulated services are told at their start."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

__all__ = ["FAULTS", "FaultOrder", "ServiceSpec", "Spec"]

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
    "consumer-stopped": "the consumer stops polling, while producers go on",
    "poison": "records end in the dead-letter topic",
    "errors-5xx": "half of the requests of its users fail",
}
"""What can go wrong inside a service."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSpec(_Model):
    """Where PostgreSQL is, and how to log in."""

    host: str
    port: int
    user: str
    password_file: Path
    database: str


class CacheSpec(_Model):
    """Where Valkey is."""

    host: str
    port: int


class ServiceSpec(_Model):
    """One service."""

    name: str
    port: int


class Spec(_Model):
    """Everything."""

    control_port: int
    postgres: DatabaseSpec
    redis: CacheSpec
    kafka: str
    services: tuple[ServiceSpec, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it from a JSON file."""
        return cls.model_validate_json(path.read_bytes())


class FaultOrder(_Model):
    """Make something go wrong, or right again."""

    service: str
    fault: str
    on: bool
