"""What the event loop reports, and whether it is a defect."""

from __future__ import annotations

import asyncio
import logging

import pytest

from exporter.engine.defects import Defects
from exporter.metrics.store import Store

CLOSED = "unable to perform operation on <TCPTransport closed=True reading=False 0x55d2>; the handler is closed"


def counted(store: Store) -> str:
    return next(line for line in store.render().decode().splitlines() if 'defects_total{where="loop"}' in line)


@pytest.mark.parametrize(
    ("message", "error", "count"),
    [
        ("Fatal error on SSL protocol", RuntimeError(CLOSED), 0),
        ("Fatal error on SSL protocol", RuntimeError("something else"), 1),
        ("Fatal error on SSL protocol", ValueError(CLOSED), 1),
        ("Exception in callback", RuntimeError(CLOSED), 1),
    ],
)
async def test_what_came_for_a_connection_that_was_given_up_is_none(
    message: str, error: Exception, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    with caplog.at_level(logging.WARNING):
        Defects(store).handle(asyncio.get_running_loop(), {"message": message, "exception": error})
    assert counted(store).endswith(f" {count}")
    assert len(caplog.records) == count
