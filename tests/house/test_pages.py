"""Pages name what there is: commands and their options, targets of make, metrics, alerts, files."""

from __future__ import annotations

import re

import pytest

from exporter.alerts import rules
from exporter.alerts.model import Options
from exporter.cli.main import cli
from exporter.concepts import told
from exporter.docgen import FILLED
from exporter.metrics.core import CORE
from exporter.probes import probe_types
from exporter.probing.probe import Confirmation
from exporter.verdict import PROBER_FAULTS, Verdict
from tests.house.copies import ROOT
from tests.house.pages import PAGES, command_of, commands, options, read, shown

MANUALS = ["README.md", "CONTRIBUTING.md", *(f"docs/{name}.md" for name in ("concepts", "running", "upgrading", "compared"))]
FAMILIES = {family.name for family in CORE} | {family.name for probe in probe_types().values() for family in probe.metrics}
ALERTS = {alert.name for groups in rules.files(Options()).values() for group in groups for alert in group.alerts}
TARGETS = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.MULTILINE))
_OURS = re.compile(r"(?:\.venv/bin/|/opt/hafnium-exporter/bin/)?hafnium-exporter")
_ALERT = re.compile(r"(?<![\w`./-])((?:Exporter|Probe|Service|Discovery|Targets|Watchdog)[A-Za-z0-9]*)(?![\w./-])")
_WORDS = {
    "Service",
    "ServiceMonitor",
    "Services",
    "ServiceUp",
    "Probe",
    "Probes",
    "ProbeSettings",
    "Exporter",
    "Targets",
    "Discovery",
}


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_commands_and_their_options_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for words in commands(text):
        if words and _OURS.fullmatch(words[0]):
            command, rest = command_of(words[1:])
            given = {word.partition("=")[0] for word in rest if word.startswith("-") and word != "-"}
            assert given <= options(command), words
        if words[:1] == ["make"]:
            assert {word for word in words[1:] if re.fullmatch(r"[a-z0-9-]+", word)} <= TARGETS, words
    assert set(re.findall(r"`make ([a-z0-9-]+)", text)) <= TARGETS
    for verb in re.findall(r"`hafnium-exporter ([a-z-]+(?: [a-z-]+)?)", text):
        first, *then = verb.split()
        command_of([first, *(then if hasattr(cli.get_command(None, first), "commands") else [])])  # type: ignore[arg-type] # none is looked at


@pytest.mark.parametrize("page", MANUALS)
def test_metrics_and_alerts_exist(page: str) -> None:
    text = read(page)
    named = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\b(probe_[a-z0-9_]+)\b", text)}
    assert {name for name in named - FAMILIES - {"probe_tcp_banner_bytes", "probe_types"} if not name.endswith("_")} == set()
    assert set(_ALERT.findall(text)) - _WORDS <= ALERTS


def test_every_table_that_is_filled_in_has_its_place() -> None:
    assert len({(filled.page, filled.begin) for filled in FILLED}) == len(FILLED) > 3
    for filled in FILLED:
        assert filled(read(filled.page)) == read(filled.page)
    with pytest.raises(ValueError, match="expected one table"):
        FILLED[0]("no place")


U, D, N = Verdict.UP, Verdict.DOWN, Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("attempts", "rule", "expected"),
    [
        ("uuduu", Confirmation(), [U, U, U, U, U]),
        ("uudddu", Confirmation(), [U, U, U, D, D, U]),
        ("uu??u", Confirmation(), [U, U, N, N, U]),
        ("ud?du", Confirmation(), [U, U, N, D, U]),
        ("udd??d", Confirmation(), [U, U, D, N, N, D]),
        ("dduu", Confirmation(successes=2), [N, D, D, U]),
    ],
)
def test_the_picture_of_confirmation_is_what_comes_of_it(attempts: str, rule: Confirmation, expected: list[Verdict]) -> None:
    """What the page says in words of the picture holds for what draws it."""
    assert told(attempts, rule) == expected


def test_the_page_of_concepts_has_every_reason_that_leaves_it_open() -> None:
    text = read("docs/concepts.md")
    assert all(f"| `{reason.value}` | {reason.meaning} |" in text for reason in PROBER_FAULTS)
    pictures = re.findall(r"\]\((pictures/\w+\.svg)\)", text)
    assert sorted(pictures) == sorted(f"pictures/{path.name}" for path in (ROOT / "docs" / "pictures").glob("*.svg"))
