"""The election, over any order of things: never two that lead, and soon again one."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from exporter.ownership.election import RELEASED, Election, Move, Record, Role, Terms

TERMS = Terms(10.0)


class Server:
    """A lease with optimistic concurrency."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.versions = itertools.count(1)

    def write(self, before: str | None, record: Record) -> Record | None:
        """Write it, if it still is what it was; None where it is not."""
        if (self.record.version if self.record is not None else None) != before:
            return None
        self.record = replace(record, version=str(next(self.versions)))
        return self.record


@dataclass
class Member:
    """An exporter that takes part: it looks and claims as the daemon does, with a clock of its own."""

    world: World
    election: Election
    skew: float
    frozen_until: float = 0.0
    led: list[tuple[float, float]] = field(default_factory=list)
    generation: int = 0

    def now(self) -> float:
        return self.world.time + self.skew

    def awake(self, then: Callable[[], None]) -> Callable[[], None]:
        """Have something done once it is not stopped any more, in the life that it was begun in."""
        life = self.generation

        def run() -> None:
            if self.generation != life:
                return
            if self.frozen_until > self.world.time:
                self.world.at(self.frozen_until, run)
            else:
                then()
                self.note()

        return run

    def note(self) -> None:
        """Note from when to when it leads, in true time, as far as is known now."""
        until = self.election.leads_until - self.skew
        now = self.world.time
        if self.led and self.led[-1][1] > now:
            self.led[-1] = (self.led[-1][0], max(now, until))
        elif until > now:
            self.led.append((now, until))

    def tick(self) -> None:
        """Look, and claim where that is allowed; again after a while."""
        self.world.at(self.world.time + TERMS.retry, self.awake(self.tick))
        self.election.unseen()
        self.ask(self.world.server_record, self.looked)

    def ask(self, question: Callable[[], object], answered: Callable[[object], None]) -> None:
        """Ask the server: the question takes a while, and so does the answer, and either may be lost."""
        there, back, lost = self.world.trip()
        answers: list[object] = []
        then = self.awake(lambda: answered(answers[0]))

        def arrive() -> None:
            if lost == "question":
                return
            answers.append(question())
            if lost != "answer":
                self.world.at(self.world.time + back, then)

        self.world.at(self.world.time + there, arrive)

    def looked(self, answer: object) -> None:
        assert answer is None or isinstance(answer, Record)
        self.election.seen(answer, self.now())
        move = self.election.next(self.now())
        if move is Move.CREATE:
            self.ask(lambda: self.world.server.write(None, Record("", "", 0.0)), lambda _: None)
        if move is not Move.CLAIM:
            return
        asked = self.now()
        before = self.election.claiming().version
        mine = Record("", self.election.identity, TERMS.duration, 0, str(asked))

        def taken(answer: object) -> None:
            if isinstance(answer, Record):
                self.election.claimed(answer, asked, self.now())
            else:
                self.election.refused()

        self.ask(lambda: self.world.server.write(before, mine), taken)

    def leads(self) -> bool:
        return self.election.role(self.now()) is Role.LEADING


class World:
    """True time, a server, and members."""

    def __init__(self, count: int, trips: Callable[[], tuple[float, float, str]]) -> None:
        self.time = 0.0
        self.server = Server()
        self.trip = trips
        self.order = itertools.count()
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.members = [Member(self, Election(f"m{n}", TERMS), skew=1000.0 * n) for n in range(count)]
        for member in self.members:
            member.awake(member.tick)()

    def server_record(self) -> Record | None:
        return self.server.record

    def at(self, time: float, do: Callable[[], None]) -> None:
        heapq.heappush(self.events, (time, next(self.order), do))

    def run(self, until: float) -> None:
        while self.events and self.events[0][0] <= until:
            self.time, _, do = heapq.heappop(self.events)
            do()
            assert sum(member.leads() for member in self.members) <= 1, f"two lead at {self.time}"
        self.time = until

    def leader(self) -> Member | None:
        return next((member for member in self.members if member.leads()), None)


def _quick() -> tuple[float, float, str]:
    return 0.01, 0.01, ""


def check_no_two(world: World) -> None:
    """No moment belongs to two: also none at which nothing happened."""
    spans = sorted((*span, n) for n, member in enumerate(world.members) for span in member.led)
    for (_, end, one), (start, _, other) in itertools.pairwise(spans):
        assert one == other or end <= start + 1e-6, f"m{one} until {end}, m{other} from {start}"


Trip = st.tuples(
    st.floats(0.001, 4), st.floats(0.001, 4), st.sampled_from(["", "", "", "", "question", "answer"])
) | st.just((0.01, 0.01, ""))
Step = st.tuples(
    st.sampled_from(["wait", "wait", "freeze", "kill", "stop", "cut", "delete", "empty"]),
    st.integers(0, 2),
    st.floats(0.1, 40),
)


