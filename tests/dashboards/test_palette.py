"""The colours of states are told apart by everybody, and stand out on a white and on a dark panel."""

from __future__ import annotations

import json
import re
from itertools import combinations

import pytest

from exporter.dashboards.build import render
from exporter.dashboards.palette import BAD, GOOD, PLAIN, WARN
from tests.dashboards.shipped import each, panels

COLOURS = {"good": GOOD, "bad": BAD, "warn": WARN, "plain": PLAIN}
PANELS = {"light": "#FFFFFF", "dark": "#181B1F"}
"""Grafana's panels in its two themes."""
SIGHTS = {
    "whole": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""Machado, Oliveira and Fernandes 2009, severity 1: matrices over linear RGB."""
NON_TEXT_CONTRAST = 3
"""WCAG 2.1, 1.4.11."""
APART = 20
"""Distance in CIELAB; 2.3 is just noticeable side by side."""

Colour = tuple[float, ...]


def linear(colour: str) -> Colour:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def luminance(colour: Colour) -> float:
    red, green, blue = colour
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def lab(colour: Colour) -> Colour:
    red, green, blue = colour
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    fx, fy, fz = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, luminance(colour), z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def seen(colour: str, sight: str) -> Colour:
    return tuple(min(1, max(0, sum(a * b for a, b in zip(row, linear(colour), strict=True)))) for row in SIGHTS[sight])


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("pair", list(combinations(COLOURS, 2)), ids=" and ".join)
def test_two_states_look_different_to_everybody(sight: str, pair: tuple[str, str]) -> None:
    one, other = (lab(seen(COLOURS[name], sight)) for name in pair)
    assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 >= APART


@pytest.mark.parametrize("theme", PANELS)
@pytest.mark.parametrize("name", COLOURS)
def test_a_state_stands_out_from_its_panel(theme: str, name: str) -> None:
    low, high = sorted((luminance(linear(COLOURS[name])), luminance(linear(PANELS[theme]))))
    assert (high + 0.05) / (low + 0.05) >= NON_TEXT_CONTRAST


def test_no_other_colour_is_used() -> None:
    used = set(re.findall(r'"(?:color|fixedColor)": "([^"]*)"', "".join(render().values())))
    assert used == set(COLOURS.values())


@each(name for name, (_, panel) in panels().items() if panel["type"] == "state-timeline")
def test_a_state_has_a_word_beside_its_colour(name: str) -> None:
    _, panel = panels()[name]
    assert panel["options"]["showValue"] == "auto"
    [mapping] = panel["fieldConfig"]["defaults"]["mappings"]
    texts = [result["text"] for result in mapping["options"].values()]
    assert len(set(texts)) == 3
    assert all(texts)


@each(name for name, (_, panel) in panels().items() if panel["type"] == "stat")
def test_a_number_that_is_missing_has_a_word_and_not_the_colour_of_good(name: str) -> None:
    """Grafana gives what is missing the colour of the lowest threshold."""
    [mapping] = panels()[name][1]["fieldConfig"]["defaults"]["mappings"]
    assert (mapping["type"], mapping["options"]["match"]) == ("special", "null+nan")
    assert mapping["options"]["result"]["text"]
    assert mapping["options"]["result"]["color"] in {WARN, PLAIN}


def test_limits_are_dashed_and_not_only_red() -> None:
    limited = [panel for _, panel in panels().values() if " limit" in json.dumps(panel.get("targets", ()))]
    assert limited
    for panel in limited:
        [override] = panel["fieldConfig"]["overrides"]
        assert {"id": "custom.lineStyle", "value": {"dash": [10, 10], "fill": "dash"}} in override["properties"]
