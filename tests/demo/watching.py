"""What tests of the demo look at: processes, and what the exporter says."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pids: Iterable[int], seconds: float = 5.0) -> None:
    """Wait until none of them runs."""
    deadline = time.monotonic() + seconds
    left = list(pids)
    while left := [pid for pid in left if alive(pid)]:
        assert time.monotonic() < deadline, f"{[Path(f'/proc/{pid}/cmdline').read_bytes() for pid in left]} live on"
        time.sleep(0.01)


class Seen:
    """One scrape of the exporter."""

    def __init__(self, url: str) -> None:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        self._samples = [s for family in text_string_to_metric_families(text) for s in family.samples]

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the values of all series of a name that have these labels."""
        return [s.value for s in self._samples if s.name == name and labels.items() <= s.labels.items()]

    def services(self, name: str) -> set[str]:
        """Return the services that have a series of a name."""
        return {s.labels["service"] for s in self._samples if s.name == name}

    def total(self, name: str, **labels: str) -> float:
        """Return their sum; 0 where there is none."""
        return sum(self.values(name, **labels))

    def down(self, service: str) -> bool:
        """Tell whether something is confirmed down."""
        return 0 in self.values("probe_success", service=service)

    @property
    def all_up(self) -> bool:
        """Tell whether everything is confirmed up, and nothing is unknown."""
        return len(found := self.values("probe_success")) == 12 and all(found) and not any(self.values("probe_unknown"))


async def until(url: str, condition: Callable[[Seen], bool], what: str, seconds: float = 30.0) -> None:
    """Scrape until something is true."""
    deadline = time.monotonic() + seconds
    while not condition(await asyncio.to_thread(Seen, url)):
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        await asyncio.sleep(0.2)
