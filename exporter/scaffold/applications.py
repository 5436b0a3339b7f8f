"""A draft from URLs: applications are asked, servers are taken at their word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from exporter.probing.probe import SharedClients
from exporter.scaffold.draft import Draft, Entry, Unusable
from exporter.scaffold.spring import Entrance, look
from exporter.scaffold.urls import Place, read_url

__all__ = ["add_server", "ask_all"]

_AT_ONCE = 16
"""Applications that are asked at once."""

_MOST_NAMED = 5


async def ask_all(urls: Sequence[str], entrance: Entrance, say: Callable[[str], None]) -> Draft:
    """Ask every application, and return the draft of all.

    Args:
        urls: Of applications and servers.
        entrance: The ways in; its roots are for whatever speaks TLS.
        say: Is told how far it has come.

    Raises:
        Unusable: A URL cannot be read, or an application has no actuator.
    """
    places = list(map(read_url, urls))
    named = ", ".join(str(each.addresses[0]) for each in places[:_MOST_NAMED])
    draft = Draft(named + (f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""))
    shared, slots, done = SharedClients.open(), asyncio.Semaphore(_AT_ONCE), 0

    async def ask(place: Place) -> tuple[str, Entry]:
        nonlocal done
        if place.kind != "actuator":
            return place.name, _server(place, entrance.tls)
        async with slots:
            found = await look(place, entrance, shared)
        done += 1
        say(f"asked {done} of {len(places)} …")
        return found

    try:
        found = await asyncio.gather(*map(ask, places), return_exceptions=True)
    finally:
        await shared.close()
    wrong = [each for each in found if isinstance(each, BaseException)]
    for error in wrong:
        if not isinstance(error, Unusable):
            raise error
    if wrong:
        raise Unusable("\n".join(dict.fromkeys(map(str, wrong))))
    for name, entry in (each for each in found if not isinstance(each, BaseException)):
        draft.add(name, entry)
    return draft


def add_server(draft: Draft, url: str) -> None:
    """Add a server that services need.

    Raises:
        Unusable: The URL cannot be read.
    """
    place = read_url(url)
    draft.add(place.name, _server(place, {}))


def _server(place: Place, tls: Mapping[str, Any]) -> Entry:
    settings = dict(place.settings)
    if place.kind == "tls":
        settings.update(tls)
    elif tls and ("tls" in settings or (place.kind == "oidc" and "scheme" not in settings)):
        settings["tls"] = dict(tls)
    remarks = []
    if place.password:
        settings[place.password] = f"secrets/{place.kind}-password"
    if place.kind == "redis" and not place.password:
        remarks.append("With a password: password_file: secrets/redis-password")
    return Entry({"instances": place.instances, "probes": {place.kind: settings}}, remarks)
