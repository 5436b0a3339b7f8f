"""Programs built from Go modules: once, whoever asks; a failure tells what was said; a build given up is taken up again."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exporter.demo import golang
from exporter.demo.golang import BuildError, Go, built, is_built
from tests.waiting import until

GO = """#!/bin/sh
# In the place of go: a toolchain is a folder, what is to be compiled is a command.
case "$1 $2" in
  "mod download")
    mkdir -p "$GOMODCACHE/toolchain/bin" "$GOMODCACHE/toolchain/pkg/tool/linux"
    cp "$0" "$GOMODCACHE/toolchain/bin/go"; chmod -x "$GOMODCACHE/toolchain/bin/go"
    echo "{\\"Dir\\": \\"$GOMODCACHE/toolchain\\"}" ;;
  "run "*) shift; exec sh -c "$1" ;;
esac
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "path").mkdir()
    program = tmp_path / "path" / "go"
    program.write_text(GO)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(golang, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def test_it_is_built_once_for_all_who_ask(cache: Path) -> None:
    builds: list[str] = []

    def recipe(go: Go, folder: Path) -> None:
        builds.append(go.run("run", f"sleep 0.2; echo program > {folder}/program; echo done", folder=folder))

    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda _: built("thing@1", recipe), range(3)))
    assert builds == ["done\n"]
    assert set(folders) == {cache / "thing@1"}
    assert (cache / "thing@1" / "program").read_text() == "program\n"
    assert not (cache / "thing@1.part").exists(), "gigabytes stay behind"
    assert is_built("thing@1")
    assert not is_built("thing@2")


def test_a_failure_says_what_was_said(cache: Path) -> None:
    def recipe(go: Go, folder: Path) -> None:
        go.run("run", "echo undefined: Foo >&2; exit 1", folder=folder)

    with pytest.raises(BuildError, match="undefined: Foo"):
        built("thing@1", recipe)
    assert not is_built("thing@1")


def test_a_build_that_was_given_up_goes_on_where_it_was(cache: Path) -> None:
    given_up, said = threading.Event(), list[str]()
    compiled = cache / "thing@1.part" / "compiled-so-far"

    def recipe(go: Go, folder: Path) -> None:
        go.progress("compiling")
        go.run("run", f"test -e {compiled} || {{ touch {compiled}; exec sleep 60; }}", folder=folder)

    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(built, "thing@1", recipe, said.append, given_up)
        until(compiled.exists, 5, "it compiles")
        given_up.set()
        with pytest.raises(BuildError, match="given up"):
            building.result(30)
    assert time.monotonic() - began < 30
    assert built("thing@1", recipe) == cache / "thing@1"
    assert said == ["compiling"]


def test_without_go_it_says_so(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "path" / "go").unlink()
    monkeypatch.setenv("PATH", "/usr/bin/nowhere")
    with pytest.raises(BuildError):
        built("thing@1", lambda _go, _folder: None)
    assert not (cache / "thing@1").exists()
