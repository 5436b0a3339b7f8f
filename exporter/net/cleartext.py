"""Secrets that would cross a network as they are: whoever is on the way reads them, and whoever answers has them."""

from __future__ import annotations

import ipaddress

from exporter.verdict import Failure, Reason, Stage

__all__ = ["refuse_cleartext"]


def refuse_cleartext(peer: str) -> None:
    """Refuse to send a secret without TLS to anywhere but this machine itself.

    Args:
        peer: IP address at the other end of the connection.

    Raises:
        Failure: `not_allowed`.
    """
    try:
        local = ipaddress.ip_address(peer.partition("%")[0]).is_loopback
    except ValueError:
        local = False
    if not local:
        detail = "the password would cross the network in the clear: use TLS, or allow_cleartext"
        raise Failure(Stage.AUTH, Reason.NOT_ALLOWED, detail)
