"""Limits of memory, as the kernel tells them. Control groups are files here: who runs tests may seldom make real ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.engine.memory import memory_limit

NO_LIMIT = 9223372036854771712
"""What version 1 writes where there is none."""


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "134217728\n"}, 134217728),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "3000000\n", "memory.max": "5000000\n"}, 3000000),
        ("0::/a:b\n", {"a:b/memory.max": "7000000\n"}, 7000000),
        ("0::/../other\n", {"memory.max": "max\n"}, None),
        ("9:name=systemd:/\n4:memory:/docker/1\n0::/docker/1\n", {"memory/memory.limit_in_bytes": "6000000\n"}, 6000000),
        ("4:cpu,memory:/x\n", {"memory/x/memory.limit_in_bytes": "5\n", "memory/memory.limit_in_bytes": f"{NO_LIMIT}\n"}, 5),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": f"{NO_LIMIT}\n"}, None),
        ("4:cpu:/\nnonsense\n", {"memory/memory.limit_in_bytes": "5\n"}, None),
        ("0::/\n", {"memory.max": "nonsense\n"}, None),
    ],
)
def test_the_least_limit_of_all_control_groups_counts(
    tmp_path: Path, membership: str, files: Mapping[str, str], limit: int | None
) -> None:
    """Of version 2 and 1, of the group and those that it is in, where they can be seen."""
    mounted = tmp_path / "cgroup"
    for name, text in files.items():
        (mounted / name).parent.mkdir(parents=True, exist_ok=True)
        (mounted / name).write_text(text)
    told = tmp_path / "membership"
    told.write_text(membership)
    assert memory_limit(told, mounted) == limit


def test_a_system_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "none", tmp_path) is None
