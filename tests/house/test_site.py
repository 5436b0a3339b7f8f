"""The site: a build tells all that is wrong with the pages, and what it makes of links is right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.house.copies import copied

DEFECTS = {
    "a page": ("[a](no-page.md)\n", "docs/security.md: a link leads to docs/no-page.md, which is not in the repository"),
    "a file": (
        "[a](../config/none.yml)\n",
        "docs/security.md: a link leads to config/none.yml, which is not in the repository",
    ),
    "an anchor": (
        "[a](metrics.md#no-such)\n",
        "contains a link 'metrics.md#no-such', but the doc 'metrics.md' does not contain",
    ),
    "its own anchor": ("[a](#no-such-either)\n", "contains a link '#no-such-either', but there is no such anchor"),
    "a picture of others": ("![a](https://example.com/a.png)\n", "security.html fetches https://example.com/a.png"),
    "a table after words": ("words\n| a | b |\n| - |\n", "security.md: not made a block: '<p>words\\n| a | b |"),
}


def build(copy: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(copy / "site")],
        cwd=copy, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_everything_that_is_wrong_is_told(tmp_path: Path) -> None:
    copy = copied(tmp_path)
    page = copy / "docs" / "security.md"
    page.write_text("\n".join([page.read_text("utf-8"), *(text for text, _ in DEFECTS.values())]), "utf-8")
    (copy / "docs" / "nobody-leads-here.md").write_text("# Nobody leads here\n")
    told = build(copy)
    assert told.returncode == 1
    said = " ".join((told.stdout + told.stderr).split())
    assert {name for name, (_, words) in DEFECTS.items() if " ".join(words.split()) not in said} == set()
    assert "nobody-leads-here.md" in said


def test_links_lead_to_where_things_are_in_the_site(tmp_path: Path) -> None:
    copy = copied(tmp_path)
    (copy / "docs" / "security.md").write_text(
        "# Security\n\n[all](../README.md#try-it) [probe](probes/tls.md#settings) [changes](../CHANGELOG.md)\n"
        "[unit\nfile](../deploy/systemd/hafnium-exporter.service) [folder](../alerts)\n"
        "`[code](../none.yml)`\n\nwords:\n- one\n- two\n\n```text\n[code](none.md)\nwords\n- none\n```\n"
    )
    told = build(copy)
    site = copy / "site"
    html = (site / "security.html").read_text("utf-8")
    links = dict(re.findall(r'<a href="([^"#]+(?:#[^"]*)?)">([\w\n]+)</a>', html.partition("<article")[2]))
    wanted = {
        "index.html#try-it": "all",
        "probes/tls.html#settings": "probe",
        "changelog.html": "changes",
        "repository/deploy/systemd/hafnium-exporter.service.txt": "unit\nfile",
    }
    assert wanted.items() <= links.items(), told.stderr
    assert "none.yml" not in told.stderr
    assert "ExecStart=" in (site / "repository/deploy/systemd/hafnium-exporter.service.txt").read_text()
    assert "folder" in html
    assert "folder" not in links.values()
    assert "<code>[code](../none.yml)</code>" in html
    assert re.search(r"<ul>\s*<li>one</li>\s*<li>two</li>\s*</ul>", html)
    assert "words\n- none" in re.sub(r"<[^>]*>", "", html)
