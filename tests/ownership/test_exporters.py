"""Exporters as processes of their own that share a lease or the services; leases also on a real API server."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.app import TAKE_OVER_WITHIN
from exporter.demo.servers.valkey import ValkeyServer
from exporter.ownership.election import Terms
from exporter.ownership.settings import LeaseSettings
from exporter.probing.probe import ProbeSettings
from tests.app.daemon import Daemon
from tests.ownership.lease_server import LeaseServer
from tests.ownership.scrapes import Scrapers
from tests.waiting import until

DURATION = 5.0
TERMS = Terms(DURATION)
FAST = {"interval": "1s", "timeout": "500ms", "recheck_interval": "300ms"}
LEASES = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}


@dataclass
class ApiServer:
    """Where leases are.

    Attributes:
        kubeconfig: The way to it.
        namespace: In which they are.
        fake: The server, where it is none of Kubernetes.
    """

    kubeconfig: Path
    namespace: str
    fake: LeaseServer | None = None


@pytest.fixture
def lease_server(tmp_path: Path) -> Iterator[ApiServer]:
    """An API server that has leases and nothing else."""
    loop, server = asyncio.new_event_loop(), LeaseServer()
    serving = server.serving()
    url = loop.run_until_complete(serving.__aenter__())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "fleet"}}],
                "current-context": "x",
            }
        )
    )
    yield ApiServer(kubeconfig, "fleet", server)
    asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


@pytest.fixture
def real_server(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    """A real one, as somebody who may do no more than what a lease takes."""
    access = request.getfixturevalue("control_plane")
    with asyncio.Runner() as runner:
        namespace = runner.run(access.namespace())
        exporter = runner.run(access.as_user("hafnium-exporter", [LEASES], namespace))
        yield ApiServer(exporter.config, namespace)
        runner.run(access.kubectl("delete", "namespace", namespace, "--wait=false"))


@pytest.fixture(params=["lease_server", "real_server"])
def api_server(request: pytest.FixtureRequest) -> ApiServer:
    """Both, one after the other."""
    server: ApiServer = request.getfixturevalue(request.param)
    return server


def config(server: ApiServer, port: int, **lease: Any) -> dict[str, Any]:
    return {
        "defaults": FAST,
        "kubernetes": {"kubeconfig": str(server.kubeconfig)},
        "sharing": {"lease": {"name": "hafnium", "duration": f"{DURATION:g}s", **lease}},
        "dependencies": {"cache": {"instances": [f"127.0.0.1:{port}"], "probes": {"redis": {}}}},
    }


class Pair:
    """Two exporters that share a lease, with scrapers."""

    def __init__(self, stack: ExitStack, folder: Path, settings: dict[str, Any]) -> None:
        self.daemons: list[Daemon] = []
        self.scrapers: dict[int, Scrapers] = {}
        for name in ("a", "b"):
            (folder / name).mkdir()
            lease = {**settings["sharing"]["lease"], "identity": name}
            daemon = stack.enter_context(Daemon(folder / name, {**settings, "sharing": {"lease": lease}}))
            daemon.start()  # also the one that follows is ready
            self.daemons.append(daemon)
            self.scrapers[daemon.port] = stack.enter_context(Scrapers(daemon.port))
        until(lambda: self.leaders() and self.exporting(self.leaders()[0]), 2 * DURATION + 5, "one of them leads")
        self.leader = self.leaders()[0]
        self.follower = next(daemon for daemon in self.daemons if daemon is not self.leader)
        following = f"ready\nfollowing {self.leader.path.parent.name}_".encode()
        until(lambda: self.follower.request("/-/ready")[1].startswith(following), 10, "the other follows")
        until(lambda: self.seen(self.leader).with_verdicts, 10, "the leader's verdicts are scraped")

    def leaders(self) -> list[Daemon]:
        return [daemon for daemon in self.daemons if daemon.value("probe_exporter_leader") == 1]

    def exporting(self, daemon: Daemon) -> bool:
        return daemon.value("probe_service_up", service="cache") == 1

    def seen(self, daemon: Daemon) -> Scrapers:
        return self.scrapers[daemon.port]

    def taken_over(self) -> float:
        """Wait until the follower exports; return when its first verdicts were asked for."""
        until(lambda: self.seen(self.follower).with_verdicts, DURATION + TERMS.retry + TAKE_OVER_WITHIN, "it takes over")
        return self.seen(self.follower).with_verdicts[0].asked


@pytest.fixture
def pair(api_server: ApiServer, own_valkey: ValkeyServer, tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack, tmp_path, config(api_server, own_valkey.port))


def test_one_leads_and_the_other_says_whom_it_follows(pair: Pair) -> None:
    leader, follower = pair.leader, pair.follower
    name = leader.path.parent.name
    assert leader.request("/-/ready")[1] == b"ready\nleading\n"
    page = follower.request("/")[1].decode()
    assert f"following {name}_" in page
    assert "Another exporter watches the fleet" in page
    assert follower.api("/api/v1/services")["sharing"]["role"] == "following"
    series = follower.metrics()
    assert not [series_name for series_name, labels in series if "service" in dict(labels)]
    assert follower.value("probe_exporter_targets") == 0
    assert follower.value("probe_exporter_leader") == 0
    assert follower.value("probe_exporter_lease_transitions_total") == leader.value("probe_exporter_lease_transitions_total")
    time.sleep(DURATION)
    assert not pair.seen(follower).with_verdicts


def test_a_leader_that_is_killed_is_followed_within_the_lease(pair: Pair) -> None:
    pair.leader.stop(signal.SIGKILL)
    before = pair.seen(pair.leader).with_verdicts[-1].answered
    gap = pair.taken_over() - before
    assert gap < 3 * (DURATION + TERMS.retry + TAKE_OVER_WITHIN)
    assert gap > TERMS.duration - TERMS.deadline


def test_with_the_usual_settings_no_gap_is_longer_than_an_interval() -> None:
    terms = Terms(LeaseSettings().duration)
    assert terms.duration + terms.retry + TAKE_OVER_WITHIN < ProbeSettings.model_fields["interval"].default


def test_a_leader_that_ends_hands_over_at_once(pair: Pair) -> None:
    leader, follower = pair.leader, pair.follower
    assert leader.stop() == 0
    until(lambda: follower.value("probe_exporter_leader") == 1, 2 * TERMS.retry, "it takes over")
    first = pair.taken_over()
    assert all(scrape.answered < first for scrape in pair.seen(leader).with_verdicts)


@pytest.mark.parametrize("times", [1, 3])
def test_a_leader_that_was_stopped_and_goes_on_exports_no_verdict_beside_the_other(pair: Pair, times: int) -> None:
    leader = pair.leader
    assert leader.process is not None
    leader.process.send_signal(signal.SIGSTOP)
    first = pair.taken_over()
    before = len(pair.seen(leader).seen)
    for _ in range(times):
        leader.process.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        leader.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
    leader.process.send_signal(signal.SIGCONT)
    until(lambda: len(pair.seen(leader).seen) > before + 10, 5, "it answers again")
    until(lambda: leader.value("probe_exporter_targets") == 0, 5, "it follows")
    assert [scrape for scrape in pair.seen(leader).with_verdicts if scrape.answered > first] == []
    assert b"\nfollowing " in leader.request("/-/ready")[1]
    assert pair.leaders() == [pair.follower]


def test_a_leader_that_cannot_renew_exports_none_and_leads_on_when_it_can(
    lease_server: ApiServer, own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        pair = Pair(stack, tmp_path, config(lease_server, own_valkey.port))
        assert lease_server.fake is not None
        lease_server.fake.down = True
        until(lambda: pair.leader.value("probe_exporter_leader") == 0, DURATION, "it has lapsed")
        time.sleep(2 * DURATION)
        assert pair.leaders() == []
        said = pair.leader.request("/-/ready")[1].decode()
        assert said.startswith("ready\nlapsed: ")
        assert "cannot be read or renewed" in said
        assert pair.leader.value("probe_exporter_targets") == 1
        assert "lapsed" in pair.leader.request("/")[1].decode()
        lease_server.fake.down = False
        until(lambda: len(pair.leaders()) == 1, 2 * DURATION, "one leads again")


def test_the_leader_exports_on_while_nobody_reaches_the_api_server(
    lease_server: ApiServer, own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        pair = Pair(stack, tmp_path, config(lease_server, own_valkey.port))
        settings = config(lease_server, own_valkey.port)
        for daemon, other in (pair.daemons, pair.daemons[::-1]):
            lease = {**settings["sharing"]["lease"], "peers": {"dns": "127.0.0.1", "port": other.port}}
            daemon.write({**settings, "sharing": {"lease": lease}})
            assert daemon.request("/-/reload", "POST")[0] == 200
        until(lambda: len(pair.leaders()) == 1, 2 * DURATION + 5, "one leads")
        assert lease_server.fake is not None
        lease_server.fake.down = True
        leader = pair.leaders()[0]
        ended = time.monotonic() + 3 * DURATION
        while time.monotonic() < ended:
            assert pair.leaders() == [leader]
            time.sleep(0.1)
        lease_server.fake.down = False
        ended = time.monotonic() + 2 * DURATION
        while time.monotonic() < ended:
            assert pair.leaders() == [leader]
            time.sleep(0.1)


def test_a_reload_changes_how_the_work_is_shared(lease_server: ApiServer, own_valkey: ValkeyServer, tmp_path: Path) -> None:
    with ExitStack() as stack:
        pair = Pair(stack, tmp_path, config(lease_server, own_valkey.port))
        alone = config(lease_server, own_valkey.port)
        del alone["sharing"]
        pair.follower.write(alone)
        assert pair.follower.request("/-/reload", "POST")[0] == 200
        until(lambda: pair.exporting(pair.follower), 5, "it works alone")
        assert pair.follower.value("probe_exporter_leader") == 1
        assert pair.follower.value("probe_exporter_lease_transitions_total") is None
        assert pair.follower.request("/-/ready")[1] == b"ready\n"
        pair.leader.write(alone)
        assert pair.leader.request("/-/reload", "POST")[0] == 200
        assert lease_server.fake is not None
        leases = lease_server.fake.leases
        until(lambda: leases["hafnium"]["spec"]["holderIdentity"] == "", 5, "the lease is given back")
        assert pair.exporting(pair.leader)


class Shards:
    """Exporters that each have a part."""

    def __init__(self, stack: ExitStack, folder: Path, port: int, count: int) -> None:
        self.stack, self.folder, self.port = stack, folder, port
        self.daemons: list[Daemon] = []
        for index in range(count):
            self.add(index, count)

    def add(self, index: int, count: int) -> None:
        (self.folder / str(index)).mkdir()
        daemon = self.stack.enter_context(Daemon(self.folder / str(index), self.settings(index, count)))
        daemon.start()
        self.daemons.append(daemon)

    def settings(self, index: int, count: int) -> dict[str, Any]:
        probed = {"instances": [f"127.0.0.1:{self.port}"], "probes": {"redis": {}}}
        services = {f"service-{n}": {**probed, "depends_on": ["cache"]} for n in range(24)}
        sharing = {"shards": {"count": count, "index": index}}
        return {"defaults": FAST, "sharing": sharing, "dependencies": {"cache": probed}, "services": services}

    def exported(self) -> dict[str, list[int]]:
        """Return by which shards each service is exported."""
        found: dict[str, list[int]] = {}
        for index, daemon in enumerate(self.daemons):
            names = {dict(labels).get("service") for _, labels in daemon.metrics()} - {None}
            for name in names:
                found.setdefault(str(name), []).append(index)
        return found


def test_two_shards_become_three_and_every_service_is_exported_by_one(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    with ExitStack() as stack:
        shards = Shards(stack, tmp_path, own_valkey.port, 2)
        before = shards.exported()
        assert len(before) == 25
        assert all(len(owners) == 1 for owners in before.values())
        for daemon in shards.daemons:
            assert daemon.api("/api/v1/services/cache")["verdict"] == "up"  # also where another exports it
        shards.add(2, 3)
        for index, daemon in enumerate(shards.daemons[:2]):
            daemon.write(shards.settings(index, 3))
            assert daemon.request("/-/reload", "POST")[0] == 200
        after = shards.exported()
        assert after.keys() == before.keys()
        assert all(len(owners) == 1 for owners in after.values())
        moved = [name for name in before if before[name] != after[name]]
        assert moved
        assert {index for name in moved for index in after[name]} == {2}
        assert shards.daemons[2].value("probe_exporter_shard") == 2
        assert {daemon.value("probe_exporter_shards") for daemon in shards.daemons} == {3.0}


def test_shards_give_an_incident_the_same_name(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    with ExitStack() as stack:
        shards = Shards(stack, tmp_path, own_valkey.port, 3)
        own_valkey.kill()

        def incidents() -> dict[str, str]:
            found: dict[str, str] = {}
            for daemon in shards.daemons:
                for name, labels in daemon.metrics():
                    if name == "probe_incident":
                        assert dict(labels)["service"] not in found
                        found[dict(labels)["service"]] = dict(labels)["incident"]
            return found

        until(lambda: len(incidents()) == 25, 15, "all is down, and each has its incident")
        assert set(incidents().values()) == {"cache"}


def test_a_shard_whose_number_is_not_told_does_not_start(tmp_path: Path) -> None:
    with Daemon(tmp_path, {}) as daemon:
        settings = {"sharing": {"shards": {"count": 2}}, "services": {}}
        probed = {"instances": ["127.0.0.1:1"], "probes": {"redis": {}}}
        daemon.write({**settings, "services": {"a": probed}})
        with pytest.raises(AssertionError, match="does not end in a number"):
            daemon.start()
