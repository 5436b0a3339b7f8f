"""A draft as an annotated file: what each setting means is what the models say of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from textwrap import wrap
from typing import Any

import yaml

from exporter.config.document import Location, parse_document
from exporter.config.loader import validate
from exporter.config.models import Config
from exporter.config.paths import description_at
from exporter.config.thresholds import Thresholds
from exporter.parsing import format_duration
from exporter.scaffold.draft import Draft
from exporter.scaffold.urls import EXAMPLES
from exporter.visible import visible

__all__ = ["checked", "written"]

_WIDTH = 110
_USED = ("latency_p99", "error_ratio", "heap_ratio", "pool_ratio", "certificate", "consumer_lag")
"""Thresholds that people change first."""


def written(draft: Draft, file: str, *, listen: str) -> str:
    """Write a draft as YAML.

    Args:
        draft: What is in it.
        file: Name of the file, for the commands at its head.
        listen: Where the exporter listens.
    """
    told: set[str] = set()
    name, place = visible(shlex.quote(file)), visible(listen)
    value = draft.as_dict()
    lines = [
        *_comment(f"Written by `hafnium-exporter config init` from {draft.origin}. It is yours now: change what you like."),
        "#",
        f"#   hafnium-exporter config validate --config {name}   # every error at once, with line and key",
        f"#   hafnium-exporter check --config {name}             # ask everything now",
        f"#   hafnium-exporter serve --config {name}             # the daemon; status page on {place}",
        "#",
        *_comment(
            "Durations are 500ms, 15s, 1m30s, 24h. ${NAME} and ${NAME:-default} are environment variables. Secrets come "
            "from files, which are read again at each login, or from variables; never write one in here. All settings: "
            "`hafnium-exporter config schema`."
        ),
        *_remarks(draft),
        "",
        "server:",
        *_described(("server", "listen"), "  ", told),
        f"  listen: {_scalar(listen)} # 0.0.0.0:9818 lets others in: read docs/security.md first",
        "",
        "defaults: # what every probe inherits; what a probe says itself wins",
        *_defaults(told),
        "",
    ]
    for section in value:
        lines += [*_section(section, value[section], draft, told), ""]
    return "\n".join(_without_doubles(lines)).rstrip("\n") + "\n"


def checked(text: str, file: str) -> Config:
    """Validate a file that was written.

    Raises:
        ConfigError: It is not valid.
    """
    return validate(parse_document(text, file, os.environ))


def _remarks(draft: Draft) -> Iterator[str]:
    remarks = list(draft.remarks)
    for kind, services in draft.missing().items():
        example = next((each for each in EXAMPLES.split(", ") if each.startswith(kind)), kind)
        remarks.append(
            f"{', '.join(services)} {'uses' if len(services) == 1 else 'use'} {kind}, which nothing here probes: Spring "
            f"does not tell where it is. Have it written too: `config init … {example}`."
        )
    for remark in remarks:
        yield "#"
        yield from _comment(remark)


def _defaults(told: set[str]) -> Iterator[str]:
    values = {"interval": "15s", "timeout": "5s", "confirm": {"failures": 2, "successes": 1}}
    yield from _mapping(values, ("defaults",), "  ", told)
    yield "  # thresholds: # from where on something is wrong; alerts, pages and `check` follow"
    fields = Thresholds.model_fields
    for name in _USED:
        default = fields[name].default
        duration = name in ("latency_p99", "certificate")
        shown = format_duration(default) if duration else default
        yield f"  #   {name}: {shown} # {fields[name].description}"


def _section(name: str, members: Mapping[str, Any], draft: Draft, told: set[str]) -> Iterator[str]:
    yield from _described((name,), "", told)
    if name == "kubernetes":
        yield f"{name}:" if members else f"{name}: {{}}"
        yield from _mapping(members, (name,), "  ", told)
        return
    yield f"{name}:"
    for member, settings in members.items():
        for remark in (draft.services.get(member) or draft.dependencies[member]).remarks:
            yield from _comment(remark, "  ")
        yield f"  {_scalar(member)}:"
        yield from _mapping(settings, (name, member), "    ", told)


def _mapping(value: Mapping[str, Any], above: Location, indent: str, told: set[str]) -> Iterator[str]:
    """Write the settings of a mapping, each explained where it comes for the first time."""
    for key, setting in value.items():
        where = (*above, key)
        yield from _described(where, indent, told)
        if isinstance(setting, Mapping) and setting:
            yield f"{indent}{_scalar(key)}:"
            yield from _mapping(setting, where, indent + "  ", told)
        else:
            yield f"{indent}{_scalar(key)}: {_flow(setting)}"


def _described(where: Location, indent: str, told: set[str]) -> Iterator[str]:
    text = description_at(where)
    if text and text not in told:
        told.add(text)
        yield from _comment(text, indent)


def _comment(text: str, indent: str = "") -> Iterator[str]:
    # an application or a cluster may have said it: no character of it may end the comment
    for line in wrap(
        visible(" ".join(text.split())), _WIDTH - len(indent) - 2, break_long_words=False, break_on_hyphens=False
    ):
        yield f"{indent}# {line}"


def _flow(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, Mapping):
        return "{}"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """Write one value; in text, what would be a variable is none."""
    plain = value.replace("${", "$${") if isinstance(value, str) else value
    text: str = yaml.safe_dump(plain, default_flow_style=True, width=inf, allow_unicode=True)
    text = text.removesuffix("\n").removesuffix("\n...")
    return f'"{text}"' if isinstance(plain, str) and text == plain and any(mark in text for mark in ",[]{}") else text


def _without_doubles(lines: list[str]) -> Iterator[str]:
    before = "x"
    for line in lines:
        if line or before:
            yield line
        before = line
