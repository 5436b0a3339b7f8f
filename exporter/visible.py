"""Foreign text as it may be shown: what a terminal, a page or a log would obey instead of showing is a visible mark."""

from __future__ import annotations

import unicodedata

__all__ = ["visible"]

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


def _mark(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
