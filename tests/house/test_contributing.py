"""CONTRIBUTING.md: the names of its walk exist, and its probe is one when it is put where the page says."""

from __future__ import annotations

import re
import socketserver
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from exporter.engine.scheduler import TICK
from tests.house.copies import ROOT, copied, python
from tests.probes.doing import threaded
from tests.probes.traitor import WAYS

PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
WALK = re.findall(r"^\| [^|]+ \| `(exporter/[\w/]+\.py)` `([\w.]+)` \|", PAGE, re.MULTILINE)
_FILE = re.compile(r"^`([\w/.]+)`:\n\n(`{3,})\w+\n(.*?)\n\2$", re.MULTILINE | re.DOTALL)
FILES = {name: text for name, _, text in _FILE.findall(PAGE)}


def test_the_walk_goes_all_the_way() -> None:
    steps = re.findall(r"^\| (?!step|---)[^|]+ \| `exporter/", PAGE, re.MULTILINE)
    assert len(WALK) == len(steps) > 12
    assert WALK[0][0] == "exporter/engine/scheduler.py"
    assert WALK[-1][0] == "exporter/web/exposition.py"


@pytest.mark.parametrize(("file", "name"), WALK)
def test_what_the_walk_names_is_there(file: str, name: str) -> None:
    found = import_module(file.removesuffix(".py").replace("/", "."))
    for part in name.split("."):
        found = getattr(found, part)
    assert getattr(found, "__module__", None) == file.removesuffix(".py").replace("/", ".")


def test_the_number_of_the_walk_is_that_of_the_code() -> None:
    assert f"looks every {1000 * TICK:g} ms" in PAGE


class _Greeting(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        self.rfile.read()


def test_the_probe_of_the_page_is_one(tmp_path: Path) -> None:
    """What every probe must pass, it passes, and `check` asks a real server with it, and exits 0 for up."""
    assert {name: text for name, text in FILES.items() if (ROOT / name).exists()} == {}
    assert sorted(FILES) == ["docs/probes/tcp.md", "exporter/probes/tcp.py", "tests/probes/test_tcp.py"]
    copy = copied(tmp_path)
    for name, text in FILES.items():
        (copy / name).write_text(text + "\n", "utf-8")
    python(copy, "-m", "exporter.docgen")
    assert "`probe_tcp_banner_bytes`" in (copy / "docs" / "metrics.md").read_text("utf-8")
    code = [name for name in FILES if name.endswith(".py")]
    python(copy, "-m", "ruff", "check", "--no-cache", *code)
    python(copy, "-m", "ruff", "format", "--no-cache", "--check", *code)
    tests = [f"tests/probes/test_{name}.py" for name in ("tcp", "every_kind", "deadlines")]
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'of'}", "-k", "tcp or no_two"]
    told = python(copy, "-m", "pytest", *options, *tests)
    its_own, of_every_kind, deadlines = 6, 5, len(WAYS)
    assert int(re.findall(r"(\d+) passed", told)[0]) >= its_own + of_every_kind + deadlines, told
    config = tmp_path / "exporter.yml"
    with threaded(_Greeting) as port:
        member = {"instances": [f"127.0.0.1:{port}"], "probes": {"tcp": {"banner": "220 "}}}
        config.write_text(yaml.safe_dump({"services": {"mail": member}}), "utf-8")
        told = python(copy, "-m", "exporter", "check", "--config", str(config))
    assert "mail" in told
