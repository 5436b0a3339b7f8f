"""Colours of states, told apart by people who see red and green alike, and readable on Grafana's white and dark panels.

Never alone: what has a colour has a word, a line's shape or a place in a list too. tests/dashboards/test_palette.py has
protanopia, deuteranopia and tritanopia simulated (Machado, Oliveira and Fernandes 2009), and holds how far apart colours
are and how they stand out.
"""

from __future__ import annotations

__all__ = ["BAD", "GOOD", "PLAIN", "WARN"]

GOOD = "#0F8F8C"
"""Teal: up, works."""
BAD = "#C8452F"
"""Vermilion: down, failed, above a limit."""
WARN = "#C08A00"
"""Amber: cannot be told, or to be looked at."""
PLAIN = "#7A6FD0"
"""Violet: a number that is neither good nor bad."""
