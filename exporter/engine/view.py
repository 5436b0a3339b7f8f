"""What all views are based on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["View"]


class View(BaseModel):
    """Base of all views: frozen; times are Unix seconds, durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
