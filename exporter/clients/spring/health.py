"""Health answers of Spring Boot 1.x to 4.x: a bounded, frozen tree and the verdict that it gives.

The verdict comes from the body, not from the status code: a custom `http-mapping` drops the 503 that DOWN normally has.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from exporter.masking import cut, mask
from exporter.verdict import Failure, Reason, Stage

__all__ = ["DEFAULT_DOWN", "Component", "Health", "judge", "parse", "refusal"]

MAX_DEPTH = 32
MAX_COMPONENTS = 2_000
MAX_GROUPS = 100
MAX_STATUS = 64
MAX_NAME = 128
MAX_PATH = 512
MAX_ERROR = 200
MAX_NAMED = 10
"""Components named in the detail of a failure."""

DEFAULT_DOWN = ("DOWN", "OUT_OF_SERVICE", "FATAL")
"""Statuses that mean down: those that Boot orders before UP, and the one that its manual makes up as an example of a severe
status of one's own. Boot answers such a status with 200 unless it is told otherwise."""

_ALWAYS_UP = frozenset({"UP", "UNKNOWN"})


class Component(NamedTuple):
    """One component of a health tree.

    Attributes:
        path: Names from the root, joined by `/`: `db/ds1`.
        status: As reported, cut to 64 characters.
        error: `details.error` of a failing component, cut, with credentials masked; empty where there is none.
        leaf: It has no components of its own.
    """

    path: str
    status: str
    error: str
    leaf: bool


@dataclass(frozen=True, slots=True)
class Health:
    """A health answer.

    Attributes:
        status: Of the whole.
        components: All components in the order of the answer, each before those it contains.
        groups: Names of the health groups that the root lists.
        truncated: There were more components, or deeper ones, than are kept.
    """

    status: str
    components: tuple[Component, ...] = ()
    groups: tuple[str, ...] = ()
    truncated: bool = False

    def down(self, code: int, down_statuses: Collection[str]) -> frozenset[str]:
        """Return the statuses, in canonical form, that mean down in this answer.

        `UP` and `UNKNOWN` never do, `down_statuses` always do; any other status of the whole does if the code is not 2xx.
        """
        found = {canonical(status) for status in down_statuses}
        own = canonical(self.status)
        if own not in _ALWAYS_UP and not 200 <= code < 300:
            found.add(own)
        return frozenset(found)


@lru_cache(maxsize=256)
def canonical(status: str) -> str:
    """Write a status as Boot compares it: case and dashes do not count."""
    return status.upper().replace("-", "_")


def parse(body: bytes) -> Health:
    """Read a health answer of any shape.

    Boot 2.2 and later put children in `components`, 2.0 and 2.1 in `details`, 1.x beside `status`. Past the limits of this
    module, components are dropped, not the answer: its status still holds.

    Raises:
        Failure: `malformed`, where this is no JSON object with a status.
    """
    try:
        root = _DECODER.decode(body.decode("utf-8"))
    except RecursionError:
        raise _malformed("the JSON is nested too deeply") from None
    except ValueError as error:
        raise _malformed(f"not JSON: {error}" if body.strip() else "the answer is empty") from None
    if not isinstance(root, dict):
        raise _malformed("the JSON is not an object")
    status = root.get("status")
    if not isinstance(status, str) or not status.strip():
        raise _malformed("the JSON has no health status")
    components, truncated = _components(root)
    names = root.get("groups")
    groups = (
        tuple(_text(name, MAX_NAME) for name in names[:MAX_GROUPS] if isinstance(name, str))
        if isinstance(names, list)
        else ()
    )
    return Health(_text(status.strip(), MAX_STATUS), components, groups, truncated)


def judge(code: int, health: Health, down_statuses: Collection[str] = DEFAULT_DOWN) -> Failure | None:
    """Say whether a health answer is up (None) or how it is down.

    Args:
        code: HTTP status code; decides only over custom statuses.
        health: The answer.
        down_statuses: Statuses that mean down whatever the code.
    """
    down = health.down(code, down_statuses)
    if canonical(health.status) not in down:
        return None
    return Failure(Stage.CHECK, Reason.REPORTED_DOWN, _describe(health, down))


def refusal(code: int, headers: Mapping[str, str]) -> Failure | None:
    """Name what a status code alone says, for an answer without a usable body; None for 2xx."""
    if 200 <= code < 300:
        return None
    if code in {401, 403}:
        return Failure(Stage.CHECK, Reason.AUTH, f"HTTP {code}: the endpoint wants other credentials")
    if 300 <= code < 400:
        where = mask(headers.get("Location", "").partition("?")[0])
        return Failure(Stage.CHECK, Reason.REDIRECT, f"HTTP {code} to {where or 'nowhere'}")
    return Failure(Stage.CHECK, Reason.HTTP_STATUS, f"HTTP {code}")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=float)
"""No number counts here, and a float is read in linear time however many digits it has; Python refuses such an integer."""


def _malformed(detail: str) -> Failure:
    return Failure(Stage.CHECK, Reason.MALFORMED, detail)


def _text(value: str, limit: int) -> str:
    """Cut, and replace what UTF-8 cannot carry, so that two names which look the same are the same."""
    if len(value) > limit:
        value = value[:limit]
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


_Node = tuple[str, str, dict[str, Any]]
"""Name, status and JSON of a component."""


def _components(root: dict[str, Any]) -> tuple[tuple[Component, ...], bool]:
    found: list[Component] = []
    truncated = False
    stack: list[tuple[str, Iterator[_Node]]] = [("", iter(_children(root)))]
    while stack:
        prefix, siblings = stack[-1]
        for name, status, node in siblings:
            path = prefix + _text(name, MAX_NAME)
            if len(found) >= MAX_COMPONENTS:
                return tuple(found), True
            if len(path) > MAX_PATH or len(stack) > MAX_DEPTH:
                truncated = True
                continue
            children = _children(node)
            found.append(Component(path, _text(status, MAX_STATUS), _error(node), not children))
            if children:
                stack.append((path + "/", iter(children)))
                break
        else:
            stack.pop()
    return tuple(found), truncated


def _children(node: dict[str, Any]) -> list[_Node]:
    """Find what looks like a component, in the first of the three places that is there."""
    place = node.get("components")
    if not isinstance(place, dict):
        place = node.get("details")
        if not isinstance(place, dict):
            place = node
    found = []
    for name, child in place.items():
        if isinstance(child, dict):
            status = child.get("status")
            if isinstance(status, str) and (status := status.strip()):
                found.append((name, status, child))
    return found


def _error(node: dict[str, Any]) -> str:
    details = node.get("details", node)
    error = details.get("error") if isinstance(details, dict) else None
    return mask(_text(cut(error, 4 * MAX_ERROR), 4 * MAX_ERROR))[:MAX_ERROR] if isinstance(error, str) else ""


def _describe(health: Health, down: frozenset[str]) -> str:
    culprits = [item for item in health.components if item.leaf and canonical(item.status) in down]
    if not culprits:
        culprits = [item for item in health.components if canonical(item.status) in down]
    if not culprits:
        return f"status {health.status}"
    # Names first: the detail is cut at its end, and the errors are what can be spared.
    names = ", ".join(item.path for item in culprits[:MAX_NAMED])
    more = f" and {len(culprits) - MAX_NAMED} more" if len(culprits) > MAX_NAMED else ""
    error = next((item.error for item in culprits if item.error), "")
    return f"status {health.status}: {names}{more}" + (f" ({error})" if error else "")
