"""A failover by Sentinels, as the whole daemon tells it: the series, the verdicts, the alerts, `explain` and the API."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from exporter.demo.servers.valkey import ValkeyServer
from tests.alerts.recorded import Recording
from tests.app.daemon import Daemon
from tests.app.test_daemon import FAST
from tests.fixtures.valkeys import SentinelServer, replica_of, watched
from tests.scraped import samples_of


@dataclass(slots=True)
class Watched:
    """A daemon that probes a master with its two replicas as one dependency, and three Sentinels as another."""

    daemon: Daemon
    servers: dict[str, ValkeyServer]
    sentinels: tuple[SentinelServer, ...]
    recording: Recording = field(init=False)

    def __post_init__(self) -> None:
        self.recording = Recording(self)

    def lines(self, start: str) -> list[str]:
        """Return the exported series that start like this, but for the clock: promtool's begins at zero."""
        lines = self.daemon.request("/metrics")[1].decode().splitlines()
        return [line for line in lines if line.startswith(start) and not line.startswith("probe_exporter_time_seconds")]

    def by(self, label: str, family: str, **labels: str) -> dict[str, float]:
        """Return what is exported of a family by one of its labels; fail where two of its series have the same."""
        found = samples_of(self.daemon.request("/metrics")[1], family, **labels)
        values = {dict(have)[label]: value for have, value in found.items()}
        assert len(values) == len(found)
        return values

    def roles(self) -> dict[str, str]:
        """Return what each server is: every one that answers is one thing."""
        roles: dict[str, str] = {}
        names = {server.address: name for name, server in self.servers.items()}
        for told in map(dict, samples_of(self.daemon.request("/metrics")[1], "probe_redis_role")):
            assert roles.setdefault(names[told["target"]], told["role"]) == told["role"]
        return roles

    def sentinels_say(self, family: str, value: float, **labels: str) -> bool:
        """Tell whether each Sentinel says so."""
        told = self.by("target", f"probe_redis_sentinel_{family}", **labels)
        return told == {sentinel.address: value for sentinel in self.sentinels}

    def sentinels_tell_of(self, server: ValkeyServer) -> bool:
        """Tell whether each Sentinel sends clients to this server, and to no other."""
        told = samples_of(self.daemon.request("/metrics")[1], "probe_redis_sentinel_master_address")
        return sorted((dict(have)["target"], dict(have)["address"]) for have in told) == sorted(
            (sentinel.address, server.address) for sentinel in self.sentinels
        )

    def until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait for it, and scrape then: more often than Prometheus does, so that no step is between two scrapes."""
        self.daemon.wait(condition, seconds)
        self.recording.hold()

    def explain(self, service: str) -> tuple[int, list[str]]:
        """Ask what is wrong."""
        url = f"http://127.0.0.1:{self.daemon.port}"
        command = [sys.executable, "-m", "exporter", "explain", service, "--url", url]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout.splitlines()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Watched]:
    with watched(tmp_path / "watched") as those, replica_of(those.master, tmp_path / "third") as third:
        servers = {"first": those.master, "second": those.replica, "third": third}
        config = {
            "defaults": FAST,
            "dependencies": {
                "cache": {"instances": [each.address for each in servers.values()], "probes": {"redis": {}}},
                "sentinel": {"instances": [each.address for each in those.sentinels], "probes": {"redis": {}}},
            },
        }
        with Daemon(tmp_path, config) as daemon:
            daemon.start()
            yield Watched(daemon, servers, those.sentinels)


def test_a_failover_is_told_step_by_step_and_pages_nobody(fleet: Watched, tmp_path: Path) -> None:
    first, others = fleet.servers["first"], {"second", "third"}
    fleet.until(lambda: all_well(fleet), 60)
    assert fleet.roles() == {"first": "master", "second": "replica", "third": "replica"}
    fleet.recording.hold(70)

    first.kill()
    fleet.until(lambda: fleet.by("verdict", "probe_service_instances", service="cache")["down"] == 1)
    assert set(fleet.roles()) == others  # what it said of itself ended with it, and what it said of its replicas
    assert first.address not in fleet.by("target", "probe_redis_connected_replicas")
    fleet.until(lambda: sorted(fleet.roles().values()) == ["master", "replica"])
    leader = next(fleet.servers[name] for name, role in fleet.roles().items() if role == "master")
    fleet.until(lambda: fleet.sentinels_tell_of(leader))
    fleet.until(lambda: fleet.sentinels_say("master_up", 1) and fleet.sentinels_say("failover_in_progress", 0))
    fleet.until(lambda: set(fleet.by("target", "probe_redis_master_link_up").values()) == {1})
    fleet.until(lambda: fleet.sentinels_say("masters_seen", 1))  # they ask who is what every ten seconds
    assert fleet.sentinels_say("quorum_ok", 1)
    assert fleet.sentinels_say("replicas", 2, state="known")
    cache = fleet.daemon.api("/api/v1/services/cache")
    assert (cache["verdict"], cache["state"], cache["incident"]) == ("up", "degraded", None)
    assert cache["instances"] == {"up": 2, "down": 1, "unknown": 0}
    told = ["cache is degraded", f"  redis {first.address}: connect: connect_refused: Connection refused"]
    assert fleet.explain("cache") == (1, told)
    fleet.recording.hold(10)

    first.start()
    fleet.until(lambda: fleet.roles().get("first") == "master")  # until Sentinels tell it otherwise
    fleet.until(lambda: fleet.sentinels_say("masters_seen", 2))
    fleet.until(lambda: fleet.roles()["first"] == "replica", 60)
    fleet.until(lambda: all_well(fleet), 60)
    assert sorted(fleet.roles().values()) == ["master", "replica", "replica"]
    online = fleet.by("replica", "probe_redis_replica_online", target=leader.address)
    assert online == {server.address: 1 for server in fleet.servers.values() if server is not leader}
    fleet.recording.hold(10)

    for name in ("cache", "sentinel"):
        assert fleet.explain(name) == (0, [f"{name} is up", "Nothing is wrong with it."])
    assert fleet.daemon.stop() == 0
    fleet.recording.expect(tmp_path, fired=[("RedisReplicaMissing", "cache")])  # for the ten minutes


def test_a_master_that_is_down_and_that_none_can_replace_is_named_by_explain_and_the_page(fleet: Watched) -> None:
    fleet.until(lambda: all_well(fleet), 60)
    assert fleet.explain("sentinel") == (0, ["sentinel is up", "Nothing is wrong with it."])
    master = fleet.servers["first"].address
    for server in fleet.servers.values():
        server.kill()
    fleet.until(lambda: fleet.sentinels_say("master_up", 0))
    fleet.until(lambda: fleet.daemon.api("/api/v1/services/sentinel")["diagnoses"] != [], 10)
    code, lines = fleet.explain("sentinel")
    assert (code, lines[0]) == (1, "sentinel is degraded")
    named = f"  Sentinels that hold the master main at {master} to be down: 3   "
    assert [line for line in lines if line.startswith(named)]
    assert (
        "What it watches is not well: a master that it watches is down, and none took over [master_down, seen directly]"
        in lines
    )
    assert "What to do (docs/runbook.md#redismasterdown):" in lines
    assert "Nothing is wrong with it." not in lines
    for page in ("/", "/services/sentinel"):
        assert "hat it watches is not well" in fleet.daemon.request(page)[1].decode(), page

    for server in fleet.servers.values():
        server.start()
    fleet.until(lambda: fleet.daemon.api("/api/v1/services/sentinel")["diagnoses"] == [], 60)
    assert fleet.explain("sentinel") == (0, ["sentinel is up", "Nothing is wrong with it."])


def all_well(fleet: Watched) -> bool:
    """Tell whether one master has two replicas, and all Sentinels know it."""
    return (
        set(fleet.by("target", "probe_redis_master_link_up").values()) == {1}
        and sorted(fleet.by("target", "probe_redis_connected_replicas").values()) == [0, 0, 2]
        and fleet.sentinels_say("replicas", 2, state="ok")
        and fleet.sentinels_say("sentinels", 3, state="usable")
        and fleet.sentinels_say("masters_seen", 1)
    )
