"""Who may hold a connection: where all are taken, whoever makes the least of theirs gives way."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Hashable
from enum import Enum
from functools import lru_cache
from typing import Protocol

__all__ = ["STALLED", "Closed", "Guard", "Seat", "client_of"]

STALLED = 1.0
"""Seconds that a client may leave what it asked for unread, while others want its connection or its memory."""


class Closed(Enum):
    """Why a connection was closed: values of a label."""

    TAKEN_BACK = "taken_back"
    TURNED_AWAY = "turned_away"


class Seat(Protocol):
    """A connection, as the guard sees it."""

    @property
    def host(self) -> str:
        """The client's address."""
        ...

    @property
    def stalled_since(self) -> float | None:
        """Since when, by the loop's clock, the client has not read what waits for it; None where nothing waits."""
        ...

    def abort(self) -> None:
        """Close it at once."""
        ...


class Guard:
    """Seats for connections. One that is idle (no request of it is being answered) can be taken from its client.

    So a client that opens hundreds and asks nothing has none of them long, and keeps nobody out. Clients are told apart by
    address, and who holds the most gives way first: a scraper's one idle connection outlives a stranger's five hundred.

    Args:
        most: Connections open at once.
        closed: Is told of each connection that is closed because all are taken.
    """

    def __init__(self, most: int, closed: Callable[[Closed], None] = lambda _why: None) -> None:
        self.most = most
        self._taken = 0
        self._clients: dict[Hashable, _Client] = {}
        self._closed = closed

    def __len__(self) -> int:
        return self._taken

    def admit(self, seat: Seat) -> bool:
        """Give a new connection a seat, one that is taken from another if need be; False where there is none."""
        if self._taken >= self.most and not self.make_room():
            self._closed(Closed.TURNED_AWAY)
            return False
        client = self._clients.setdefault(client_of(seat.host), _Client())
        client.seats += 1
        self._taken += 1
        client.idle[seat] = None
        return True

    def busy(self, seat: Seat) -> None:
        """A request of it is being answered."""
        client = self._clients.get(client_of(seat.host))
        if client is not None and seat in client.idle:
            del client.idle[seat]
            client.busy[seat] = None

    def idle(self, seat: Seat) -> None:
        """It was answered; the connection is idle from now on."""
        client = self._clients.get(client_of(seat.host))
        if client is not None and seat in client.busy:
            del client.busy[seat]
            client.idle[seat] = None

    def leave(self, seat: Seat) -> None:
        """It is closed. Said twice, it is heard once."""
        name = client_of(seat.host)
        client = self._clients.get(name)
        if client is None or (seat not in client.idle and seat not in client.busy):
            return
        client.idle.pop(seat, None)
        client.busy.pop(seat, None)
        client.seats -= 1
        self._taken -= 1
        if not client.seats:
            del self._clients[name]

    def make_room(self) -> bool:
        """Take a seat from whoever makes the least of it; False where all are at work."""
        victim = self._victim()
        if victim is None:
            return False
        self._closed(Closed.TAKEN_BACK)
        self.leave(victim)
        victim.abort()
        return True

    def turn_away(self, seat: Seat) -> None:
        """Close a connection that asks for more than there is."""
        self._closed(Closed.TURNED_AWAY)
        self.leave(seat)
        seat.abort()

    def _victim(self) -> Seat | None:
        """Choose whom to take a seat from: of who holds the most, the one that is idle, or has not read, for longest."""
        before = asyncio.get_running_loop().time() - STALLED
        for client in sorted(self._clients.values(), key=lambda client: -client.seats):
            for seat in client.idle:
                return seat
            stalled = [(seat.stalled_since, seat) for seat in client.busy if seat.stalled_since is not None]
            if stalled:
                since, seat = min(stalled, key=lambda item: item[0])
                if since <= before:
                    return seat
        return None


class _Client:
    """The connections of one client: the idle ones with the longest idle first, and those with a request under way."""

    def __init__(self) -> None:
        self.seats = 0
        self.idle: OrderedDict[Seat, None] = OrderedDict()
        self.busy: dict[Seat, None] = {}


@lru_cache(1024)  # thousands of connections may come at once, from a few addresses
def client_of(host: str) -> Hashable:
    """Return what tells clients apart: an address, of IPv6 the network, since whoever has one address there has them all."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or int(address) >> 64
    return address
