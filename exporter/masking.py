"""Masking of credentials that answers, error messages and addresses may carry: what looks like one, and our own."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

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

_own: dict[str, tuple[str, ...]] = {}
"""Each secret with what it looks like in others' mouths."""

_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_=-"
_REST = re.compile("[A-Za-z0-9+/_=-]*")
"""What stands in base64 after the part that is the secret's alone: its ends are mixed with its neighbours."""


def remember(secret: str) -> None:
    """Take note of a secret of our own, which a hostile or careless server may repeat in its answers."""
    if len(secret) < _SHORTEST:
        return
    # One that is still in use is the newest, so tokens that are issued anew do not push it out.
    forms = _own.pop(secret, None)
    _own[secret] = forms or (secret, *sorted({*_written(secret), *_coded(secret)} - {secret}))
    while len(_own) > _MOST:
        del _own[next(iter(_own))]


def forget() -> None:
    """Forget all secrets of our own: tests use words for them."""
    _own.clear()


def _written(secret: str) -> Iterator[str]:
    """Yield how forms, URLs, JSON, HTML and lines of white space write a secret, where that is another way."""
    for coded in (quote_plus(secret), quote(secret), quote(secret, safe="")):
        yield coded
        yield re.sub("%..", lambda found: found[0].lower(), coded)
    yield html.escape(secret)
    for plain in (False, True):
        yield json.dumps(secret, ensure_ascii=plain)[1:-1]
    yield " ".join(secret.split())


def _coded(secret: str) -> Iterator[str]:
    """Yield what base64 makes of a secret wherever it begins in what was coded, as in `user:password`."""
    data = secret.encode("utf-8", "surrogatepass")
    for before in range(3):
        start, stop = -(-8 * before // 6), 8 * (before + len(data)) // 6
        for code in (b64encode, urlsafe_b64encode):
            core = code(b"\0" * before + data + b"\0\0").decode()[start:stop]
            if len(core) >= _SHORTEST:
                yield core


def mask_own(text: str) -> str:
    """Mask our own secrets in what others say, however they write them."""
    found = [(len(form), secret, form) for secret, forms in _own.items() for form in forms if form in text]
    for _, secret, form in sorted(found, reverse=True):  # one may be a part of another
        coded = form != secret and form in _coded(secret)
        text = _without_words(text, form) if coded else text.replace(form, "***")
    return text


def _without_words(text: str, form: str) -> str:
    """Mask the whole words of base64 that a form is a part of, in time that grows with the text alone."""
    parts, at = [], 0
    while (found := text.find(form, at)) >= 0:
        parts += [text[at:found].rstrip(_BASE64), "***"]
        rest = _REST.match(text, found + len(form))
        at = rest.end() if rest is not None else found + len(form)
    return "".join(parts) + text[at:]


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
        for form in _forms():
            at = text.rfind(form, max(0, begin - len(form) + 1), begin + len(form) - 1)
            start = max(start, at + len(form)) if at >= 0 else start
        return text[start:]
    stop = most
    for form in _forms():
        at = text.find(form, max(0, most - len(form) + 1), most + len(form) - 1)
        stop = min(stop, at) if at >= 0 else stop
    return text[:stop]


def _forms() -> Iterator[str]:
    return (form for forms in _own.values() for form in forms)


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
