"""Every fault of the exporter itself, by name."""

from __future__ import annotations

from tests.faults.rows import clock, configuration, limits, signals, surroundings

__all__ = ["FAULTS", "SECTIONS"]

SECTIONS = {
    "Signals, kills, freezes": signals.FAULTS,
    "The clock": clock.FAULTS,
    "Less of everything": limits.FAULTS,
    "Surroundings, log, names, clients": surroundings.FAULTS,
    "Configuration, secrets, web configuration": configuration.FAULTS,
}
"""The rows in their order, under the headings of the page."""

FAULTS = {fault.name: fault for section in SECTIONS.values() for fault in section}
