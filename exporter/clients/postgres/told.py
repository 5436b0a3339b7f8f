"""A statement as it may be told: without the values in it, without its comments, on one line, and short.

pg_stat_statements puts parameters in the place of values, but keeps a text as it came where the statement was planned before
it knew it (after a reset, and when it has pushed it out), and keeps comments, in which libraries put traces and people
anything. What is no query it keeps as it came before version 16, and after it in part: `ALTER ROLE … PASSWORD`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["MAX_TOLD", "told"]

MAX_TOLD = 120
"""Letters of a statement that are told."""

_QUERIES = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE"})
_COMMANDS = frozenset(
    {
        "ALTER", "ANALYZE", "BEGIN", "CALL", "CHECKPOINT", "CLOSE", "CLUSTER", "COMMENT", "COMMIT", "COPY", "CREATE",
        "DEALLOCATE", "DECLARE", "DISCARD", "DO", "DROP", "EXECUTE", "EXPLAIN", "FETCH", "GRANT", "IMPORT", "LISTEN", "LOAD",
        "LOCK", "MOVE", "NOTIFY", "PREPARE", "REASSIGN", "REFRESH", "REINDEX", "RELEASE", "RESET", "REVOKE", "ROLLBACK",
        "SAVEPOINT", "SECURITY", "SET", "SHOW", "START", "TRUNCATE", "UNLISTEN", "VACUUM",
    }
)  # fmt: skip

_FIRST = r"[^\x00-@\[-^`{-\x7f]"
"""What names and the tags of dollar quotes begin with: a letter, `_`, and to the server all that is not ASCII, spaces too.

Told by what it is not: a range up to the last character of all takes `re` a hundred times as long to compile.
"""

_FURTHER = r"[^\x00-/:-@\[-^`{-\x7f]"

_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n\r]*+ | /\*(?:[^*/]++|\*(?!/)|/(?!\*))*\*/ )
    | (?P<name> "(?:[^"]|"")*+" )
    | (?P<value>
          (?:[eEbBxXnN]|[uU]&)?'(?:[^'\\]|''|\\[^'])*+'
        | (?P<tag>\$(?:{first}{further}*)?\$).*?(?P=tag)
        | \.?[0-9][\w.]*
      )
    | (?P<rest> ['"].* | /\*.* | \$(?:{first}{further}*)?\$.* )
    | (?P<word> {first}(?:{further}|\$)*+ | \$[0-9]+ )
    | (?P<space> \s+ )
    | (?P<other> . )
    """.replace("{first}", _FIRST).replace("{further}", _FURTHER),
    re.VERBOSE | re.DOTALL,
)
"""`rest` is what has no end, or whose end depends on settings of the session (a backslash before a quote), or that nests:
all that follows may be a value. A group that looks ahead is not possessive: with Python 3.11.2, which Debian 12 has, such a
one matches nothing."""


def told(text: str) -> str:
    """Return how a statement is told: a query with `?` in the place of values, of anything else the command's first word.

    What of it would be obeyed rather than shown is marked where it is written, as in any label.
    """
    pieces: list[str] = []
    length = 0
    for piece in _pieces(text):
        pieces.append(piece)
        length += len(piece)
        if length > MAX_TOLD:
            break
    first = next((piece.upper() for piece in pieces if piece not in " ("), "")
    if first not in _QUERIES:
        return f"{first} …" if first in _COMMANDS else "…"
    text = "".join(pieces).strip()
    return text if len(text) <= MAX_TOLD else text[: MAX_TOLD - 1] + "…"


def _pieces(text: str) -> Iterator[str]:
    blank = False
    for token in _TOKEN.finditer(text):
        match token.lastgroup:
            case "comment" | "space":
                if not blank:
                    yield " "
                blank = True
                continue
            case "value":
                yield "?"
            case "rest":
                yield "…"
                return
            case _:
                yield token[0]
        blank = False
