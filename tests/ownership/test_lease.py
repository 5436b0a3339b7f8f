"""A Lease over HTTP: what is written, how failures are taken, when leading ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from exporter.clients.kubernetes.access import Way
from exporter.clients.kubernetes.api import Api
from exporter.engine.defects import Defects
from exporter.metrics.store import Store
from exporter.net.resolver import Resolver
from exporter.ownership.election import Role
from exporter.ownership.lease import Leadership, identity_of, sleepless
from exporter.ownership.settings import LeaseSettings
from exporter.verdict import Failure, Reason, Stage
from tests.ownership.lease_server import LeaseServer

SETTINGS = LeaseSettings(name="hafnium")


class Plainly:
    """The way to a server without TLS or credentials."""

    def __init__(self, server: str) -> None:
        self._way = Way(server)

    async def way(self) -> Way:
        return self._way

    def refused(self, way: Way) -> None:
        pass

    async def close(self) -> None:
        pass


class Scene:
    """A server, exporters that share a lease there, and one clock for them all that a test moves."""

    def __init__(self, server: LeaseServer, api: Api) -> None:
        self.server = server
        self.api = api
        self.time = 1_000.0
        self.changes: list[str] = []

    def member(
        self, name: str, settings: LeaseSettings = SETTINGS, others_wait: Callable[[], Awaitable[bool]] | None = None
    ) -> Leadership:
        return Leadership(
            self.api, settings, "fleet", name, lambda: self.changes.append(name),
            others_wait=others_wait, clock=lambda: self.time,
        )  # fmt: skip

    async def pass_by(self, seconds: float, *members: Leadership) -> None:
        """Let time pass, and members look as often as they do."""
        until = self.time + seconds
        while self.time < until:
            self.time = min(until, self.time + members[0].election.terms.retry)
            for member in members:
                await member.look()

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.server.leases["hafnium"]["spec"]
        return spec


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    server, resolver = LeaseServer(), Resolver()
    async with server.serving() as url:
        api = Api(Plainly(url), resolver)
        yield Scene(server, api)
        await api.close()
    await resolver.close()


async def test_the_first_of_two_to_claim_leads_and_the_other_follows_it(scene: Scene) -> None:
    a, b = scene.member("a"), scene.member("b")
    await scene.pass_by(12, a, b)
    assert (a.role, b.role) == (Role.LEADING, Role.FOLLOWING)
    assert b.election.holder == "a"
    assert (a.owns("x"), a.needs("x"), b.owns("x"), b.needs("x")) == (True, True, False, False)
    assert scene.spec["holderIdentity"] == "a"
    assert scene.spec["leaseDurationSeconds"] == 10
    assert scene.spec["leaseTransitions"] == 1
    assert len(scene.spec["renewTime"].partition(".")[2]) == len("123456Z")
    acquired = scene.spec["acquireTime"]
    await scene.pass_by(30, a, b)
    assert (scene.spec["acquireTime"], scene.spec["leaseTransitions"]) == (acquired, 1)
    assert scene.spec["renewTime"] > acquired
    assert a.leads


async def test_a_renewal_takes_one_request(scene: Scene) -> None:
    a = scene.member("a")
    await scene.pass_by(12, a)
    scene.server.asked.clear()
    await scene.pass_by(4, a)
    assert scene.server.asked == ["PUT"] * 3


async def test_what_others_have_put_into_the_lease_stays(scene: Scene) -> None:
    lease = {"metadata": {"name": "hafnium", "labels": {"app": "x"}}, "spec": {"strategy": "OldestEmulationVersion"}}
    scene.server.store("hafnium", lease)
    a = scene.member("a")
    await scene.pass_by(12, a)
    assert a.leads
    assert scene.server.leases["hafnium"]["metadata"]["labels"] == {"app": "x"}
    assert scene.spec["strategy"] == "OldestEmulationVersion"


async def test_one_that_dies_is_followed_once_its_lease_has_been_seen_unchanged_for_its_duration(scene: Scene) -> None:
    a, b = scene.member("a"), scene.member("b")
    await scene.pass_by(12, a, b)
    died = scene.time
    while not b.leads:
        await scene.pass_by(1, b)
        assert scene.time < died + 12
    assert scene.time >= died + SETTINGS.duration - 2
    assert scene.spec["leaseTransitions"] == 2


async def test_one_that_ends_gives_the_lease_back_and_leads_no_more_before_that(scene: Scene) -> None:
    a, b = scene.member("a"), scene.member("b")
    await scene.pass_by(12, a, b)
    led: list[bool] = []
    scene.server.delay = 0.05
    release = asyncio.create_task(a.release())
    await asyncio.sleep(0)
    led.append(a.leads)
    await release
    assert led == [False]
    assert scene.spec["holderIdentity"] == ""
    await b.look()
    assert b.leads
    assert b.election.transitions == 2
    await a.look()
    assert not a.leads
    await a.release()
    assert scene.spec["holderIdentity"] == "b"


async def test_a_renewal_that_arrives_without_an_answer_costs_nothing(scene: Scene) -> None:
    a, b = scene.member("a"), scene.member("b")
    await scene.pass_by(12, a, b)
    scene.server.mute = True
    await scene.pass_by(2, a)
    assert a.failure is not None
    scene.server.mute = False
    await scene.pass_by(2, a, b)
    assert a.failure is None
    assert (a.leads, b.leads) == (True, False)


@pytest.mark.parametrize("how", ["down", "refused", "slow"])
async def test_one_that_cannot_renew_stops_before_the_lease_expires_and_says_why(scene: Scene, how: str) -> None:
    settings = LeaseSettings(name="hafnium", duration=3)
    a = scene.member("a", settings)
    await scene.pass_by(5, a)
    assert a.leads
    match how:
        case "down":
            scene.server.down = True
        case "refused":
            scene.server.status = 403
        case _:
            scene.server.delay = 30.0
    await a.look()
    assert a.failure is not None
    assert a.failure.reason is {"refused": Reason.AUTH, "slow": Reason.TIMEOUT}.get(how, a.failure.reason)
    assert a.leads
    scene.time += 2.0
    assert a.role is Role.LAPSED  # by the clock alone
    assert a.owns("x")


async def test_one_that_was_stopped_leads_no_more_before_it_has_done_anything_and_then_follows(scene: Scene) -> None:
    a, b = scene.member("a"), scene.member("b")
    await scene.pass_by(12, a, b)
    await scene.pass_by(13, b)
    assert b.leads
    assert not a.leads
    assert a.owns("x")
    await a.look()
    assert a.role is Role.FOLLOWING
    assert not a.owns("x")
    assert a.election.holder == "b"
    assert scene.changes.count("a") >= 2


async def test_a_lease_that_is_deleted_is_made_anew_and_nobody_leads_beside_its_holder(scene: Scene) -> None:
    a, b = scene.member("a"), scene.member("b")
    await scene.pass_by(12, a, b)
    del scene.server.leases["hafnium"]
    await b.look()
    assert scene.spec == {}
    assert (a.leads, b.leads) == (True, False)
    await a.look()
    assert not a.leads
    await scene.pass_by(12, a, b)
    assert [a.leads, b.leads].count(True) == 1


async def test_a_renewal_does_not_bring_back_a_lease_that_was_deleted(scene: Scene) -> None:
    a = scene.member("a")
    await scene.pass_by(12, a)
    del scene.server.leases["hafnium"]
    scene.server.asked.clear()
    await a.look()
    assert scene.server.asked[0] == "PUT"
    assert scene.server.leases.get("hafnium", {}).get("spec", {}) == {}
    assert not a.leads


async def test_a_defect_is_a_failure_and_ends_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The task that takes part is one without which the exporter ends."""
    store = Store()
    asyncio.get_running_loop().set_exception_handler(Defects(store).handle)
    member = scene.member("a")
    with monkeypatch.context() as patched:
        patched.setattr(scene.api, "get", lambda *_: 1 / 0)
        for _ in range(3):
            await member.look()
        assert member.failure is not None
        assert member.failure.reason is Reason.INTERNAL
        assert len([record for record in caplog.records if record.exc_info]) == 1
        assert 'probe_exporter_defects_total{where="sharing"} 3\n' in store.render().decode()
    await member.look()
    assert member.failure is None


