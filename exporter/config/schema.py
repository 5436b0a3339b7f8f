"""JSON Schema of the configuration, from the same models that validate it."""

from __future__ import annotations

from typing import Any

from exporter.config.labels import reserved_labels
from exporter.config.models import Config
from exporter.values import LABEL_NAME

__all__ = ["json_schema"]


def json_schema() -> dict[str, Any]:
    """Return the schema, for editors: draft 2020-12.

    Keys that a probe needs may come from `defaults`, so the schema asks for none of them; `config validate` does.
    """
    schema = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "hafnium-exporter configuration"
    definitions = schema.get("$defs", {})
    for name, definition in definitions.items():
        if name not in ("MemberSettings", "ServiceSettings"):
            definition.pop("required", None)
    listed = {"type": "array", "items": definitions["Instances"]["properties"].pop("static")["items"], "minItems": 1}
    definitions["Instances"] = {"anyOf": [listed, definitions["Instances"]]}
    kinds = definitions["ProbesSettings"]["properties"]
    for kind in kinds.values():  # `tls:` alone switches a probe on
        kind.pop("default", None)
        kind.pop("title", None)
    definitions["Defaults"]["properties"]["probes"] = {"$ref": "#/$defs/ProbesSettings"}
    definitions["LabelName"] = {"pattern": f"^{LABEL_NAME}$", "not": {"enum": sorted(reserved_labels())}}
    for definition in definitions.values():
        labels = definition.get("properties", {}).get("labels")
        if labels is not None:
            labels["propertyNames"] = {"$ref": "#/$defs/LabelName"}
    return schema
