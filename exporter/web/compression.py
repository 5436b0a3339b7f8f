"""Compression of answers: what is worth it, who wants it, and doing it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

from aiohttp import hdrs, web

from exporter.web.negotiation import accepts_gzip

__all__ = ["mark", "pack", "packer", "vary", "wants", "worth"]

_WORTH_COMPRESSING = 1400
"""Bytes; less fits one packet anyway."""


def worth(size: int) -> bool:
    """Tell whether a body of so many bytes is large enough."""
    return size >= _WORTH_COMPRESSING


def wants(request: web.Request) -> bool:
    """Tell whether a client reads gzip."""
    return accepts_gzip(",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, ())))


def packer() -> Any:
    """Return a compressor at the fastest level: what is sent repeats itself, and more effort gains little."""
    return zlib.compressobj(1, zlib.DEFLATED, wbits=31)


def pack(pieces: Iterable[bytes]) -> bytes:
    """Compress a body, piece by piece. To be done in a thread."""
    packing = packer()
    return b"".join((*map(packing.compress, pieces), packing.flush()))


def vary(response: web.StreamResponse) -> None:
    """Say that the answer depends on whether the client reads gzip."""
    response.headers[hdrs.VARY] = ", ".join(filter(None, (response.headers.get(hdrs.VARY), hdrs.ACCEPT_ENCODING)))


def mark(response: web.StreamResponse) -> None:
    """Say that the answer is compressed."""
    vary(response)
    response.headers[hdrs.CONTENT_ENCODING] = "gzip"
