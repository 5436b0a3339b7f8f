"""What was scraped, read by prometheus_client: an exposition as a whole, or one metric of it, which costs a hundredth."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Series = dict[tuple[str, Labels], float]


def everything(exposition: bytes) -> Series:
    """Read every sample."""
    families = text_string_to_metric_families(exposition.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def samples_of(exposition: bytes, name: str, **labels: str) -> dict[Labels, float]:
    """Read the samples of a metric that have these labels. Tests ask this in loops, of thousands of series."""
    prefix = name.encode()
    lines = b"".join(line for line in exposition.splitlines(keepends=True) if line.startswith(prefix))
    found = everything(lines)
    return {have: value for (each, have), value in found.items() if each == name and labels.items() <= dict(have).items()}


def only_one(found: dict[Labels, float], name: str) -> float | None:
    """Return the one value there is, or None where there is none."""
    assert len(found) <= 1, f"{name}: {len(found)} series"
    return next(iter(found.values()), None)
