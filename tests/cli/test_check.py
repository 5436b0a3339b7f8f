"""`check`: the whole fleet in one table, in time, with exit codes that scripts can use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.demo.processes import free_port
from exporter.demo.servers.valkey import ValkeyServer

OK, DEGRADED, DOWN, UNKNOWN = range(4)


def run(folder: Path, config: dict[str, Any] | str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = folder / "exporter.yml"
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    command = [sys.executable, "-m", "exporter", "check", "--config", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)


def cache(address: str, **settings: Any) -> dict[str, Any]:
    return {"instances": [address], "probes": {"redis": settings}}


def test_all_up_is_0(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    done = run(tmp_path, {"dependencies": {"cache": cache(valkey_server.address)}})
    assert done.returncode == OK, done.stdout + done.stderr
    assert "1 of 1 ok" in done.stdout
    assert "UP" in done.stdout


def test_what_a_cluster_says_of_a_service_is_no_instance_of_it(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    watched = cache(valkey_server.address)
    watched["probes"]["kubernetes"] = {"kubeconfig": "/nowhere", "selector": "app=cache"}
    done = run(tmp_path, {"dependencies": {"cache": watched}})
    assert done.returncode == DEGRADED, done.stdout + done.stderr
    assert " 1/1 " in done.stdout


def test_a_part_that_fails_is_degraded_and_1(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "acl", options=("--user", "pinger", "on", ">pass", "+ping")) as server:
        done = run(tmp_path, {"dependencies": {"cache": cache(server.address, user="pinger", password="pass")}})
    assert done.returncode == DEGRADED, done.stdout + done.stderr
    assert "info" in done.stdout


def test_down_is_2_and_says_why(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    config = {"dependencies": {"cache": cache(valkey_server.address), "gone": cache(f"127.0.0.1:{free_port()}")}}
    done = run(tmp_path, config)
    assert done.returncode == DOWN
    assert "look at gone" in done.stdout
    assert "connect_refused" in done.stdout.replace("\n", "")


def test_unknown_is_3(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    done = run(tmp_path, {"dependencies": {"cache": cache(valkey_server.address, password_file="/nowhere")}})
    assert done.returncode == UNKNOWN
    assert "credentials" in done.stdout.replace("\n", "")


def test_names_restrict_it_and_json_is_for_programs(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    config = {"dependencies": {"cache": cache(valkey_server.address), "gone": cache(f"127.0.0.1:{free_port()}")}}
    done = run(tmp_path, config, "cache", "--output", "json")
    assert done.returncode == OK
    found = json.loads(done.stdout)
    assert [service["name"] for service in found["services"]] == ["cache"]
    assert found["services"][0]["targets"][0]["verdict"] == "up"


def test_everything_hanging_takes_under_three_seconds(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    own_valkey.pause()
    config = {"dependencies": {f"cache-{n}": cache(own_valkey.address) for n in range(12)}}
    done = run(tmp_path, config)
    assert done.returncode == DOWN
    assert float(done.stdout.rsplit(" in ", 1)[1].split(" s")[0]) < 1.8  # the rest of three seconds is the start of Python


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        ("services: {", [], "is not YAML"),
        ({"dependencies": {"cache": cache("a:1")}}, ["cahce"], "no such service: cahce; known: cache"),
        ({"dependencies": {"cache": cache("a:1")}}, ["--timeout", "soon"], "expected a duration"),
        ({"dependencies": {"cache": cache("a:1")}}, ["--output", "xml"], "'table', 'json'"),
    ],
)
def test_bad_usage_is_3_and_says_what_to_do(
    config: dict[str, Any] | str, arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = run(tmp_path, config, *arguments)
    assert done.returncode == UNKNOWN
    assert message in done.stderr
    assert "Traceback" not in done.stderr
