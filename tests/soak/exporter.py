"""The daemon of a soak: as shipped, with the memory of the shipped Deployment, and a name server of the soak's own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from exporter.demo.servers.daemon import ExporterServer
from tests.app.daemon import pid_of_exporter

__all__ = ["MEMORY", "Process", "SoakedExporter"]

MEMORY = 512 << 20
"""Bytes of data that it may have: `limits.memory` of deploy/kustomize. RLIMIT_DATA stands in for a control group, which not
everybody may make; what is beyond it fails instead of being killed."""

_NAMES = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", "--", "sh", "-euc")


class SoakedExporter(ExporterServer):
    """`hafnium-exporter serve`, whose configuration is written anew as often as wanted.

    Args:
        directory: Where it keeps its files.
        config: Its configuration, but for where it listens.
        nameserver: The one that it asks, host:port.
        environment: Variables beside those of this process.
    """

    def __init__(
        self, directory: Path, config: Mapping[str, Any], nameserver: str, environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(directory, None, config)
        self._resolv = directory / "resolv.conf"
        self._resolv.write_text(f"nameserver {nameserver}\noptions timeout:1 attempts:2\n")
        self._variables = environment or {}

    def environment(self) -> Mapping[str, str]:
        """Have every warning be an error."""
        return {"PYTHONWARNINGS": "error", **self._variables}

    def command(self) -> Iterable[str | Path]:
        """Return the command line."""
        served = [str(part) for part in super().command()]
        mount = f'mount --bind {self._resolv} /etc/resolv.conf; exec "$@"'
        return ["prlimit", f"--data={MEMORY}", *_NAMES, mount, "sh", *served]

    def write(self, config: Mapping[str, Any]) -> None:
        """Put another configuration in place, in one go."""
        aside = self.config_path.with_suffix(".new")
        aside.write_text(yaml.dump({**self._config, **config}, Dumper=yaml.CSafeDumper, sort_keys=False))
        aside.replace(self.config_path)

    def spoil(self) -> None:
        """Leave half of it."""
        whole = self.config_path.read_text()
        self.config_path.write_text(whole[: len(whole) // 2] + '\n  "')

    @property
    def log(self) -> str:
        """What it logged."""
        return (self.directory / f"{self.name}.log").read_text(errors="replace")

    @property
    def process(self) -> Process:
        """Its process, as the kernel tells of it."""
        assert self.child is not None
        assert self.child.pid is not None
        return Process(pid_of_exporter(self.child.pid))


class Process:
    """What the kernel tells of a process: proc(5)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        return self._status("VmRSS") * 1024

    def threads(self) -> int:
        """Return how many threads it has."""
        return self._status("Threads")

    def descriptors(self) -> int:
        """Return how many file descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208 - of another process

    def _status(self, field: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
