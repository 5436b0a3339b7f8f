"""Configuration value types: durations, sizes, addresses, label sets, secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from exporter.parsing import DURATION_PATTERN, Address, format_duration, parse_address, parse_duration

__all__ = [
    "Address",
    "AddressField",
    "Duration",
    "Labels",
    "Settings",
    "read_secret",
]

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Settings(BaseModel):
    """Base of every configuration model: frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, hide_input_in_errors=True
    )


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "string",
                    "pattern": f"^{DURATION_PATTERN}$",
                    "examples": ["15s", "500ms", "1m30s"],
                },
                {"type": "number", "exclusiveMinimum": 0, "description": "seconds"},
            ]
        }
    ),
]
"""A length of time in seconds, written as `15s`, `500ms`, `1m30s`, `24h` or a number."""

AddressField = Annotated[
    Address,
    BeforeValidator(parse_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^.+:(\d{1,5}|\$\{.+\})$", "examples": ["identity-service:8081"]}),
]
"""An `Address`, written as `host:port`."""

RESERVED_LABELS = frozenset(
    [
        "service",
        "probe",
        "target",
        "job",
        "instance",
        "le",
        "quantile",
        "reason",
        "stage",
        "phase",
        "outcome",
        "cause",
        "dependency",
        "part",
    ]
)
"""Names that the exporter or Prometheus sets itself."""


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    for name in labels:
        if not _LABEL_NAME.fullmatch(name) or name.startswith("__"):
            raise ValueError(f"{name!r} is not a label name: letters, digits and _, not starting with a digit or __")
        if name in RESERVED_LABELS:
            raise ValueError(f"{name!r} is set by the exporter or by Prometheus; choose another name")
    return labels


Labels = Annotated[dict[str, str], AfterValidator(_check_labels)]
"""Extra labels, put on every series of what they are configured for."""


def read_secret(path: Path) -> str:
    """Read a secret from a file, without its final newline. Blocking: call it from a thread.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is empty or not UTF-8.
    """
    secret = path.read_text("utf-8").rstrip("\r\n")
    if not secret:
        raise ValueError(f"{path}: the secret file is empty")
    return secret
