"""Configuration value types: durations, sizes, addresses, label sets, secrets."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from exporter.parsing import DURATION_PATTERN, Address, format_duration, is_host, parse_address, parse_duration
from exporter.reading import read_regular

__all__ = [
    "LABEL_NAME",
    "Address",
    "AddressField",
    "DnsName",
    "Duration",
    "Labels",
    "Settings",
    "looks_like_a_path",
    "read_secret",
]

LABEL_NAME = r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*"
"""A label name as a regular expression for the whole of it; two underlines at the start are Prometheus's own."""

_LABEL_NAME = re.compile(LABEL_NAME)


class Settings(BaseModel):
    """Base of every configuration model: frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, hide_input_in_errors=True, defer_build=True
    )

    @model_validator(mode="wrap")
    @classmethod
    def _errors_have_a_place(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Give a place to whatever a validator lets through of a library, such as the OverflowError of `re.compile`."""
        try:
            return handler(value)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(f"cannot be used: {type(error).__name__}") from error


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


def _check_label_name(name: str) -> str:
    if not _LABEL_NAME.fullmatch(name):
        raise ValueError("expected a label name: letters, digits and _, not starting with a digit or __")
    return name


Labels = dict[Annotated[str, AfterValidator(_check_label_name)], str]
"""Extra labels, put on every series of what they are configured for. Which names are taken, `exporter.config` knows."""


def _check_dns_name(name: str) -> str:
    if not is_host(name):
        raise ValueError("expected a DNS name; an international one as it is looked up, xn--…")
    return name


DnsName = Annotated[str, AfterValidator(_check_dns_name)]
"""A name that can be looked up, absolute or not."""


def looks_like_a_path(file: Path) -> bool:
    """Tell whether a file's name may be shown: it is there, or absolute, or in a folder that is there. Blocking.

    What is none of these may be a secret that was written where its file should be, which is a usual mistake.
    """
    try:
        return file.is_absolute() or file.exists() or (len(file.parts) > 1 and file.parent.is_dir())
    except (OSError, ValueError):  # too long for a name, or with a null character
        return False


MOST_OF_SECRET = 1 << 20
"""Bytes of a secret: no password or token comes near."""


def read_secret(path: Path) -> str:
    """Read a secret from a file, without its final newline. Blocking: call it from a thread.

    Raises:
        OSError: The file cannot be read, is no regular file, or is larger than any secret.
        ValueError: The file is empty or not UTF-8.
    """
    raw = read_regular(path, MOST_OF_SECRET)
    if len(raw) > MOST_OF_SECRET:
        raise OSError(errno.EFBIG, "it is too large for a secret")
    secret = raw.decode().rstrip("\r\n")
    if not secret:
        raise ValueError(f"{path}: the secret file is empty")
    return secret
