"""Connections that the loop of a test had no time to close: they are let go of where they were made, not in another test."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Generator

import pytest

__all__ = ["pytest_runtest_teardown"]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None]:
    """Collect them once all fixtures are gone, and the loop with them.

    A TLS connection that is closed ends only when its peer has answered, and the loop of a test ends before.
    """
    try:
        return (yield)
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
