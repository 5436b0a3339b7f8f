"""The image: what is in it, and that it works as it is run: read-only, without rights, without a shell."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.demo.servers.valkey import ValkeyServer
from exporter.parsing import parse_duration
from tests.fixtures.groups import memory_group
from tests.fixtures.image import ROOT, SHELLS, Box, Image
from tests.shipping.memory import fifty, seen
from tests.waiting import SLACK

LARGEST = 120_000_000
"""Bytes on a disk beyond the base."""

PLUGIN = """
import json
said = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "of the plugin"}}
print(json.dumps(said))
"""


def site_packages(image: Image) -> Path:
    (found,) = (image.root / "opt" / "venv" / "lib").glob("python3.*/site-packages")
    return found


def locked(name: str) -> dict[str, str]:
    """Return the versions of a lock, by name."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


def cache(valkey: ValkeyServer) -> dict[str, Any]:
    found = {"instances": [f"127.0.0.1:{valkey.port}"], "probes": {"redis": {"interval": "500ms", "timeout": "300ms"}}}
    return {"dependencies": {"cache": found}}


def test_it_is_small(image: Image) -> None:
    assert 50_000_000 < image.added <= LARGEST


def test_it_has_the_lock_and_nothing_else(image: Image) -> None:
    folders = [folder.name.removesuffix(".dist-info").rpartition("-") for folder in site_packages(image).glob("*.dist-info")]
    found = {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in folders}
    own = found.pop("hafnium-exporter")
    assert found == locked("requirements.serve.lock")
    assert own in (ROOT / "pyproject.toml").read_text()


def test_nothing_that_builds_is_shipped(image: Image, tmp_path: Path) -> None:
    for module in ("pip", "hatchling", "setuptools", "ensurepip._bundled"):
        done = image.run(tmp_path, "python", "-c", f"import {module}")
        assert done.returncode == 1, module
        assert "No module named" in done.stderr
    assert {file.name for file in (image.root / "opt" / "venv" / "bin").iterdir() if not file.is_symlink()} == {
        "hafnium-exporter"
    }
    assert not (image.root / "opt" / "build").exists()
    assert not (image.root / "src").exists()


def test_it_says_what_it_is(image: Image) -> None:
    labels = image.config["Labels"]
    told = {name.removeprefix("org.opencontainers.image.") for name in labels}
    assert told >= {"title", "description", "licenses", "version", "revision", "base.name"}
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image.config["User"])


def test_it_serves_and_ends_read_only_without_rights_and_without_a_shell(
    image: Image, own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    with Box(image, tmp_path, cache(own_valkey)) as box:
        box.start()
        assert box.status("/-/healthy") == 200
        assert box.value("probe_success", service="cache") == 1
        assert box.value("process_start_time_seconds") is not None
        for shell in SHELLS:
            assert box.beside(shell, "-c", "true").returncode != 0
        kind, *check = image.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        asked = image.environment["HEALTH_URL"]
        assert asked == "http://127.0.0.1:9818/-/healthy"
        healthy = box.beside(*check, HEALTH_URL=asked.replace("9818", str(box.port)), http_proxy="http://127.0.0.1:9")
        assert healthy.returncode == 0, healthy.stderr
        assert box.beside(*check, HEALTH_URL=asked.replace("9818", "9")).returncode != 0
        checked = box.beside(*image.config["Entrypoint"], "check", "--output", "json")
        assert checked.returncode == 0, checked.stderr
        assert json.loads(checked.stdout)
        status = Path(f"/proc/{box.pid}/status").read_text()
        rights = dict(re.findall(r"^(Cap\w+|Uid|NoNewPrivs):\s+(.*)$", status, re.MULTILINE))
        assert rights["Uid"].split() == [image.config["User"].split(":")[0]] * 4
        assert int(rights["CapEff"], 16) == int(rights["CapPrm"], 16) == int(rights["CapAmb"], 16) == 0
        assert rights["NoNewPrivs"] == "1"
        mounts = [line.split() for line in Path(f"/proc/{box.pid}/mountinfo").read_text().splitlines()]
        assert next(mount[5] for mount in mounts if mount[4] == "/").split(",")[0] == "ro"
        assert not list(Path(f"/proc/{box.pid}/root/dev/shm").iterdir())  # all else is read-only
        began = time.monotonic()
        assert box.stop() == 0, box.log
        drain = parse_duration(yaml.safe_load((ROOT / "config" / "exporter.yml").read_text())["server"]["drain_timeout"])
        assert time.monotonic() - began < drain * SLACK
        assert "Traceback" not in box.log


@pytest.mark.parametrize("mib", [64, 128])
def test_it_runs_with_little_memory(image: Image, own_valkey: ValkeyServer, tmp_path: Path, mib: int) -> None:
    """Fifty targets, scraped and looked at, under a control group's limit, which kills."""
    with memory_group(mib) as group:
        if group is None:
            pytest.skip("NOT TESTED under a limit of memory: no control group can be made here")
        assert seen(Box(image, tmp_path, fifty(own_valkey)), group) < mib


def test_its_own_configuration_is_the_fleet_s(image: Image) -> None:
    shipped = image.root / image.environment["HAFNIUM_EXPORTER_CONFIG"].removeprefix("/")
    assert shipped.read_text() == (ROOT / "config" / "exporter.yml").read_text()
    done = image.run(shipped.parent, *image.config["Entrypoint"], "config", "validate")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("verb", "extra"), [(["dashboards", "build"], "dashboards"), (["demo"], "demo")])
def test_what_is_left_out_says_what_to_install(image: Image, tmp_path: Path, verb: list[str], extra: str) -> None:
    done = image.run(tmp_path, *image.config["Entrypoint"], *verb)
    assert done.returncode == 3
    assert f"pip install 'hafnium-exporter[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


USERS: dict[str, tuple[dict[str, Any], str]] = {
    "token": ({"token": "of the file"}, "Bearer of the file"),
    "plugin": (
        {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1", "command": "python", "interactiveMode": "Never",
                "args": ["/etc/hafnium-exporter/plugin.py"],
            }
        },
        "Bearer of the plugin",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", USERS)
def test_it_reads_kubeconfigs(image: Image, tmp_path: Path, way: str) -> None:
    """What is left of the Kubernetes client is enough for it."""
    user, authorization = USERS[way]
    cluster = {
        "server": "https://192.0.2.1", "certificate-authority-data": base64.b64encode(b"an authority").decode()
    }  # fmt: skip
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    tmp_path.chmod(0o755)
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    (tmp_path / "plugin.py").write_text(PLUGIN)
    reader = site_packages(image) / "exporter" / "clients" / "kubernetes" / "kubeconfig_reader.py"
    inside = f"/{reader.relative_to(image.root)}"
    done = image.run(tmp_path, "python", "-P", inside, "/etc/hafnium-exporter/kubeconfig")
    said = json.loads(done.stdout)
    assert said["authorization"] == authorization
    assert (said["server"], said["authority"]) == ("https://192.0.2.1", "an authority")
