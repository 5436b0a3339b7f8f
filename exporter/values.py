"""Configuration value types: durations, sizes, addresses, label sets, secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

__all__ = [
    "Address",
    "AddressField",
    "Duration",
    "Labels",
    "Settings",
    "parse_address",
    "parse_duration",
    "read_secret",
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?")


class Settings(BaseModel):
    """Base of every configuration model: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def parse_duration(value: Any) -> float:
    """Read `15s`, `500ms`, `1m30s`, `24h`, `30d` or a number of seconds; return seconds.

    Raises:
        ValueError: It is none of these, or not greater than zero.
    """
    if isinstance(value, bool):
        raise ValueError("expected a duration such as 15s, 500ms or 1m")  # noqa: TRY004 - pydantic reports ValueError, lets TypeError through
    if isinstance(value, int | float):
        seconds = float(value)
    elif isinstance(value, str) and _DURATION.fullmatch(value.strip()):
        seconds = sum(float(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(value))
    else:
        raise ValueError("expected a duration such as 15s, 500ms or 1m")
    if not 0 < seconds < 1e9:
        raise ValueError("expected a duration greater than zero")
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds the way a configuration file has them: `15s`, `500ms`, `1h`."""
    for unit, size in reversed(_UNITS.items()):
        if seconds >= size and (seconds / size).is_integer():
            return f"{int(seconds / size)}{unit}"
    return f"{seconds:g}s"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "string",
                    "pattern": f"^{_DURATION.pattern}$",
                    "examples": ["15s", "500ms", "1m30s"],
                },
                {"type": "number", "exclusiveMinimum": 0, "description": "seconds"},
            ]
        }
    ),
]
"""A length of time in seconds, written as `15s`, `500ms`, `1m30s`, `24h` or a number."""


class Address(NamedTuple):
    """Where a server listens. IPv6 hosts are kept without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: Any) -> Address:
    """Read `host:port` or `[v6]:port`.

    Raises:
        ValueError: The host or the port is missing or malformed.
    """
    if isinstance(value, Address):
        return value
    expected = "expected host:port, such as identity-service:8081 or [::1]:8081"
    if not isinstance(value, str):
        raise ValueError(expected)  # noqa: TRY004 - pydantic reports ValueError, lets TypeError through
    host, colon, port = value.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        valid = re.fullmatch(r"[0-9a-fA-F:.]+(%\w+)?", host) is not None
    else:
        valid = _HOST.fullmatch(host) is not None and len(host) <= 253
    if not colon or not valid or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(expected)
    return Address(host, int(port))


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
