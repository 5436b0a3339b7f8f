"""The exporter itself, as the demo runs it: a process of its own, with a configuration of the fleet at hand."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from exporter.demo.servers.base import WebServer

__all__ = ["ExporterServer"]


class ExporterServer(WebServer):
    """`hafnium-exporter serve`; it is ready when every target has been probed once.

    Args:
        directory: Where it keeps its configuration and its log.
        port: Where it listens.
        config: Its configuration, but for where it listens.

    Attributes:
        surroundings: Variables that it is given at its next start.
    """

    name: ClassVar[str] = "exporter"
    patience: ClassVar[float] = 90.0

    def __init__(self, directory: Path, port: int | None, config: Mapping[str, Any]) -> None:
        super().__init__(directory, port)
        self.surroundings: Mapping[str, str] = {}
        self._config = {"server": {"listen": self.address, "drain_timeout": "3s"}, **config}

    @property
    def config_path(self) -> Path:
        """The configuration file."""
        return self.directory / "exporter.yml"

    def environment(self) -> Mapping[str, str]:
        """Return variables for it."""
        return self.surroundings

    def probe_also(self, dependencies: Mapping[str, Any]) -> None:
        """Probe these dependencies too, from the next start on."""
        self._config["dependencies"] = {**self._config.get("dependencies", {}), **dependencies}

    @property
    def web_config_path(self) -> Path:
        """The web configuration file: it lets all in, on loopback."""
        return self.directory / "web.yml"

    def prepare(self) -> None:
        """Write its configuration."""
        self.config_path.write_text(yaml.safe_dump(self._config, sort_keys=False))
        self.mend_web_config()

    def spoil_web_config(self) -> None:
        """Write the web configuration halfway."""
        self.web_config_path.write_text("http_server_config: {headers: ")

    def mend_web_config(self) -> None:
        """Write it whole."""
        self.web_config_path.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")

    @property
    def history_folder(self) -> Path:
        """Where its history is kept, once it has been lost."""
        return self.directory / "history"

    def lose_history(self) -> None:
        """Let the history be kept in a place that is none, as where a volume is not there; it takes a reload."""
        self.history_folder.write_text("")
        server = {**self._config["server"], "state_file": str(self.history_folder / "history.json")}
        self._config = {**self._config, "server": server}
        self.prepare()

    def keep_history(self) -> None:
        """Make the place."""
        self.history_folder.unlink()
        self.history_folder.mkdir()

    def command(self) -> Iterable[str | Path]:
        """Return the command line."""
        return [
            sys.executable, "-m", "exporter", "serve", "--config", self.config_path,
            "--web.config.file", self.web_config_path, "--web.enable-lifecycle",
        ]  # fmt: skip
