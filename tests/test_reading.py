"""Files are read at once and within bounds, whatever is in their place."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from exporter.reading import read_regular
from exporter.values import MOST_OF_SECRET, read_secret


def test_a_regular_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    assert read_regular(file) == b"0123456789"
    assert read_regular(file, 4) == b"01234", "one more than may be, which tells that there is more"


def test_reading_takes_the_memory_of_what_there_is(tmp_path: Path) -> None:
    """A certificate has some kilobytes. Several are read at once, at the start, where memory may be limited."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 200_000)
    tracemalloc.start()
    try:
        assert len(read_regular(file)) == 200_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(tmp_path / name)
    for path, error in ((tmp_path, IsADirectoryError), (tmp_path / "missing", FileNotFoundError)):
        with pytest.raises(error):
            read_regular(path)
    with pytest.raises(ValueError, match="null"):
        read_regular(Path("a\0b"))


def test_a_secret_is_never_larger_than_any(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("x" * MOST_OF_SECRET)
    assert len(read_secret(file)) == MOST_OF_SECRET
    with file.open("ab") as more:
        more.truncate(1 << 31)
    with pytest.raises(OSError, match="too large for a secret"):
        read_secret(file)
