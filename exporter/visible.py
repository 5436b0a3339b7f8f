"""Foreign text as it may be shown: what a terminal, a page or a log would obey instead of showing is a visible mark."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["told_apart", "visible"]

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Kinds of characters that are not shown: controls (a terminal's escapes), formats (which turn the direction of writing
round, or have no width), halves of characters, separators of lines."""


def visible(text: str, keep: str = "") -> str:
    r"""Return a text with a mark such as `\x1b` or `\u202e` for each character that would be obeyed rather than shown.

    Args:
        text: Any text. One that is harmless costs next to nothing and is returned as it is.
        keep: Characters to leave alone, such as the line feeds of a traceback.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter in keep or unicodedata.category(letter) not in _OBEYED else _mark(ord(letter)) for letter in text
    )


_LIKE_A_MARK = re.compile(r"\\(?=x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def told_apart(text: str, keep: str = "") -> str:
    r"""Return a text as `visible` does, but two that differ never as one: a backslash that only looks like a mark is one.

    For what names a thing, such as a label: `\x5cx1b` are the four letters `\x1b`, and `\x1b` is the control character.
    What is so marked is not to be marked again.
    """
    return visible(_LIKE_A_MARK.sub(r"\\x5c", text) if "\\" in text else text, keep)


def _mark(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
