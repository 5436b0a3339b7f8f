"""What the event loop reports, and whether it is a defect."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from exporter.clients.kubernetes.kubeconfig import Kubeconfig
from exporter.engine.defects import Defects
from exporter.metrics.store import Store
from exporter.unforeseen import Where, tell
from exporter.verdict import Failure, Reason

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


async def test_what_is_told_to_the_loop_is_counted_by_its_part_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    asyncio.get_running_loop().set_exception_handler(Defects(store).handle)
    for _ in range(3):
        tell(Where.KUBERNETES, "pods could not be read", ZeroDivisionError())
    assert 'probe_exporter_defects_total{where="kubernetes"} 3\n' in store.render().decode()
    assert counted(store).endswith(" 0")
    [record] = caplog.records
    assert record.message == "defect: pods could not be read"
    assert record.exc_info is not None


async def test_what_is_told_where_there_is_no_daemon_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tell(Where.TOKENS, "no token", ZeroDivisionError("of ours"))
    [record] = caplog.records
    assert "no token" in record.message
    assert record.exc_info is not None


async def test_a_kubeconfig_that_raises_what_nobody_foresaw_is_told_as_that_and_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = Store()
    asyncio.get_running_loop().set_exception_handler(Defects(store).handle)
    monkeypatch.setattr(Kubeconfig, "_ask", lambda _: 1 / 0)
    config = Kubeconfig(tmp_path / "config", None)
    for _ in range(2):  # the second within the time for which nothing is tried again
        with pytest.raises(Failure, match="unexpected ZeroDivisionError") as caught:
            await config.way()
        assert caught.value.reason is Reason.CREDENTIALS
    assert 'probe_exporter_defects_total{where="tokens"} 1\n' in store.render().decode()
