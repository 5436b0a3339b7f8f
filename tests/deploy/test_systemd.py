"""The systemd unit: systemd understands it, it leaves little open, and the daemon does without what it takes away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from exporter.demo.servers.valkey import ValkeyServer
from tests.app.daemon import Daemon

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "hafnium-exporter.service"
OK = 20
"""Exposure, in tenths, up to which `systemd-analyze security` says OK."""

DENY_WRITE_EXECUTE = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE
    sys.exit("MDWE is not to be had")
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_systemd_understands_it_and_finds_little_open(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text(), flags=re.MULTILINE))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert UNIT.name not in checked.stderr, checked.stderr
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={OK}", str(UNIT)]
    rated = subprocess.run(command, capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout[-500:]
    assert re.search(r"exposure level for \S+: [\d.]+ OK", rated.stdout)


def test_the_daemon_works_without_rights_and_without_writable_code(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    cache = {"instances": [f"127.0.0.1:{own_valkey.port}"], "probes": {"redis": {"interval": "500ms", "timeout": "300ms"}}}
    with Daemon(tmp_path, {"dependencies": {"cache": cache}}) as daemon:
        command = ["setpriv", "--pdeathsig", "KILL", "--no-new-privs"]
        if os.geteuid() == 0:
            command += ["--inh-caps=-all", "--bounding-set=-all"]
        serve = [sys.executable, "-m", "exporter", "serve", "--config", str(daemon.path)]
        with daemon.log_path.open("wb") as log:
            daemon.process = subprocess.Popen(
                [*command, sys.executable, "-c", DENY_WRITE_EXECUTE, *serve], stdout=log, stderr=subprocess.STDOUT
            )
        daemon.wait(lambda: daemon.status("/-/ready") == 200)
        assert daemon.value("probe_service_up", service="cache") == 1
        assert daemon.value("process_start_time_seconds") is not None


def test_the_settings_that_it_speaks_of_are_there() -> None:
    text = UNIT.read_text()
    assert yaml.safe_load((UNIT.parents[2] / "config" / "exporter.yml").read_text())["server"]["drain_timeout"] == "10s"
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[1]) > 10  # type: ignore[index] # it is there
