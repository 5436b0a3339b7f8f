"""Masking of credentials that answers, error messages and addresses may carry: what looks like one, and our own."""

from __future__ import annotations

import re
from base64 import b64encode

__all__ = ["basic_pair", "mask", "mask_own", "remember"]

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

_SHORTEST = 6
"""Characters of a secret that is looked for in what others say: a shorter one is part of words."""

_MOST = 256
"""Secrets that are looked for; the newest."""

_own: dict[str, None] = {}


def remember(secret: str) -> None:
    """Take note of a secret of our own, which a hostile or careless server may repeat in its answers."""
    if len(secret) < _SHORTEST or secret in _own:
        return
    _own[secret] = None
    while len(_own) > _MOST:
        del _own[next(iter(_own))]


def mask_own(text: str) -> str:
    """Mask our own secrets in what others say."""
    for secret in tuple(_own):
        if secret in text:
            text = text.replace(secret, "***")
    return text


def mask(text: str) -> str:
    """Mask what looks like credentials. It takes time in the length of the text: cut it before."""
    text = mask_own(text)
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def basic_pair(username: str, password: str) -> str:
    """Return what a client sends for basic auth, and take note of it."""
    pair = b64encode(f"{username}:{password}".encode()).decode()
    remember(pair)
    return pair
