"""What the simulated services are told at their start."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

__all__ = ["CacheSpec", "DatabaseSpec", "ServiceSpec", "Spec"]


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
        """Read it from a JSON file.

        Raises:
            pydantic.ValidationError: It is not one.
        """
        return cls.model_validate_json(path.read_bytes())
