"""What PagerDuty's Events API v2 takes, and for what it refuses an event.

https://developer.pagerduty.com/docs/send-alert-event and its reference "Send an event to PagerDuty".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

__all__ = ["MAX_BYTES", "problems", "routing_key"]

MAX_BYTES = 512_000
"""Of a whole event; PagerDuty answers a longer one with 413."""
MAX_SUMMARY = 1024
MAX_DEDUP_KEY = 255
KEY_LENGTH = 32
ACTIONS = ("trigger", "acknowledge", "resolve")
SEVERITIES = ("critical", "error", "warning", "info")


def routing_key(receiver: str) -> str:
    """Return an integration key for a receiver: 32 characters, as PagerDuty's are."""
    return sha256(receiver.encode()).hexdigest()[:KEY_LENGTH]


def problems(body: bytes, keys: Mapping[str, str]) -> list[str]:
    """Tell everything for which an event is refused; nothing: it is taken.

    Args:
        body: What was posted.
        keys: Integration keys that there are.
    """
    if len(body) > MAX_BYTES:
        return [f"the event has {len(body)} bytes, more than {MAX_BYTES}"]
    try:
        event = json.loads(body)
    except ValueError:
        return ["the body is not JSON"]
    if not isinstance(event, dict):
        return ["the body is not an object"]
    return list(_event(event, keys))


def _event(event: Mapping[str, Any], keys: Mapping[str, str]) -> Iterator[str]:
    key, action, dedup = event.get("routing_key"), event.get("event_action"), event.get("dedup_key")
    if not isinstance(key, str) or len(key) != KEY_LENGTH or not key.isalnum():
        yield f"routing_key is not {KEY_LENGTH} letters and digits"
    elif key not in keys:
        yield "routing_key is of no integration"
    if action not in ACTIONS:
        yield f"event_action is none of {', '.join(ACTIONS)}"
    if dedup is not None and (not isinstance(dedup, str) or len(dedup) > MAX_DEDUP_KEY):
        yield f"dedup_key is not a string of at most {MAX_DEDUP_KEY} characters"
    if action in ("acknowledge", "resolve") and not dedup:
        yield f"dedup_key is required to {action}"
    yield from _texts(event, "", ("client", "client_url"))
    yield from _listed(event, "links", "href")
    yield from _listed(event, "images", "src")
    payload = event.get("payload")
    if action == "trigger":
        yield from _payload(payload) if isinstance(payload, dict) else ["payload is required"]
    elif payload is not None and not isinstance(payload, dict):
        yield "payload is not an object"


def _payload(payload: Mapping[str, Any]) -> Iterator[str]:
    summary, source = payload.get("summary"), payload.get("source")
    if not isinstance(summary, str) or not summary.strip() or len(summary) > MAX_SUMMARY:
        yield f"payload.summary is not a text of at most {MAX_SUMMARY} characters"
    if not isinstance(source, str) or not source.strip():
        yield "payload.source is required"
    if payload.get("severity") not in SEVERITIES:
        yield f"payload.severity is none of {', '.join(SEVERITIES)}"
    if payload.get("timestamp") is not None and not _holds(datetime.fromisoformat, payload["timestamp"]):
        yield "payload.timestamp is not in ISO 8601"
    if payload.get("custom_details") is not None and not isinstance(payload["custom_details"], dict):
        yield "payload.custom_details is not an object"
    yield from _texts(payload, "payload.", ("component", "group", "class"))


def _texts(where: Mapping[str, Any], prefix: str, names: tuple[str, ...]) -> Iterator[str]:
    yield from (f"{prefix}{name} is not a string" for name in names if not isinstance(where.get(name, ""), str))


def _listed(event: Mapping[str, Any], name: str, url: str) -> Iterator[str]:
    """Look at links or images: objects, each with a whole URL."""
    found = event.get(name)
    if found is None:
        return
    if not isinstance(found, list):
        yield f"{name} is not a list"
        return
    for number, item in enumerate(found):
        if not isinstance(item, dict) or not _is_url(item.get(url)):
            yield f"{name}[{number}].{url} is not an http or https URL"
        elif not isinstance(item.get("text", ""), str):
            yield f"{name}[{number}].text is not a string"


def _is_url(text: object) -> bool:
    return (
        isinstance(text, str)
        and _holds(urlsplit, text)
        and urlsplit(text).scheme in ("http", "https")
        and bool(urlsplit(text).netloc)
    )


def _holds(read: Callable[[Any], object], text: object) -> bool:
    try:
        read(text)
    except (TypeError, ValueError):
        return False
    return True
