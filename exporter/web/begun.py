"""What has come of requests that are not answered yet: bounded over all connections, and shared fairly among clients."""

from __future__ import annotations

from collections.abc import Hashable

from aiohttp import web

from exporter.web.guard import Seat, client_of

__all__ = ["Begun", "head_size"]

_MUCH = 16_384
"""Bytes beyond which a head is not one of a browser with large cookies."""


class Begun:
    """Bytes that came and that are not known to be done with, by connection.

    The HTTP library does not tell what it holds. So all that comes is counted, and what a request is known to have taken is
    given back: its head when its answer is begun, its body when that is over. What is left is of the next ones.

    Args:
        most: Bytes of all connections, beyond which some have to give way.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.total = 0
        self._clients: dict[Hashable, dict[Seat, int]] = {}

    def add(self, seat: Seat, size: int) -> int:
        """Take in that so much came; return what there is of that connection."""
        seats = self._clients.setdefault(client_of(seat.host), {})
        self.total += size
        now = seats[seat] = seats.get(seat, 0) + size
        return now

    def take(self, seat: Seat, size: int | None = None) -> None:
        """Take in that so much of it is done with, at most what there is; without a size all of it."""
        name = client_of(seat.host)
        seats = self._clients.get(name, {})
        before = seats.pop(seat, 0)
        left = max(0, before - size) if size is not None else 0
        self.total -= before - left
        if left:
            seats[seat] = left
        elif not seats:
            self._clients.pop(name, None)

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


def head_size(request: web.BaseRequest) -> int:
    """Return the bytes of a request's head, as clients write it: a space after each colon, and no other."""
    first = f"{request.method} {request.raw_path} HTTP/1.1\r\n".encode(errors="surrogateescape")
    return len(first) + sum(len(name) + len(value) + 4 for name, value in request.raw_headers) + 2
