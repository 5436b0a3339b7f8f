"""The settings of a kind of probe as a field of the configuration: its file is imported where a configuration uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from exporter.probes import probe_types

__all__ = ["OfKind", "annotation_of", "description_of"]


@dataclass(frozen=True, slots=True)
class OfKind:
    """Marks a field that holds the settings of a kind of probe, or None.

    Written in full, each kind's own model would be part of the configuration's, and with it whatever library the kind needs:
    half of what a check costs that uses one kind.

    Attributes:
        kind: Its name.
    """

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate by the kind's own model. What pydantic raises there keeps its place, under that of the field."""
        return core_schema.no_info_plain_validator_function(
            self._read, serialization=core_schema.wrap_serializer_function_ser_schema(lambda value, write: write(value))
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe it in full: editors are told of every kind."""
        optional: Any = Optional[self.settings_type]  # noqa: UP045 - of a value, not a type
        described = handler(TypeAdapter(optional).core_schema)
        return {**described, "default": None, "description": self.description}

    @property
    def settings_type(self) -> type[Any]:
        """The kind's own model."""
        return probe_types()[self.kind].settings_type

    @property
    def description(self) -> str:
        """What the kind does, in a line."""
        return (probe_types()[self.kind].__doc__ or self.kind).partition("\n")[0]

    def _read(self, value: Any) -> Any:
        return None if value is None else self.settings_type.model_validate(value)


def annotation_of(field: FieldInfo) -> Any:
    """Return the type of a model's field; where that is left to a kind of probe, the kind's own model."""
    mark = _mark(field)
    return field.annotation if mark is None else Optional[mark.settings_type]  # noqa: UP045 - of a value, not a type


def description_of(field: FieldInfo) -> str:
    """Return what a model says of its field; empty where it says nothing."""
    mark = _mark(field)
    return (field.description or "") if mark is None else mark.description


def _mark(field: FieldInfo) -> OfKind | None:
    return next((item for item in field.metadata if isinstance(item, OfKind)), None)
