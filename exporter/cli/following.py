"""A configuration that may change while it is looked at: read again each time it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from exporter.config.errors import ConfigError
from exporter.visible import visible

if TYPE_CHECKING:
    from exporter.config.models import Config

__all__ = ["Following"]


class Following:
    """The configuration as it is now. One that cannot be used leaves the one before in use, and is told.

    Args:
        config: As it was read first.
        read: Reads it again; None where it is of no file.

    Attributes:
        note: Why what is in use is not what is in the file; empty where it is.
    """

    def __init__(self, config: Config, read: Callable[[], Config] | None) -> None:
        self._config = config
        self._read = read
        self.note = ""

    async def now(self) -> Config:
        """Return the configuration to be used now."""
        if self._read is None:
            return self._config
        try:
            self._config = await asyncio.to_thread(self._read)
            self.note = ""
        except ConfigError as error:
            first, *more = str(error).splitlines()
            self.note = self._told(first + (f" (and {len(more)} more)" if more else ""))
        except click.ClickException as error:  # what was asked for is not in it any more
            self.note = self._told(error.format_message())
        return self._config

    @staticmethod
    def _told(why: str) -> str:
        return visible(f"the configuration has changed and is left unused: {why}")
