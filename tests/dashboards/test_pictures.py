"""The pictures of dashboards show what Grafana would, or there are none."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pictures.__main__ import page_of, photograph

GREEN, RED = "rgb(115, 191, 105)", "rgb(242, 73, 92)"
AREA = {"x": 0, "y": 0, "w": 12, "h": 8}
DRAWN = {"fillOpacity": 8, "lineWidth": 1}


def page(kind: str, value: str, *, columns: list[dict[str, Any]] | None = None, **defaults: Any) -> dict[str, Any]:
    """Return a dashboard of one panel, without overrides."""
    panel = {
        "type": kind, "title": "A panel", "gridPos": AREA, "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {}, "columns": columns or [],
        "series": [{"name": "a", "labels": {"service": "case"}, "values": [[15, value], [30, value]]}],
    }  # fmt: skip
    return {"title": "Board", "chosen": {}, "start": 0, "end": 30, "step": 15, "panels": [panel]}


def looked_at(board: dict[str, Any], folder: Path) -> str:
    """Return what Chromium makes of it."""
    (folder / "page.html").write_text(page_of(board))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile", "--dump-dom"]
    made = subprocess.run(
        [*command, f"file://{folder}/page.html"], capture_output=True, text=True, timeout=180, check=True
    ).stdout
    return re.sub(r"<script>.*?</script>", "", made, flags=re.DOTALL)


@pytest.mark.parametrize(("value", "colour"), [("79", GREEN), ("80", RED)])
def test_a_number_without_thresholds_has_those_that_grafana_gives_it(value: str, colour: str, tmp_path: Path) -> None:
    assert f'class="number" style="color: {colour};"' in looked_at(page("stat", value, unit="none"), tmp_path)


def test_a_number_has_the_thresholds_of_its_dashboard(tmp_path: Path) -> None:
    steps = [{"value": None, "color": "#0F8F8C"}, {"value": 90, "color": "#C8452F"}]
    seen = looked_at(page("stat", "85", unit="none", thresholds={"mode": "absolute", "steps": steps}), tmp_path)
    assert "color: rgb(15, 143, 140)" in seen


def test_a_cell_has_a_colour_only_where_the_dashboard_wants_one(tmp_path: Path) -> None:
    columns = [
        {
            "indexByName": {"service": 0, "Value": 1},
            "renameByName": {"service": "Service", "Value": "Left"},
            "excludeByName": {},
        }
    ]
    board = page("table", "85", columns=columns, unit="none")
    assert "color:" not in re.findall(r"<td.*</td>", looked_at(board, tmp_path))[0]
    wanted = {
        "matcher": {"id": "byName", "options": "Left"},
        "properties": [{"id": "custom.cellOptions", "value": {"type": "color-text"}}],
    }
    board["panels"][0]["fieldConfig"]["overrides"] = [wanted]
    assert f'<td>case</td><td style="color: {RED};">85</td>' in looked_at(board, tmp_path)


@pytest.mark.parametrize(
    "defaults",
    [
        {"color": {"mode": "continuous-GrYlRd"}},
        {"custom": {**DRAWN, "thresholdsStyle": {"mode": "area"}}},
        {"custom": {**DRAWN, "stacking": {"mode": "normal"}}},
    ],
    ids=str,
)
def test_there_is_no_picture_of_what_it_cannot_draw(defaults: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="would not show what Grafana does"):
        photograph(
            page_of(page("timeseries", "1", **{"custom": DRAWN, "unit": "none", **defaults})), tmp_path / "a.png", 400
        )
    assert not (tmp_path / "a.png").exists()
    photograph(page_of(page("timeseries", "1", custom=DRAWN, unit="none")), tmp_path / "a.png", 400)
    assert (tmp_path / "a.png").exists()
