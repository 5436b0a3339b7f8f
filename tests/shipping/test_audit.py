"""The audit of what is shipped: it fails for a known vulnerability, and where nothing was asked it does not say "none"."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from shipping.audit import LOCK, audit, judge

HOLE = {
    "id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fixed_in": ["9999.1"], "summary": "A hole.",
    "details": "", "link": "https://example.org", "source": "osv", "withdrawn": None,
}  # fmt: skip

THROUGH = """
import sys, requests
send, port = requests.Session.request, {port}
def request(self, method, url, **options):
    return send(self, method, url.replace("https://pypi.org", f"http://127.0.0.1:{{port}}"), **options)
requests.Session.request = request
requests.Session.trust_env = False
from pip_audit._cli import audit
audit()
"""
"""pip-audit as it is, asking the port of a test for PyPI."""

Answer = Callable[[str], tuple[int, Any]]


@pytest.fixture
def database() -> Iterator[Callable[[Answer], list[str]]]:
    """Return what starts a database and gives the pip-audit that asks it."""
    servers = []

    def start(answer: Answer) -> list[str]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answer(self.path.split("/")[2])
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return [sys.executable, "-c", THROUGH.format(port=server.server_address[1])]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_known_vulnerability_fails_and_is_named(database: Callable[[Answer], list[str]], tmp_path: Path) -> None:
    program = database(lambda name: (200, {"vulnerabilities": [HOLE] if name == "aiohttp" else []}))
    found = audit(program, tmp_path, 240)
    assert found.failed
    version = next(line.split("==")[1].split()[0] for line in LOCK.read_text().splitlines() if line.startswith("aiohttp=="))
    locked = sum("==" in line for line in LOCK.read_text().splitlines())
    assert found.lines == [
        f"aiohttp {version}: PYSEC-2026-1, fixed in 9999.1",
        f"audited: {locked} packages, 1 known vulnerabilities",
    ]


def test_where_the_database_knows_nothing_that_is_said_and_nothing_fails(
    database: Callable[[Answer], list[str]], tmp_path: Path
) -> None:
    found = audit(database(lambda _: (404, {})), tmp_path, 240)
    assert not found.failed
    assert found.lines == ["NOT AUDITED: no database of vulnerabilities knows these packages here"]


def test_a_database_out_of_reach_is_told(database: Callable[[Answer], list[str]], tmp_path: Path) -> None:
    found = audit(database(lambda _: (503, {})), tmp_path / "one", 240)
    assert (found.failed, found.lines) == (False, ["NOT AUDITED: the database of vulnerabilities is out of reach"])
    nobody = [sys.executable, "-c", THROUGH.format(port=9)]
    assert audit(nobody, tmp_path / "other", 240) == found


def test_it_is_bounded_in_time(tmp_path: Path) -> None:
    found = audit([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path, 0.5)
    assert (found.failed, found.lines) == (False, ["NOT AUDITED: no answer within 0.5 s"])


def test_an_audit_that_breaks_fails(tmp_path: Path) -> None:
    found = audit([sys.executable, "-c", "raise SystemExit('broken')"], tmp_path)
    assert found.failed
    assert found.lines == ["broken", "the audit itself failed"]


def test_what_the_database_does_not_know_is_named_beside_what_it_knows() -> None:
    hole = {"id": "CVE-1", "fix_versions": [], "aliases": [], "description": ""}
    report = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": [hole]}, {"name": "b", "version": "1", "vulns": []},
            {"name": "c", "skip_reason": "not found"},
        ]
    }  # fmt: skip
    verdict = judge(report)
    assert verdict.failed
    assert verdict.lines == [
        "a 1: CVE-1, fixed in no version yet",
        "audited: 2 packages, 1 known vulnerabilities",
        "NOT AUDITED, as the database does not know them: c",
    ]
