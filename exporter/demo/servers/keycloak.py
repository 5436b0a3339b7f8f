"""The stand-in for Keycloak: the real one takes half a gigabyte and ten seconds of CPU to start."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from exporter.demo.keycloak import CLIENT, REALM
from exporter.demo.servers.base import Server

__all__ = ["KeycloakServer"]


class KeycloakServer(Server):
    """A realm over http, with a client that may ask for tokens."""

    name: ClassVar[str] = "keycloak"
    client: ClassVar[str] = CLIENT
    issuer_path: ClassVar[str] = f"/realms/{REALM}"

    @property
    def secret_file(self) -> Path:
        """A file with the client's secret."""
        return self.directory / "secret"

    def prepare(self) -> None:
        """Make the client's secret, the first time."""
        if not self.secret_file.exists():
            self.secret_file.touch(mode=0o600)
            self.secret_file.write_text(secrets.token_urlsafe(16))

    def command(self) -> Iterable[str | Path]:
        """Return the command line."""
        return [
            sys.executable, "-m", "exporter.demo.keycloak", "--port", str(self.port), "--secret-file", self.secret_file,
        ]  # fmt: skip
