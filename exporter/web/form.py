"""The one form that is read: a small one, soon, or not at all. Strangers may send what they like, and that is no defect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from aiohttp import ClientPayloadError, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from exporter.web.limits import ServerLimits
from exporter.web.refusal import Refusal

__all__ = ["Forms"]

_TYPE = "application/x-www-form-urlencoded"

_FIELDS = 10


class Forms:
    """Reads what forms send.

    Whoever sends none of it holds a connection that nobody may take, so few may be at it, for a moment.

    Args:
        limits: What clients may use.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._reading = 0

    async def read(self, request: web.Request) -> Mapping[str, str]:
        """Return the fields of a form.

        Raises:
            Refusal: It is none, does not come in time, or too many are being read.
        """
        if request.content_type != _TYPE:
            raise _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"a form is wanted: {_TYPE}")
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a form is wanted as it is, not compressed")
        if self._reading >= self._limits.forms:
            raise _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many forms are being sent")
        self._reading += 1
        try:
            async with asyncio.timeout(self._limits.form):
                body = await request.read()
        except TimeoutError:
            raise _refusal(HTTPStatus.REQUEST_TIMEOUT, "the form did not come in time") from None
        except (ClientPayloadError, HttpProcessingError, web.RequestPayloadError, ConnectionError):
            raise _refusal(HTTPStatus.BAD_REQUEST, "the form is cut off") from None
        finally:
            self._reading -= 1
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS))
        except ValueError:
            raise _refusal(HTTPStatus.BAD_REQUEST, "the form is no text in UTF-8, or has too many fields") from None


def _refusal(status: HTTPStatus, text: str) -> Refusal:
    """Refuse, and do not wait for the rest."""
    return Refusal(status, text, {hdrs.CONNECTION: "close", hdrs.RETRY_AFTER: "5"})
