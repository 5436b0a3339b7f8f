"""Whatever catches any exception counts it as a defect, or raises it on: none is only logged, or lost."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "exporter"

COUNTING = frozenset({"note", "_defect", "defect", "unexpected", "tell", "unforeseen", "classify", "note_part"})
"""What counts an exception that it is given: `Defects.note`, what the web server and probes are handed for it,
`unforeseen.tell`. `classify` and `note_part` count what they cannot name."""

RAISING_ON = frozenset({"set_exception"})
"""What raises it where somebody waits for the result."""

OTHERS = {
    "auth/tokens.py:_run": "_named tells what it cannot name",
    "cli/daemon.py:work": "a thread of a command, whose caller raises it",
    "cli/main.py:main": "a command's end, which prints it; there is no daemon",
    "clients/kafka/group_reading.py:_ask_one_by_one": "who calls it raises it once the others have been asked",
    "clients/kafka/group_reading.py:read_groups": "told of the part groups, by note_part",
    "clients/kafka/cluster.py:_read_offsets": "told of the part offsets, by note_part",
    "clients/kubernetes/kubeconfig_reader.py:main": "a process of its own, in which a package reads what an operator wrote",
    "config/document.py:_scalar": "PyYAML's words for a value that is not of its tag, which is reported by its place",
    "demo/springboot/actuator.py:_answer": "the demo's fleet: an answer 500, as Spring Boot's",
    "demo/springboot/service.py:_restarting": "the demo's fleet, which begins the part again",
    "engine/state_file.py:run": "raised where the thread is waited for",
    "engine/target.py:run": "_fail notes it",
    "logs.py:emit": "counted as a line that is lost: what counts defects would log it, and so be here again",
    "net/files.py:_work": "raised for all who wait for the file",
}
"""Handlers that do something else with it, and why that is right."""


def handlers(tree: ast.AST, name: str = "") -> Iterator[tuple[str, ast.ExceptHandler]]:
    """Yield each handler of any exception, with the function that it is in."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from handlers(node, node.name)
            continue
        if isinstance(node, ast.ExceptHandler) and catches_any(node.type):
            yield name, node
        yield from handlers(node, name)


def catches_any(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(isinstance(each, ast.Name) and each.id in ("Exception", "BaseException") for each in kinds)


def is_sound(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler ends in a `raise`, or hands the very exception to something that counts it."""
    return any(isinstance(node, ast.Raise) or counts(node, handler.name) for each in handler.body for node in ast.walk(each))


def counts(node: ast.AST, error: str | None) -> bool:
    if not isinstance(node, ast.Call) or error is None:
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return called in COUNTING | RAISING_ON and any(isinstance(each, ast.Name) and each.id == error for each in node.args)


def unsound(source: str, place: str) -> set[str]:
    return {f"{place}:{name}" for name, handler in handlers(ast.parse(source)) if not is_sound(handler)}


def test_every_exception_that_nobody_foresaw_is_counted_or_raised() -> None:
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        found |= unsound(path.read_text("utf-8"), path.relative_to(PACKAGE).as_posix())
    assert found - OTHERS.keys() == set(), "count it with unforeseen.tell or Defects.note, or say here why not"
    assert OTHERS.keys() - found == set(), "of these there is none any more"


def test_one_that_only_logs_is_found() -> None:
    planted = "def f():\n  try: g()\n  except Exception as error:\n    {}\n"
    assert unsound(planted.format("log.exception('x')"), "p") == {"p:f"}
    assert unsound(planted.format("pass"), "p") == {"p:f"}
    assert unsound(planted.format("defects.note(where, 'x', another)"), "p") == {"p:f"}
    assert unsound("try: g()\nexcept: pass", "p") == {"p:"}
    assert unsound("async def f():\n  try: g()\n  except (KeyError, BaseException): pass", "p") == {"p:f"}
    assert unsound(planted.format("defects.note(where, 'x', error)"), "p") == set()
    assert unsound(planted.format("raise"), "p") == set()
    assert unsound(planted.format("waiting.set_exception(error)"), "p") == set()
    assert unsound("def f():\n  try: g()\n  except KeyError: pass", "p") == set()
