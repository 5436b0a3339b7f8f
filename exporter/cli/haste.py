"""Importing in haste: what a verb needs is read without looking for garbage in between, of which there is none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["in_haste"]


@contextmanager
def in_haste() -> Iterator[None]:
    """Collect nothing while the block lasts; what is there at its end stays: modules live as long as the process."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
