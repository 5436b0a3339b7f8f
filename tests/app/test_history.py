"""The history over a restart, with the daemon as users run it."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from exporter.demo.servers.valkey import ValkeyServer
from tests.app.daemon import Daemon
from tests.app.test_endpoints import config

OK = "probe_exporter_state_file_last_write_successful"


def counted(daemon: Daemon) -> int:
    """Return how many attempts on the one target are remembered of the hour."""
    (target,) = daemon.api("/api/v1/services/cache")["targets"]
    hour: dict[str, Any] = target["history"]["windows"][0]
    return int(hour["up"])


def test_it_survives_a_restart_and_a_kill_and_goes_where_a_reload_says(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    kept, moved = tmp_path / "history.json", tmp_path / "moved.json"
    with Daemon(tmp_path, {}) as daemon:
        daemon.write(_with(daemon, own_valkey, state_file=str(kept)))
        daemon.start()
        daemon.wait(lambda: counted(daemon) >= 3)
        assert daemon.stop() == 0
        daemon.start()
        assert counted(daemon) >= 3, "an orderly end"
        daemon.write(_with(daemon, own_valkey, state_file=str(moved)))
        assert daemon.request("/-/reload", "POST")[0] == 200
        before = counted(daemon)
        assert before >= 3, "a reload takes nothing"
        assert daemon.stop() == 0
        assert moved.exists()
        daemon.start()
        assert counted(daemon) >= before, "it went there"
        (tmp_path / ".moved.json.new").write_text("half of it, by one that was killed")
        os.kill(daemon.pid, signal.SIGKILL)
        assert daemon.process is not None
        daemon.process.wait(20)
        daemon.start()
        assert counted(daemon) >= before, "what was written before a kill"
        daemon.write(_with(daemon, own_valkey))
        assert daemon.request("/-/reload", "POST")[0] == 200
        left = moved.stat().st_mtime_ns
        assert daemon.stop() == 0
        assert moved.stat().st_mtime_ns == left, "nothing is written where none is named any more"
        assert "defect" not in daemon.log


@pytest.mark.parametrize("spoil", ["fifo", "folder", "foreign", "infinite"])
def test_whatever_is_in_its_place_the_fleet_is_probed_and_it_is_left_as_it_is(
    own_valkey: ValkeyServer, tmp_path: Path, spoil: str
) -> None:
    kept = tmp_path / "history.json"
    if spoil == "fifo":
        os.mkfifo(kept)
    elif spoil == "folder":
        kept.mkdir()
    elif spoil == "foreign":
        kept.write_text("root:x:0:0\n")
    else:
        entry = '{"key":["cache","redis","x"],"rings":[[1e999,"",""],[0,"",""],[0,"",""]],"failures":[]}'
        kept.write_text(f'{{"format":"hafnium-exporter history","version":1}}\n{entry}\n"end"\n')
    before = kept.lstat().st_ino
    with Daemon(tmp_path, {}) as daemon:
        daemon.write(_with(daemon, own_valkey, state_file=str(kept)))
        daemon.start()
        daemon.wait(lambda: counted(daemon) >= 1)
        assert "is left unread" in daemon.log
        assert daemon.stop() == 0
        if spoil != "infinite":  # that one is ours, and damaged: it is replaced
            assert "could not be written" in daemon.log
            assert kept.lstat().st_ino == before


def test_who_hammers_a_probe_on_demand_hammers_no_target(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    """Ten strangers, as fast as they can: the target sees one attempt a second beside those of the schedule."""
    with Daemon(tmp_path, {}) as daemon:
        daemon.write({**_with(daemon, own_valkey), "defaults": {"interval": "1h", "timeout": "1s"}})
        daemon.start()
        before = _connections(own_valkey)
        ends = time.monotonic() + 3
        strangers = [threading.Thread(target=_hammer, args=(daemon, ends)) for _ in range(10)]
        for stranger in strangers:
            stranger.start()
        for stranger in strangers:
            stranger.join()
        seconds, hammered = time.monotonic() - ends + 3, _connections(own_valkey) - before
        assert daemon.status("/probe?service=cache&probe=redis") == 200
        one = _connections(own_valkey) - before - hammered
        assert hammered <= (seconds + 2) * one


def _hammer(daemon: Daemon, ends: float) -> None:
    while time.monotonic() < ends:
        daemon.request("/probe?service=cache&probe=redis")


def _connections(valkey: ValkeyServer) -> int:
    """Return how many there have been; asking is one."""
    found = re.search(rb"total_connections_received:(\d+)", valkey.tell("info", "stats"))
    assert found is not None
    return int(found[1])


def _with(daemon: Daemon, valkey: ValkeyServer, **server: Any) -> dict[str, Any]:
    return config(valkey.port, listen=f"127.0.0.1:{daemon.port}", **server)
