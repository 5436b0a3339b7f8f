"""docs/running.md: its configuration and its commands do what the page says, as far as they need no root and no cluster."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import bench.__main__ as benchmark
from bench.fleet import ON_TIME_SECONDS
from exporter.demo.servers.valkey import ValkeyServer
from exporter.engine.scheduler import FIRST_WITHIN
from tests.app.daemon import Daemon
from tests.house.pages import blocks, commands, read
from tests.probes.test_deadlines import honest

PAGE = read("docs/running.md")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path, valkey_server: ValkeyServer) -> Iterator[Path]:
    """A folder with the page's configuration, for servers that are here, and the command in its PATH."""
    text = blocks(SECTIONS["A configuration"], "yaml")[0]
    with honest() as first, honest() as second:
        ports = {"cache.example:6379": valkey_server.port, "orders-1.example:8081": first, "orders-2.example:8081": second}
        for address, port in ports.items():
            assert address in text
            text = text.replace(address, f"127.0.0.1:{port}")
        (tmp_path / "exporter.yml").write_text(text)
        command = tmp_path / "bin" / "hafnium-exporter"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m exporter "$@"\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        yield tmp_path


def run(folder: Path, words: list[str]) -> str:
    """Run a command of the page; return what it prints."""
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    line = " ".join(word if re.fullmatch(r"[\w./:*=-]+", word) else f"'{word}'" for word in words)
    done = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S602 - patterns are the shell's
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_configuration_is_valid_and_all_is_well(folder: Path) -> None:
    validate, check = commands(SECTIONS["A configuration"])
    assert run(folder, validate) == "exporter.yml: ok: 1 service, 1 dependency\n"
    told = run(folder, check)
    assert all(name in told for name in ("cache", "orders"))


def test_what_is_written_for_prometheus_and_alertmanager_is_accepted(folder: Path) -> None:
    steps = [words for words in commands(SECTIONS["Prometheus and Alertmanager"]) if "query" not in words]
    assert len(steps) == 4
    for words in steps:
        run(folder, words)
    scraped = yaml.safe_load((folder / "alerts" / "prometheus.yml").read_text())["scrape_configs"]
    assert "localhost:9818" in str(scraped)


def test_dashboards_are_written_for_what_is_configured(folder: Path) -> None:
    (words,) = commands(SECTIONS["Grafana"])
    run(folder, words)
    written = {path.name for path in (folder / "grafana").glob("*.json")}
    assert "hafnium-redis.json" in written
    assert "hafnium-kafka.json" not in written


def test_the_daemon_is_ready_and_tells_what_the_page_asks_for(folder: Path) -> None:
    with Daemon(folder, yaml.safe_load((folder / "exporter.yml").read_text())) as daemon:
        daemon.start()
        daemon.wait(lambda: daemon.status("/-/ready") == 200)
        assert [daemon.value("probe_service_up", service=name) for name in ("cache", "orders")] == [1, 1]
        assert daemon.value("probe_exporter_config_last_reload_successful") == 1


def test_it_is_ready_within_what_the_page_says() -> None:
    assert f"within {FIRST_WITHIN:g} s of the start" in " ".join(SECTIONS["On a host, with systemd"].split())
    assert f"asked again within {FIRST_WITHIN:g} s" in read("docs/upgrading.md")


def test_the_compose_file_names_what_the_image_takes() -> None:
    """There is no Docker where this runs: what can be held is that the keys are those of the Dockerfile."""
    (service,) = yaml.safe_load(blocks(SECTIONS["With Docker"], "yaml")[0])["services"].values()
    image = read("Dockerfile")
    port = service["ports"][0].partition(":")[2]
    assert f"EXPOSE {port}\n" in image
    assert f"HAFNIUM_EXPORTER_CONFIG={service['volumes'][0].split(':')[1]}/exporter.yml" in image
    assert "USER 65532:" in image
    assert "user 65532" in SECTIONS["With Docker"]


def test_the_limits_of_the_page_are_those_of_the_benchmark() -> None:
    table = SECTIONS["How large"]
    assert f"takes {benchmark.REFERENCE_MS} ms of CPU" in " ".join(table.split())
    assert f"| CPU of 5,000 instances | {benchmark.MAX_FLEET_CORES:g} cores |" in table
    assert f"| resident memory of 5,000 instances | {benchmark.MAX_FLEET_MIB} MiB |" in table
    late = f"| attempts that start within {1000 * ON_TIME_SECONDS:g} ms of their time | {100 * benchmark.MIN_ON_TIME:g} % |"
    assert late in table
    assert f"at once | {1000 * benchmark.MAX_STALL_SECONDS:g} ms |" in table
    assert (benchmark.MAX_ATTEMPT_RATIO, "Prometheus' scrape of the same meters | not more |" in table) == (1.0, True)


def test_the_unit_takes_what_the_page_says() -> None:
    unit = read("deploy/systemd/hafnium-exporter.service")
    assert "ExecStart=/opt/hafnium-exporter/bin/hafnium-exporter serve --config /etc/hafnium-exporter/exporter.yml" in unit
    assert "LimitNOFILE=65536" in unit
    assert "allows 65,536" in SECTIONS["How large"]
