"""`check`: the whole fleet in one table, in time, with exit codes that scripts can use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.demo.processes import free_port
from exporter.demo.servers.valkey import ValkeyServer
from tests.fixtures.springboot import SpringFleet

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


def test_a_cause_comes_before_what_it_takes_down_each_on_one_whole_line(
    valkey_server: ValkeyServer, own_spring: SpringFleet, tmp_path: Path
) -> None:
    own_spring.postgres.kill()
    login = {"user": "u", "database": "d", "password": "p"}
    actuator = {"probes": {"actuator": {}}, "depends_on": ["postgres", "cache"]}
    config = {
        "services": {name: {"instances": [f"127.0.0.1:{port}"], **actuator} for name, port in own_spring.ports.items()},
        "dependencies": {
            "cache": cache(valkey_server.address),
            "postgres": {"instances": [own_spring.postgres.address], "probes": {"postgres": login}},
        },
    }
    done = run(tmp_path, config, "--timeout", "10s")
    assert done.returncode == DOWN, done.stdout + done.stderr
    head, *lines, last = done.stdout.splitlines()
    assert head.split() == ["SERVICE", "STATUS", "UP", "TOOK", "WHAT"]
    assert [line.split()[0] for line in lines] == ["postgres", *own_spring.ports, "cache"]
    assert lines[0].endswith("; takes down identity, risk-engine")
    assert "connect_refused" in lines[0]
    assert all(line.startswith("  ") and line.endswith("  needs postgres") for line in lines[1:3])
    assert re.fullmatch(r"1 of 4 ok; look at postgres in \d+\.\d s", last)
    found = json.loads(run(tmp_path, config, "--timeout", "10s", "--output", "json").stdout)
    assert {each["name"]: each["incident"] for each in found["services"]} == {
        "identity": "postgres", "risk-engine": "postgres", "cache": None, "postgres": "postgres",
    }  # fmt: skip


def test_a_long_reason_is_not_broken_in_a_pipe(tmp_path: Path) -> None:
    name = ".".join(["a" * 60] * 3) + ".invalid"
    done = run(tmp_path, {"dependencies": {"gone": cache(f"{name}:1")}})
    assert done.returncode in (DOWN, UNKNOWN)
    [line] = [line for line in done.stdout.splitlines() if line.startswith("gone")]
    assert name in line
    assert line == line.rstrip()
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_colours_that_are_asked_for_break_no_line_in_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(tmp_path, {"dependencies": {"gone": cache(f"127.0.0.1:{free_port()}")}}).stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    coloured = run(tmp_path, {"dependencies": {"gone": cache(f"127.0.0.1:{free_port()}")}}).stdout
    assert "\x1b[" in coloured
    assert "\x1b[" not in plain
    assert len(coloured.splitlines()) == len(plain.splitlines()) == 3


def test_yaml_says_what_json_says(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    config = {"dependencies": {"cache": cache(valkey_server.address)}}
    found, other = (run(tmp_path, config, "--output", way).stdout for way in ("yaml", "json"))
    one, two = yaml.safe_load(found), json.loads(other)
    assert one["services"][0]["name"] == two["services"][0]["name"] == "cache"
    assert (one["state"], one["exit_code"], one.keys()) == ("up", OK, two.keys())


def test_one_kind_of_probe(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    both = cache(valkey_server.address)
    both["probes"]["tls"] = {}
    config = {"dependencies": {"cache": both, "other": cache(valkey_server.address)}}
    done = run(tmp_path, config, "--probe", "tls", "--output", "json")
    assert done.returncode == DOWN
    [service] = json.loads(done.stdout)["services"]
    assert [each["probe"] for each in service["targets"]] == ["tls"]
    assert run(tmp_path, config, "--probe", "redis").returncode == OK


def test_urls_need_no_configuration(valkey_server: ValkeyServer, own_spring: SpringFleet, tmp_path: Path) -> None:
    postgres = own_spring.postgres
    urls = [
        *(f"http://127.0.0.1:{port}" for port in own_spring.ports.values()),
        f"postgres://{postgres.user}@{postgres.address}/{postgres.database}",
        f"redis://{valkey_server.address}",
        f"kafka://{own_spring.broker.address}",
    ]
    command = [sys.executable, "-m", "exporter", "check", *urls, "--timeout", "10s", "--output", "json"]
    environment = {**os.environ, "PGPASSWORD": postgres.password}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, cwd=tmp_path, env=environment)
    assert done.returncode in (OK, DEGRADED), done.stdout + done.stderr
    assert {each["verdict"] for each in json.loads(done.stdout)["services"]} == {"up"}
    assert postgres.password not in done.stdout


def test_a_file_that_cannot_be_read_is_the_trouble_of_one(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    broken = {"instances": ["127.0.0.1:1"], "probes": {"tls": {"ca_file": "/nowhere/ca.pem"}}}
    done = run(tmp_path, {"dependencies": {"cache": cache(valkey_server.address), "gateway": broken}})
    assert done.returncode == UNKNOWN
    assert "not_built: /nowhere/ca.pem: No such file or directory" in done.stdout
    assert re.search(r"^cache +UP", done.stdout, re.MULTILINE)


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
        ({"dependencies": {"cache": cache("a:1")}}, ["cahce"], "no such service: cahce; did you mean cache? known: cache"),
        ({"dependencies": {"cache": cache("a:1")}}, ["--timeout", "soon"], "expected a duration"),
        ({"dependencies": {"cache": cache("a:1")}}, ["--output", "xml"], "'table', 'json', 'yaml'"),
    ],
)
def test_bad_usage_is_3_and_says_what_to_do(
    config: dict[str, Any] | str, arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = run(tmp_path, config, *arguments)
    assert done.returncode == UNKNOWN
    assert message in done.stderr
    assert "Traceback" not in done.stderr
