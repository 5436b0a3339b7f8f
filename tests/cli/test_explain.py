"""`explain`: what is wrong, why, what else it takes down, and what to do, of a fleet on loopback and of any diagnosis."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from exporter.cli.explanation import Explanation
from exporter.demo.processes import free_port
from exporter.demo.servers.valkey import ValkeyServer
from exporter.diagnosis.causes import CAUSES
from exporter.diagnosis.model import Confidence, Diagnosis, Evidence, Suspicion, Symptom
from exporter.engine.checked import CheckResult, ServiceResult
from exporter.engine.oneshot import FleetDiagnosis
from exporter.verdict import Verdict
from tests.app.daemon import Daemon
from tests.cli.test_check import cache

OK, DEGRADED, DOWN, UNKNOWN = range(4)


def run(folder: Path, config: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    path = folder / "exporter.yml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "exporter", "explain", "--config", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)


def fleet(cache_address: str) -> dict[str, Any]:
    """A service that needs another, which needs a cache and a database that nobody runs."""
    gone = {"instances": [f"127.0.0.1:{free_port()}"], "probes": {"actuator": {}}}
    return {
        "links": {"runbook": "https://runbooks.example/b.md"},
        "dependencies": {"cache": cache(cache_address), "db": cache(f"127.0.0.1:{free_port()}")},
        "services": {"front": gone | {"depends_on": ["case"]}, "case": gone | {"depends_on": ["db", "cache"]}},
    }


def test_a_service_that_is_well_is_0_and_says_so(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    done = run(tmp_path, {"dependencies": {"cache": cache(valkey_server.address)}}, "cache")
    assert (done.returncode, done.stdout) == (OK, "cache is up\nNothing is wrong with it.\n"), done.stderr


def test_a_symptom_names_its_root_any_number_of_steps_away(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    done = run(tmp_path, fleet(valkey_server.address), "front")
    assert done.returncode == DOWN, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["front is down", "It belongs to the incident db."]
    assert "connect_refused" in lines[2]
    assert "Likely cause: db is down, which it needs [dependency_down, seen directly]" in lines
    assert 'probe_service_up{service="db"}' in done.stdout
    assert "db is down" in lines
    assert "Likely cause: nobody listens on its port [connect_refused, seen directly]" in lines
    assert any(line.startswith("What to do (https://runbooks.example/b.md#") for line in lines)
    assert "  1. Mend db; what needs it comes back by itself" in lines


def test_a_root_says_what_it_takes_down_and_json_is_for_programs(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    config = fleet(valkey_server.address)
    assert "It takes down case and front." in run(tmp_path, config, "db").stdout
    done = run(tmp_path, config, "db", "--output", "json")
    found = json.loads(done.stdout)
    assert done.returncode == found["exit_code"] == DOWN
    assert (found["service"], found["kind"], found["verdict"]) == ("db", "dependency", "down")
    assert (found["incident"], found["takes_down"]) == ("db", ["case", "front"])
    [diagnosis] = found["diagnoses"]
    assert diagnosis["causes"][0]["cause"] == "connect_refused"
    assert diagnosis["causes"][0]["evidence"][0]["value"] == 1
    assert json.loads(run(tmp_path, config, "front", "--output", "json").stdout)["roots"].keys() == {"db"}


def test_unknown_is_3(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    config = {"dependencies": {"cache": cache(valkey_server.address, password_file="/nowhere")}}
    done = run(tmp_path, config, "cache")
    assert done.returncode == UNKNOWN
    assert done.stdout.startswith("cache is unknown\n")


def test_a_name_that_is_not_configured_is_3_with_those_that_are(tmp_path: Path) -> None:
    done = run(tmp_path, {"dependencies": {"cache": cache("a:1")}}, "cahce")
    assert done.returncode == UNKNOWN
    assert "no such service: cahce; did you mean cache? known: cache" in done.stderr


def explanation(
    verdict: Verdict, *diagnoses: Diagnosis, others: dict[str, tuple[Diagnosis, ...]] | None = None
) -> Explanation:
    result = CheckResult((ServiceResult("case", is_service=True, verdict=verdict, targets=()),), 0.5)
    found = {"case": diagnoses} if diagnoses else {}
    return Explanation.of_check(FleetDiagnosis("case", result, found | (others or {}), None), None)


def test_one_that_is_up_and_slow_is_degraded_and_says_what_speaks_for_each_cause() -> None:
    seen = (Evidence("threads waiting for a connection of main", 14.0, "probe_hikari_connections"),)
    causes = (
        Suspicion(CAUSES["pool_exhausted"], confidence=Confidence.HIGH, evidence=seen),
        Suspicion(CAUSES["gc_pressure"], confidence=Confidence.MEDIUM,
                  evidence=(Evidence("share of time", 0.42, "probe_jvm_gc_pause_ratio"),)),
    )  # fmt: skip
    told = explanation(Verdict.UP, Diagnosis("case", Symptom.SLOW, causes))
    lines = list(told.lines())
    assert told.exit_code == DEGRADED
    assert "case is degraded" in lines[0]
    text = "\n".join(lines)
    assert "It is slow. Likely cause: its connection pool is exhausted" in text
    assert "  threads waiting for a connection of main: 14   probe_hikari_connections" in lines
    assert "Or: the JVM stands still for garbage collection much of the time [gc_pressure, concluded]" in lines
    assert "  share of time: 42.0%   probe_jvm_gc_pause_ratio" in lines
    assert "What to do (docs/runbook.md#high-latency):" in lines


def test_a_root_that_is_no_service_of_its_own_is_told_as_such() -> None:
    down = Diagnosis("case", Symptom.DOWN, (Suspicion(CAUSES["dependency_down"], "db"),))
    root = Diagnosis("db", Symptom.DOWN, (Suspicion(CAUSES["unknown"], confidence=Confidence.LOW),))
    text = "\n".join(explanation(Verdict.DOWN, down, others={"db": (root,)}).lines())
    assert "db is not probed itself" in text
    assert "[unknown, nothing speaks for anything else]" in text


def test_several_symptoms_are_told_one_after_the_other() -> None:
    slow = Diagnosis("case", Symptom.SLOW, (Suspicion(CAUSES["unknown"], confidence=Confidence.LOW),))
    behind = Diagnosis("case", Symptom.LAGGING, (Suspicion(CAUSES["consumers_gone"]),))
    text = "\n".join(explanation(Verdict.UP, slow, behind).lines())
    assert text.index("It is slow.") < text.index("Consumers are behind: the group has no member")


def test_a_daemon_says_since_when_and_what_it_knows(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    config = fleet(valkey_server.address)
    quick = {"interval": "1s", "timeout": "900ms", "confirm": {"failures": 1}}
    with Daemon(tmp_path, {"defaults": quick, **config}) as daemon:
        daemon.start()
        url = f"http://127.0.0.1:{daemon.port}"
        daemon.wait(lambda: told(url, "front").get("incident") == "db", 60)
        done = run(tmp_path, config, "front", "--url", url)
        assert (done.returncode, done.stderr) == (DOWN, "")
        lines = done.stdout.splitlines()
        assert re.fullmatch(r"front is down, for \d+ (s|min)", lines[0])
        assert lines[1] == "It belongs to the incident db."
        assert "Likely cause: db is down, which it needs [dependency_down, seen directly]" in lines
        assert "Likely cause: nobody listens on its port [connect_refused, seen directly]" in lines
        assert any(line.startswith("What to do (https://runbooks.example/b.md#") for line in lines)
        assert told(url, "db")["takes_down"] == ["case", "front"]
        assert told(url, "cache")["exit_code"] == OK
        wrong = run(tmp_path, config, "fornt", "--url", url)
        assert "no such service: fornt; did you mean front?" in wrong.stderr
        assert daemon.stop() == 0


def told(url: str, service: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "exporter", "explain", service, "--url", url, "--output", "json"]
    found: dict[str, Any] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=False, timeout=180).stdout
    )
    return found


class Guarded(Daemon):
    """A daemon that answers nobody without a login: that it refuses is a sign of life."""

    def status(self, path: str) -> int:
        return 200 if super().status(path) == 401 else 0


def test_a_daemon_that_wants_a_login_gets_one_from_a_file(tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump({"basic_auth_users": {"oncall": bcrypt.hashpw(b"hunter2", bcrypt.gensalt(4)).decode()}}))
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    config = {"dependencies": {"gone": cache(f"127.0.0.1:{free_port()}")}}
    with Guarded(tmp_path, config, "--web.config.file", str(web)) as daemon:
        daemon.start(ready=False)
        url = f"http://127.0.0.1:{daemon.port}"
        refused = run(tmp_path, config, "gone", "--url", url)
        assert (refused.returncode, refused.stdout) == (UNKNOWN, "")
        assert "wants a login: --username and --password-file" in refused.stderr
        done = run(tmp_path, config, "gone", "--url", url, "--username", "oncall", "--password-file", str(secret))
        assert done.stdout.startswith("gone is ")
        daemon.stop()


@pytest.mark.parametrize("verdict", list(Verdict))
def test_exit_codes_are_those_of_check(verdict: Verdict) -> None:
    code = CheckResult((ServiceResult("case", is_service=True, verdict=verdict, targets=()),), 0.0).exit_code
    assert explanation(verdict).exit_code == code
