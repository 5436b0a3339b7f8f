"""Masking of credentials that error messages and addresses of others may carry."""

from __future__ import annotations

import re

__all__ = ["mask"]

_SECRETS = (
    (re.compile(r"(://)[^/\s@]+@"), r"\1***@"),
    (re.compile(r"\b(bearer|basic)(\s+)[\w.~+/=-]{16,}", re.IGNORECASE), r"\1\2***"),
    (
        re.compile(
            r"((?:password|passwd|pwd|secret|token|api_?key|credentials?)[\"']?)(\s*[=:]\s*)[^\s&;,]+", re.IGNORECASE
        ),
        r"\1\2***",
    ),
)


def mask(text: str) -> str:
    """Mask what looks like credentials. It takes time in the length of the text: cut it before."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text