@settings(max_examples=150, deadline=None)
@given(count=st.integers(2, 3), trips=st.lists(Trip, min_size=1, max_size=60), steps=st.lists(Step, max_size=12))
def test_never_two_lead_and_soon_again_one(
    count: int, trips: list[tuple[float, float, str]], steps: list[tuple[str, int, float]]
) -> None:
    cycle = itertools.cycle(trips)
    world = World(count, lambda: next(cycle))
    for what, who, seconds in steps:
        member = world.members[who % count]
        match what:
            case "freeze":
                member.frozen_until = world.time + seconds
            case "kill":  # and started anew, as another
                member.generation += 1
                member.led = [(start, min(end, world.time)) for start, end in member.led]
                name = f"{member.election.identity}'"
                member.election = Election(name, TERMS)
                member.awake(member.tick)()
            case "stop":
                _stop(world, member)
            case "cut":
                world.trip = lambda: (0.01, 0.01, "question")
            case "delete":
                world.server.record = None
            case "empty" if world.server.record is not None:
                world.server.record = replace(world.server.record, holder="", duration=0, version=f"e{next(world.order)}")
            case _:
                pass
        event(what)
        world.run(world.time + seconds)
        world.trip = lambda: next(cycle)
    world.trip = _quick
    for member in world.members:
        member.frozen_until = 0.0
    settled = world.time + 45  # what is under way still may be slow, and frozen
    world.run(settled)
    world.run(settled + TERMS.duration + 2 * TERMS.retry)
    assert world.leader() is not None
    check_no_two(world)


def _stop(world: World, member: Member, *, for_good: bool = False) -> None:
    """End one in good order, and start it anew."""
    if member.frozen_until > world.time:
        return
    member.generation += 1
    record = member.election.give_up()
    member.led = [(start, min(end, world.time)) for start, end in member.led]
    if record is not None:
        world.server.write(record.version, replace(record, holder="", duration=RELEASED))
    member.election = Election(f"{member.election.identity}'", TERMS)
    if not for_good:
        member.awake(member.tick)()


@pytest.fixture
def two() -> World:
    world = World(2, _quick)
    world.run(20)
    assert world.leader() is not None
    return world


def test_a_killed_leader_is_followed_within_the_duration_and_a_look(two: World) -> None:
    leader = two.leader()
    assert leader is not None
    leader.generation += 1
    killed = two.time
    leader.election = Election("gone", TERMS)
    while two.leader() is None:
        two.run(two.time + 0.1)
    assert two.time - killed <= TERMS.duration + TERMS.retry + 0.2


def test_one_that_ends_in_good_order_is_followed_at_the_next_look(two: World) -> None:
    leader = two.leader()
    assert leader is not None
    _stop(two, leader, for_good=True)
    two.run(two.time + TERMS.retry + 0.1)
    assert two.leader() not in (None, leader)


def test_a_leader_that_was_stopped_does_not_lead_before_any_of_its_timers_has_run(two: World) -> None:
    leader = two.leader()
    assert leader is not None
    leader.frozen_until = two.time + 100
    two.run(two.time + 50)
    assert two.leader() not in (None, leader)
    assert leader.election.role(leader.now()) is Role.LAPSED  # it was asked before it could do anything
    two.run(two.time + 60)
    assert leader.election.role(leader.now()) is Role.FOLLOWING


def test_a_leader_that_cannot_renew_stops_before_the_others_may_begin(two: World) -> None:
    leader = two.leader()
    assert leader is not None
    two.trip = lambda: (0.01, 0.01, "question")
    two.run(two.time + TERMS.deadline + 0.1)
    assert leader.election.role(leader.now()) is Role.LAPSED
    assert two.leader() is None
    two.trip = _quick
    two.run(two.time + TERMS.retry + 0.1)
    assert two.leader() is leader  # it was first to come back, within its own lease


def test_a_longer_duration_of_the_holder_is_respected() -> None:
    election = Election("b", TERMS)
    election.seen(Record("1", "a", 60.0), 0.0)
    for second in range(1, 60):
        election.seen(Record("1", "a", 60.0), float(second))
        assert election.next(float(second)) is Move.WAIT
    election.seen(Record("1", "a", 60.0), 60.0)
    assert election.next(60.0) is Move.CLAIM


def test_a_duration_that_nobody_means_does_not_block_for_ever() -> None:
    election = Election("b", TERMS)
    for second in range(302):
        election.seen(Record("1", "a", 1e9), float(second))
    assert election.next(301.0) is Move.CLAIM


def test_one_that_could_not_look_watches_for_a_whole_duration_anew() -> None:
    election = Election("b", TERMS)
    record = Record("1", "a", 10.0)
    for second in range(9):
        election.seen(record, float(second))
    assert election.blind(20.0)
    election.seen(record, 20.0)
    assert election.next(20.0) is Move.WAIT
    assert not election.blind(20.0)


def test_one_that_does_not_know_whether_it_took_over_promises_nothing() -> None:
    election = Election("b", TERMS)
    election.seen(Record("1", "", RELEASED), 0.0)
    assert election.next(0.0) is Move.CLAIM
    election.claiming()
    assert not election.blind(100.0)
    election.seen(Record("1", "", RELEASED), 100.0)  # it may still be on its way
    assert not election.blind(200.0)
    election.seen(Record("2", "a", 10.0), 200.0)
    assert election.blind(300.0)


def test_a_holder_for_whom_the_others_wait_leads_on_and_one_that_has_lost_it_does_not() -> None:
    election = Election("a", TERMS)
    election.claimed(Record("1", "a", 10.0), 0.0, 0.1)
    assert election.role(7.0) is Role.LAPSED
    election.stands(7.0)
    assert election.role(13.0) is Role.LEADING
    election.seen(Record("2", "b", 10.0), 13.0)
    election.stands(13.0)
    assert election.role(13.0) is Role.FOLLOWING
