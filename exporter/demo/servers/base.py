"""What all servers of the demo have in common."""

from __future__ import annotations

import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from exporter.demo.ports import free_port, listens
from exporter.demo.processes import Child

__all__ = ["Server", "WebServer"]


class Server(ABC):
    """A server on a loopback port. Its methods block; the port stays the same when it is started again.

    Args:
        directory: Where it keeps its data and its log; made if missing.
        port: Where it listens; a free one by default.
    """

    name: ClassVar[str]
    as_nobody: ClassVar[bool] = False
    host: ClassVar[str] = "127.0.0.1"
    patience: ClassVar[float] = 30.0
    """Seconds that it may take to start."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory = directory
        self.port = port or free_port()
        directory.mkdir(parents=True, exist_ok=True)
        self.child: Child | None = None

    @abstractmethod
    def command(self) -> Iterable[str | Path]:
        """Return the program and its arguments."""

    def environment(self) -> Mapping[str, str]:
        """Return variables for it."""
        return {}

    def prepare(self) -> None:  # noqa: B027 - most servers have nothing to prepare
        """Do what comes before its start."""

    def ready(self) -> bool:
        """Tell whether it serves."""
        return listens(self.host, self.port)

    def start(self) -> None:
        """Start it and wait until it serves; nothing happens if it runs.

        Raises:
            StartError: It does not.
        """
        if self.running:
            return
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start it without waiting: several slow ones start side by side."""
        self.prepare()
        self.child = Child(
            self.name,
            list(self.command()),
            self.directory / f"{self.name}.log",
            environment=self.environment(),
            as_nobody=self.as_nobody,
        )
        self.child.start()

    def await_ready(self) -> None:
        """Wait until it serves.

        Raises:
            StartError: It does not.
        """
        if self.child is not None:
            self.child.await_ready(self.ready, self.patience)

    def stop(self) -> None:
        """End it."""
        if self.child is not None:
            self.child.stop()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.child is not None:
            self.child.stop(0)

    def pause(self) -> None:
        """Hang it: it accepts connections, as its kernel does, and answers nothing."""
        if self.child is not None:
            self.child.pause()

    def slow(self) -> None:
        """Starve it of CPU: three quarters of a second pass before it answers most of what it is asked."""
        if self.child is not None:
            self.child.throttle(stopped=0.75, running=0.2)

    def resume(self) -> None:
        """Let it go on, at its own pace."""
        if self.child is not None:
            self.child.resume()

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.child is not None and self.child.running

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class WebServer(Server):
    """One that says when it is ready, as Prometheus' programs do: it listens before that, and answers 503."""

    def ready(self) -> bool:
        """Tell whether it says that it is ready."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=1):
                return True
        except OSError:  # HTTPError is one
            return False