@pytest.mark.parametrize(
    "lease",
    [
        {"metadata": {}, "spec": {}},
        {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": 7}},
        {"metadata": {"resourceVersion": ""}},
        {"metadata": 7},
    ],
)
async def test_what_is_no_lease_is_a_failure_and_ends_nothing(scene: Scene, lease: dict[str, Any]) -> None:
    scene.server.leases["hafnium"] = lease
    a = scene.member("a")
    await a.look()
    assert a.failure is not None
    assert a.failure.reason is Reason.MALFORMED
    assert not a.leads


async def test_the_leader_goes_on_while_nobody_can_reach_the_api_server(scene: Scene) -> None:
    async def b_waits() -> bool:
        return b.waits

    b = scene.member("b")
    a = scene.member("a", others_wait=b_waits)
    await scene.pass_by(12, a, b)
    scene.server.down = True
    for _ in range(30):
        await scene.pass_by(2, a, b)
        assert (a.leads, b.leads) == (True, False)
    scene.server.down = False
    for _ in range(10):
        await scene.pass_by(2, b, a)  # the follower is there first
        assert (a.leads, b.leads) == (True, False)


async def test_a_leader_that_is_cut_off_alone_stops_and_is_followed(scene: Scene) -> None:
    async def b_waits() -> bool:
        return b.waits

    b = scene.member("b")
    a = scene.member("a", others_wait=b_waits)
    await scene.pass_by(12, a, b)
    while not b.leads:
        scene.server.down = True
        await scene.pass_by(1, a)
        scene.server.down = False
        await b.look()
        assert not (a.leads and b.leads)
        assert scene.time < 1_040
    assert a.role is Role.LAPSED


class CutOff:
    """A leader and a follower that are cut off from the API server, and one that is started on the other side of the cut.

    Attributes:
        asked: Whom the leader finds under the name of `peers`.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.follower = scene.member("b")
        self.asked = [self.follower]
        self.leader = scene.member("a", others_wait=self._wait)
        self.new = scene.member("c")

    async def _wait(self) -> bool:
        return all(each.waits for each in self.asked)

    async def pass_by(self, seconds: float, *, started: bool) -> None:
        """Let time pass in short steps: the one side without the API server, the other with it."""
        until = self.scene.time + seconds
        while self.scene.time < until:
            self.scene.server.down = True
            await self.scene.pass_by(1, self.follower, self.leader)
            self.scene.server.down = False
            if started:
                await self.new.look()


@pytest.fixture
async def cut_off(scene: Scene) -> CutOff:
    made = CutOff(scene)
    await scene.pass_by(12, made.leader, made.follower)
    await made.pass_by(60, started=False)
    assert made.leader.leads
    return made


async def test_one_that_is_started_elsewhere_and_is_found_has_the_leader_stop_before_it_takes_over(cut_off: CutOff) -> None:
    cut_off.asked.append(cut_off.new)
    await cut_off.pass_by(8, started=True)
    assert (cut_off.leader.role, cut_off.new.leads) == (Role.LAPSED, False)
    await cut_off.pass_by(5, started=True)
    assert (cut_off.leader.role, cut_off.new.leads) == (Role.LAPSED, True)


async def test_one_that_is_started_elsewhere_and_is_not_found_leads_beside_the_leader_until_it_is(cut_off: CutOff) -> None:
    """What docs/high-availability.md warns of: the leader cannot ask whom it cannot find."""
    await cut_off.pass_by(9, started=True)
    assert (cut_off.leader.leads, cut_off.new.leads) == (True, False)
    await cut_off.pass_by(60, started=True)
    assert (cut_off.leader.leads, cut_off.new.leads) == (True, True)
    cut_off.asked.append(cut_off.new)
    await cut_off.pass_by(8, started=True)
    assert (cut_off.leader.role, cut_off.new.leads) == (Role.LAPSED, True)


async def test_of_two_that_lead_the_one_that_was_cut_off_stops_at_its_first_look(cut_off: CutOff) -> None:
    await cut_off.pass_by(15, started=True)
    assert (cut_off.leader.leads, cut_off.new.leads) == (True, True)
    await cut_off.leader.look()  # the API server can be reached again
    assert cut_off.leader.role is Role.FOLLOWING
    assert cut_off.new.election.holder == "c"


async def test_a_leader_that_cannot_ask_the_others_stops(scene: Scene) -> None:
    async def unreachable() -> bool:
        raise Failure(Stage.CONNECT, Reason.CONNECT_REFUSED)

    a = scene.member("a", others_wait=unreachable)
    await scene.pass_by(12, a)
    scene.server.down = True
    await scene.pass_by(8, a)
    assert a.role is Role.LAPSED


def test_an_identity_is_of_a_process_and_not_of_a_name() -> None:
    one, other = identity_of(SETTINGS, "pod-0"), identity_of(SETTINGS, "pod-0")
    assert one != other
    assert one.startswith("pod-0_")
    assert identity_of(LeaseSettings(identity="me"), "pod-0").startswith("me_")


def test_the_clock_goes_on() -> None:
    assert sleepless() <= sleepless()
