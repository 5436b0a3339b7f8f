"""Masking of credentials that answers, error messages and addresses may carry: what looks like one, and our own."""

from __future__ import annotations

import re
from base64 import b64encode

__all__ = ["basic_pair", "cut", "forget", "mask", "mask_own", "remember"]

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
"""Secrets that are looked for; those used last."""

_own: dict[str, None] = {}


def remember(secret: str) -> None:
    """Take note of a secret of our own, which a hostile or careless server may repeat in its answers."""
    if len(secret) < _SHORTEST:
        return
    _own.pop(secret, None)  # one that is still in use is the newest, so tokens that are issued anew do not push it out
    _own[secret] = None
    while len(_own) > _MOST:
        del _own[next(iter(_own))]


def forget() -> None:
    """Forget all secrets of our own: tests use words for them."""
    _own.clear()


def mask_own(text: str) -> str:
    """Mask our own secrets in what others say."""
    found = [secret for secret in _own if secret in text]
    for secret in sorted(found, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, "***")
    return text


def cut(text: str, most: int, *, end: bool = False) -> str:
    """Cut what others say, to be masked: a secret of our own that the cut would go through, and so hide, is left out.

    Args:
        text: What is said.
        most: Characters to keep.
        end: Keep the end, not the beginning.
    """
    if len(text) <= most:
        return text
    if end:
        start = begin = len(text) - most
        for secret in _own:
            at = text.rfind(secret, max(0, begin - len(secret) + 1), begin + len(secret) - 1)
            start = max(start, at + len(secret)) if at >= 0 else start
        return text[start:]
    stop = most
    for secret in _own:
        at = text.find(secret, max(0, most - len(secret) + 1), most + len(secret) - 1)
        stop = min(stop, at) if at >= 0 else stop
    return text[:stop]


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
