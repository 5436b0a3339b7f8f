"""What is to be probed by its URL alone: a configuration that is nowhere written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exporter.config.document import Document
from exporter.config.loader import validate
from exporter.config.models import Config
from exporter.scaffold.draft import Draft, Entry
from exporter.scaffold.urls import Place, read_url

__all__ = ["config_of"]

_PASSWORDS = {"postgres": "PGPASSWORD", "redis": "REDISCLI_AUTH"}
"""By kind of probe, the variable that holds the password, as psql and redis-cli have it."""


def config_of(urls: Iterable[str], environment: Mapping[str, str]) -> Config:
    """Return a configuration that probes what is at some URLs.

    Args:
        urls: As people write them.
        environment: Where passwords are.

    Raises:
        Unusable: A URL cannot be read.
        ConfigError: What it says is not valid.
    """
    draft = Draft("URLs")
    for place in map(read_url, urls):
        settings = {**place.settings, **_password(place, environment)}
        draft.add(place.name, Entry({"instances": place.instances, "probes": {place.kind: settings}}))
    return validate(Document("the URLs", draft.as_dict()))


def _password(place: Place, environment: Mapping[str, str]) -> dict[str, Any]:
    password = environment.get(_PASSWORDS.get(place.kind, ""))
    if password is None:
        return {"password": ""} if place.kind == "redis" and "user" in place.settings else {}
    return {"password": password}
