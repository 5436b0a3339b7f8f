"""The OpenAPI document, made from the views that the API answers with."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from exporter import __version__
from exporter.verdict import Verdict

__all__ = ["document"]

_REF = "#/components/schemas/{model}"


def document(
    *,
    fleet: type[BaseModel],
    service: type[BaseModel],
    targets: type[BaseModel],
    incidents: type[BaseModel],
    error: type[BaseModel],
) -> bytes:
    """Describe the API as OpenAPI 3.1 in JSON.

    Args:
        fleet: The model of the list of services.
        service: The model of one service.
        targets: The model of a list of targets.
        incidents: The model of the list of incidents.
        error: The model of every refusal.
    """
    models = [(model, "serialization") for model in (fleet, service, targets, incidents, error)]
    schemas = models_json_schema(models, ref_template=_REF)[1]["$defs"]  # type: ignore[arg-type] # a list of pairs with a literal
    # JSON has no NaN and no infinity: a fact that is one of them is written as null.
    schemas["TargetView"]["properties"]["facts"]["additionalProperties"] = {"type": ["number", "null"]}
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "description": "Its name."}
    paths = {
        "/api/v1/services": _get(
            "listServices", "All services and dependencies, each with its worst targets.", fleet, error
        ),
        "/api/v1/services/{name}": _get(
            "getService", "One service or dependency with all its targets.", service, error, [name], missing=True
        ),
        "/api/v1/targets": _get("listTargets", "Targets, filtered.", targets, error, _filters(), missing=True),
        "/api/v1/incidents": _get("listIncidents", "What is down, by cause: each is one page.", incidents, error),
        "/events": _other(
            "get", "listen", "Server-sent events: `change` where what was asked for before is out of date.",
            "text/event-stream", statuses=("503",),
        ),
        "/badge/{name}.svg": _other(
            "get", "getBadge", "How one service or dependency is, as a picture.", "image/svg+xml", [name],
            statuses=("404", "503"), alike=("404",),
        ),
        "/embed/{name}": _other(
            "get", "getEmbed", "The same with since when, as a page to be framed.", "text/html", [name],
            statuses=("404", "503"),
        ),
        "/probe/now": {
            "post": {
                **_other(
                    "post", "probeNow", "Run one configured probe now, at most once a second a target; a page for people.",
                    "text/html", statuses=("400", "404", "408", "415", "503"),
                )["post"],
                "requestBody": _form("service", "probe", optional=("target",)),
            }
        },
    }  # fmt: skip
    return json.dumps(
        {
            "openapi": "3.1.0",
            "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
            "info": {
                "title": "Hafnium exporter",
                "version": __version__,
                "description": "What the exporter knows of the fleet. Times are Unix seconds, durations are seconds.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": {"schemas": schemas},
        }
    ).encode()


def _filters() -> list[dict[str, Any]]:
    texts = {"service": "Of this service or dependency only.", "probe": "Of this kind of probe only."}
    filters = [
        {"name": key, "in": "query", "schema": {"type": "string"}, "description": text} for key, text in texts.items()
    ]
    verdict = {"type": "string", "enum": [verdict.value for verdict in Verdict]}
    return [*filters, {"name": "verdict", "in": "query", "schema": verdict, "description": "With this verdict only."}]


def _get(
    operation: str,
    summary: str,
    answer: type[BaseModel],
    error: type[BaseModel],
    parameters: list[dict[str, Any]] | None = None,
    *,
    missing: bool = False,
) -> dict[str, Any]:
    responses = {
        "200": _response("What was asked for.", answer),
        "400": _response("A parameter is unknown, given twice, or has no such value.", error),
    }
    if missing:
        responses["404"] = _response("Nothing has that name.", error)
    responses["503"] = _response("Too many requests at once.", error)
    get = {"operationId": operation, "summary": summary, "parameters": parameters or [], "responses": responses}
    return {"get": get}


_REFUSALS = {
    "400": "It is no form.",
    "408": "It did not come in time.",
    "415": "It is of another type.",
    "403": "Whoever asks may not, or the page that has them ask.",
    "404": "Nothing has that name.",
    "503": "Too many at once; Retry-After says when to ask again.",
}


def _other(
    method: str,
    operation: str,
    summary: str,
    content_type: str,
    parameters: list[dict[str, Any]] | None = None,
    *,
    statuses: tuple[str, ...],
    alike: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Describe what answers with something else than JSON; its refusals are text, but for those that look alike."""
    wanted, text = ({kind: {"schema": {"type": "string"}}} for kind in (content_type, "text/plain"))
    answer = {"description": "What was asked for.", "content": wanted}
    refusals = {
        status: {"description": _REFUSALS[status], "content": wanted if status in alike else text}
        for status in ("403", *statuses)
    }
    responses = {"200": answer, **refusals}
    return {method: {"operationId": operation, "summary": summary, "parameters": parameters or [], "responses": responses}}


def _form(*required: str, optional: tuple[str, ...]) -> dict[str, Any]:
    """Describe the fields of a form."""
    schema = {
        "type": "object",
        "required": [*required],
        "properties": {n: {"type": "string"} for n in (*required, *optional)},
    }
    return {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}


def _response(description: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
