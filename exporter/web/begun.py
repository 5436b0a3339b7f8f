"""What has come of requests that are not answered yet: bounded over all connections, and shared fairly among clients."""

from __future__ import annotations

from collections.abc import Hashable

from aiohttp.http_parser import RawRequestMessage

from exporter.web.guard import Seat, client_of

__all__ = ["Begun", "cost", "head_cost"]

_MUCH = 16_384
"""Bytes beyond which a head is not one of a browser with large cookies."""

_LINE = 160
"""Bytes of memory that a line takes beside its own: of a header, name and value are texts in three lists; a chunk is a piece
of its own. So a request of a hundred short headers takes thirty times what came over the network."""


class Begun:
    """Memory of what came and is not known to be done with, by connection; `cost` tells of how much.

    The HTTP library does not tell what it holds. So all that comes is counted, and what a request is known to have taken is
    given back: its head when its answer is begun, its body when that is over. What is left is of the next ones.

    Args:
        most: Bytes of all connections, beyond which some have to give way.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.total = 0
        self._clients: dict[Hashable, dict[Seat, int]] = {}

    def of(self, seat: Seat) -> int:
        """Return what there is of a connection."""
        return self._clients.get(client_of(seat.host), {}).get(seat, 0)

    def add(self, seat: Seat, size: int) -> int:
        """Take in that so much came; return what there is of that connection."""
        now = self.of(seat) + size
        self._put(seat, now)
        return now

    def take(self, seat: Seat, size: int | None = None) -> None:
        """Take in that so much of it is done with, at most what there is; without a size all of it."""
        self._put(seat, self.of(seat) - size if size is not None else 0)

    def keep(self, seat: Seat, most: int) -> None:
        """Take in that no more than so much of it can be left."""
        self._put(seat, min(self.of(seat), most))

    def _put(self, seat: Seat, size: int) -> None:
        name = client_of(seat.host)
        seats = self._clients.setdefault(name, {})
        self.total -= seats.pop(seat, 0)
        if size > 0:
            seats[seat] = size
            self.total += size
        elif not seats:
            del self._clients[name]

    def greediest(self, sender: Seat) -> Seat | None:
        """Choose who has to give way: of the client with the most, the connection with the most. None: there is enough.

        Args:
            sender: Who has just sent something: chosen, before it is parsed, if it is that client's and much.
        """
        if self.total <= self.most:
            return None
        seats = max(self._clients.values(), key=lambda seats: sum(seats.values()))
        if seats.get(sender, 0) > _MUCH:
            return sender
        return max(seats, key=lambda seat: seats[seat])


def cost(data: bytes) -> int:
    """Return the bytes of memory that may be taken by what came, once it is parsed."""
    return len(data) + _LINE * data.count(b"\n")


def head_cost(message: RawRequestMessage) -> int:
    """Return what was counted for the head of a request, as clients write it: a space after each colon, and no other."""
    first = f"{message.method} {message.path} HTTP/1.1\r\n".encode(errors="surrogateescape")
    headers = message.raw_headers
    return len(first) + sum(len(name) + len(value) + 4 for name, value in headers) + 2 + _LINE * (len(headers) + 2)
