"""One address of a name after the other: one that there is no way to says nothing of the target, and hides nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator, Mapping

import pytest
import uvloop

from exporter.demo.ports import free_port
from exporter.net.dial import ADDRESS_PATIENCE, dial
from exporter.net.phases import NoPhases
from exporter.net.resolver import Resolver
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

V4, OTHER_V4, V6 = "192.0.2.1", "192.0.2.2", "2001:db8::1"
SILENT = "silent"
LATE = "late"


class Names(Resolver):
    """A resolver that knows one name."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(self, _host: str, *, fresh: bool = False) -> tuple[str, ...]:
        return self._addresses


class Protocol(asyncio.Protocol):
    """One that takes what comes."""


class Transport(asyncio.Transport):
    """One that is nowhere, and can be referred to weakly, as real ones can."""


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | str]:
    """What connecting to each address comes to: an errno; silence; an answer after longer than one address is waited for."""
    comes_to: dict[str, int | str] = {}

    async def connect(_loop: object, factory: type[Protocol], host: str, _port: int) -> tuple[asyncio.Transport, Protocol]:
        outcome = comes_to[host]
        if isinstance(outcome, int):
            raise OSError(outcome, os.strerror(outcome))
        await asyncio.sleep(3600 if outcome == SILENT else ADDRESS_PATIENCE + 1)
        return Transport(), factory()

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", connect)
    return comes_to


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as made:
        yield made


@pytest.mark.parametrize(
    ("zone", "comes_to"),
    [
        ("lo", None),
        (str(socket.if_nametoindex("lo")), None),
        ("nope", (Stage.CONNECT, Reason.PROBER_NETWORK)),
        ("25lo", (Stage.CONNECT, Reason.PROBER_NETWORK)),
        ("4000000", (Stage.CONNECT, Reason.PROBER_NETWORK)),
        ("no\0pe", (Stage.CONNECT, Reason.PROBER_NETWORK)),
        ("²", (Stage.CONNECT, Reason.PROBER_NETWORK)),
        ("9" * 20, (Stage.CONNECT, Reason.PROBER_NETWORK)),
    ],
)
def test_an_address_of_an_interface_is_asked_by_that_one(
    runner: asyncio.Runner, zone: str, comes_to: tuple[Stage, Reason] | None
) -> None:
    """uvloop knows no interfaces, and asks whatever answers by another; that is another machine."""

    async def connect() -> tuple[Stage, Reason] | None:
        server = await asyncio.get_running_loop().create_server(Protocol, "::1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            transport, _ = await dial(
                Protocol, Address(f"fe80::1%{zone}" if comes_to else f"::1%{zone}", port), Resolver(), NoPhases()
            )
        except Failure as failure:
            return failure.stage, failure.reason
        finally:
            server.close()
        transport.close()
        return None

    assert runner.run(connect()) == comes_to


def test_a_refusal_by_an_interface_is_one_and_leaves_nothing(runner: asyncio.Runner) -> None:
    async def connect() -> None:
        with pytest.raises(ConnectionRefusedError):
            await dial(Protocol, Address("::1%lo", free_port()), Resolver(), NoPhases())

    runner.run(connect())


async def outcome(comes_to: dict[str, int | str], said: Mapping[str, int | str]) -> BaseException | str:
    comes_to.update(said)
    try:
        async with asyncio.timeout(5):
            await dial(Protocol, Address("both.example", 1), Names(*said), NoPhases())
    except (OSError, TimeoutError) as error:
        return error
    return "connected"


@pytest.mark.looptime
@pytest.mark.parametrize("no_way", [errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EACCES])
async def test_a_refusal_is_not_hidden_by_one_that_there_is_no_way_to(network: dict[str, int | str], no_way: int) -> None:
    error = await outcome(network, {V4: errno.ECONNREFUSED, V6: no_way})
    assert getattr(error, "errno", None) == errno.ECONNREFUSED
    error = await outcome(network, {V4: errno.EHOSTUNREACH, OTHER_V4: no_way, V6: no_way})
    assert getattr(error, "errno", None) == errno.EHOSTUNREACH


@pytest.mark.looptime
async def test_without_any_way_it_is_this_host_that_is_told(network: dict[str, int | str]) -> None:
    error = await outcome(network, {V4: errno.ENETUNREACH, V6: errno.EAFNOSUPPORT})
    assert getattr(error, "errno", None) == errno.EAFNOSUPPORT


@pytest.mark.looptime
async def test_a_slow_one_has_until_the_deadline_where_no_other_is_reached(
    network: dict[str, int | str],
) -> None:
    assert await outcome(network, {V4: LATE, V6: errno.ENETUNREACH}) == "connected"
    error = await outcome(network, {V4: SILENT, V6: errno.ENETUNREACH})
    assert isinstance(error, TimeoutError)


@pytest.mark.looptime
async def test_the_last_that_is_reached_is_told(network: dict[str, int | str]) -> None:
    error = await outcome(network, {V4: SILENT, V6: errno.ECONNREFUSED})
    assert getattr(error, "errno", None) == errno.ECONNREFUSED
