"""What is told of a statement: no value, no comment, nothing of a command but its first word."""

from __future__ import annotations

import pytest

from exporter.clients.postgres.told import MAX_TOLD, told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT  a\n\tFROM t WHERE b = $1", "SELECT a FROM t WHERE b = $1"),
        ("select 'secret', 4711, 1.5e3, .5, a1 from t2", "select ?, ?, ?, ?, a1 from t2"),
        ("SELECT E'secret\\n', x'1f', N'secret', U&'secret', 'it''s secret'", "SELECT ?, ?, ?, ?, ?"),
        ("SELECT $$secret$$, $a$ $$ secret $a$, $1, $12", "SELECT ?, ?, $1, $12"),
        ("SELECT $é$a secret$é$, $😀$a secret$😀$, $٣$a secret$٣$, $\xa0$a secret$\xa0$", "SELECT ?, ?, ?, ?"),
        ("SELECT 😀$a, b FROM é٣", "SELECT 😀$a, b FROM é٣"),
        ("SELECT a /* secret */ , b -- secret\n, c", "SELECT a , b , c"),
        ("/* secret */ (((SELECT 1)))", "(((SELECT ?)))"),
        ('SELECT "a--b", "o""dd", "x/*y" FROM t', 'SELECT "a--b", "o""dd", "x/*y" FROM t'),
        ("SELECT a$b$c, like'secret' FROM t", "SELECT a$b$c, like? FROM t"),
        ("SELECT 1 IN ($1 /*, ... */)", "SELECT ? IN ($1 )"),
        ("WITH x AS (VALUES ('secret')) TABLE x", "WITH x AS (VALUES (?)) TABLE x"),
        ("INSERT INTO t VALUES (-1, 0x1f, 1_000)", "INSERT INTO t VALUES (-?, ?, ?)"),
        # what has no end, or an end that cannot be told
        ("SELECT 'secret", "SELECT …"),
        ("SELECT a, 'it\\'s secret' FROM t", "SELECT a, …"),
        ("SELECT E'it\\'s secret' FROM t", "SELECT E…"),
        ("SELECT $a$ secret $b$", "SELECT …"),
        ("SELECT 1 /* /* nested */ secret */ + 2", "SELECT ? …"),
        ('SELECT "secret', "SELECT …"),
        # commands
        ("ALTER ROLE x PASSWORD 'secret'", "ALTER …"),
        ("-- secret\n create role x", "CREATE …"),
        ("COPY (SELECT 'secret') TO STDOUT", "COPY …"),
        ("DO $$ secret $$", "DO …"),
        ("EXPLAIN ANALYZE SELECT 'secret'", "EXPLAIN …"),
        ("secret", "…"),
        ("", "…"),
        ("'SELECT'", "…"),
        # letters that do not show
        ('SELECT "a\x1b[31m\u202eb"', 'SELECT "a\x1b[31m\u202eb"'),  # marked where it is written
    ],
)  # fmt: skip
def test_a_statement_is_told_without_what_is_in_it(text: str, expected: str) -> None:
    assert told(text) == expected


def test_it_is_short_and_costs_what_its_length_does() -> None:
    assert len(told("SELECT " + "column, " * 250)) == MAX_TOLD
    assert told("SELECT " + "column, " * 250).endswith("…")
    for hostile in ("'" * 2000, "$" * 2000, "/*" * 1000, "$a$" * 600, "''\\" * 600, '"' * 1999, "(" * 2000):
        assert len(told(f"SELECT {hostile}")) <= MAX_TOLD
