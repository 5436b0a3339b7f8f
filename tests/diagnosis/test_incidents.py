"""Incidents: when they are chosen, kept and left; a table of moments, and whatever comes in whatever order."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.diagnosis.graph import Surroundings, roots
from exporter.diagnosis.incidents import RECOVERED_FOR, SETTLE_WITHIN, Chosen, Condition, due, incidents_of, step
from exporter.verdict import Verdict

UP, DOWN, UNKNOWN = Verdict.UP, Verdict.DOWN, Verdict.UNKNOWN
NEEDS = {"facade": ("case", "vault"), "case": ("db", "cache"), "vault": ("db",), "db": (), "cache": ()}
AROUND = Surroundings(NEEDS)
WELL = {name: Condition(UP, 0.0, asked_at=200.0) for name in NEEDS}


def roots_of(members: Mapping[str, Condition]) -> dict[str, tuple[str, ...]]:
    down = {name: NEEDS[name] for name, member in members.items() if member.verdict is DOWN}
    return {reach.name: tuple(sorted(reach.roots, key=lambda root: (members[root].since, root))) for reach in roots(down)}


def now(at: float, members: Mapping[str, Condition], before: Mapping[str, Chosen] | None = None) -> dict[str, Chosen]:
    return step(at, before or {}, members, roots_of(members), AROUND)


def names(chosen: Mapping[str, Chosen]) -> dict[str, str]:
    return {name: each.incident for name, each in chosen.items()}


def down(since: float = 100.0, troubled_at: float = 96.0) -> Condition:
    return Condition(DOWN, since, troubled_at, asked_at=since)


def test_a_service_alone_is_chosen_once_what_it_needs_was_asked_after_it_had_failed() -> None:
    members = {**WELL, "case": down(), "db": Condition(UP, 0.0, asked_at=95.9)}
    assert now(100.0, members) == {}
    members["db"] = Condition(UP, 0.0, asked_at=96.0, doubtful=True)
    assert now(100.0, members) == {}
    members["db"] = Condition(UP, 0.0, asked_at=96.0)
    assert names(now(100.0, members)) == {"case": "case"}
    members["db"] = Condition(UNKNOWN, 0.0, asked_at=96.0)
    assert names(now(100.0, members)) == {"case": "case"}


def test_a_root_is_chosen_once_what_needs_it_was_asked_and_all_of_it_together() -> None:
    members = {**WELL, "db": down(), "case": down(99.0), "vault": Condition(UP, 0.0, asked_at=99.9)}
    assert now(100.0, members) == {}
    members["vault"] = Condition(UP, 0.0, asked_at=101.0, doubtful=True)
    assert now(101.0, members) == {}
    members["vault"] = down(104.0)
    assert names(now(104.0, members)) == dict.fromkeys(("db", "case", "vault"), "db")


def test_it_is_never_later_than_ten_seconds_after() -> None:
    members = {**WELL, "db": down(), "case": Condition(UP, 0.0, doubtful=True)}
    assert due({}, members) == 100.0 + SETTLE_WITHIN
    assert now(109.9, members) == {}
    assert names(now(110.0, members)) == {"db": "db"}


def test_of_two_roots_the_one_that_is_down_longest_and_then_by_name() -> None:
    members = {**WELL, "db": down(90.0), "cache": down(80.0), "case": down(100.0)}
    assert names(now(110.0, members))["case"] == "cache"
    members["db"] = members["cache"]
    assert names(now(110.0, members))["case"] == "cache"
    members["cache"] = down(95.0)
    assert names(now(110.0, members))["case"] == "db"


def test_it_is_kept_through_unknown_and_forgotten_when_it_is_up() -> None:
    members = {**WELL, "db": down(), "case": down()}
    chosen = now(110.0, members)
    members["case"] = Condition(UNKNOWN, 120.0)
    chosen = now(120.0, members, chosen)
    assert incidents_of(chosen, members) == {"db": "db"}
    members["case"] = down(130.0)
    chosen = now(130.0, members, chosen)
    assert incidents_of(chosen, members)["case"] == "db"
    members["case"] = Condition(UP, 140.0)
    assert "case" not in now(140.0, members, chosen)


def test_it_is_left_when_the_root_has_been_well_for_a_minute() -> None:
    members = {**WELL, "db": down(), "case": down(), "facade": down()}
    chosen = now(110.0, members)
    members["db"] = Condition(UP, 200.0, asked_at=200.0)
    chosen = now(200.0, members, chosen)
    assert due(chosen, members) == 200.0 + RECOVERED_FOR
    chosen = now(230.0, members, chosen)
    assert names(chosen) == {"case": "db", "facade": "db"}
    members["db"] = down(231.0)  # and again: it has not recovered
    chosen = now(231.0, members, chosen)
    members["db"] = Condition(UP, 240.0, asked_at=240.0)
    chosen = now(240.0, members, chosen)
    chosen = now(299.9, members, chosen)
    assert names(chosen) == {"case": "db", "facade": "db"}
    assert names(now(300.0, members, chosen)) == {"case": "case", "facade": "case"}


def test_what_cannot_be_told_has_not_recovered_and_what_is_gone_has() -> None:
    members = {**WELL, "db": down(), "case": down()}
    chosen = now(110.0, members)
    members["db"] = Condition(UNKNOWN, 120.0)
    for at in (120.0, 400.0):
        chosen = now(at, members, chosen)
    assert names(chosen) == {"case": "db", "db": "db"}
    del members["db"]
    for at in (500.0, 560.0):
        chosen = now(at, members, chosen)
    assert names(chosen) == {"case": "case"}


def test_who_comes_down_later_joins_the_incident_of_its_root() -> None:
    members = {**WELL, "db": down(), "case": down()}
    chosen = now(110.0, members)
    members["db"] = Condition(UP, 120.0, asked_at=120.0)
    chosen = now(120.0, members, chosen)
    members["facade"] = down(125.0)
    chosen = now(140.0, members, chosen)
    assert names(chosen) == {"case": "db", "facade": "db"}
    assert names(now(180.0, members, chosen)) == {"case": "case", "facade": "case"}


def test_what_services_say_is_down_is_kept_while_they_say_it() -> None:
    members = {**WELL, "case": down(), "vault": down()}
    said = {"case": ("broker",), "vault": ("broker",)}
    chosen = step(110.0, {}, members, said, AROUND)
    assert names(chosen) == {"case": "broker", "vault": "broker"}
    chosen = step(300.0, chosen, members, said, AROUND)
    assert names(chosen) == {"case": "broker", "vault": "broker"}
    for at in (310.0, 370.0):
        chosen = step(at, chosen, members, {"case": ("case",), "vault": ("vault",)}, AROUND)
    assert names(chosen) == {"case": "case", "vault": "vault"}


def test_what_services_said_is_kept_when_they_die_of_it_and_left_when_one_takes_it_back() -> None:
    members = {**WELL, "case": down(), "vault": down()}
    blamed = {"case": frozenset({"broker"}), "vault": frozenset({"broker"})}
    chosen = step(110.0, {}, members, {"case": ("broker",), "vault": ("broker",)}, AROUND, words=blamed)
    members["facade"] = down(115.0)
    itself = {name: (name,) for name in ("case", "vault", "facade")}
    facade = {**itself, "facade": ("case", "vault")}
    chosen = step(130.0, chosen, members, facade, AROUND, words=blamed)
    for at in (200.0, 900.0):  # both have fallen silent, then one is back and says the same, alone
        chosen = step(at, chosen, members, facade, AROUND, words={})
        chosen = step(at + 70, chosen, members, facade, AROUND, words={"case": frozenset({"broker"})})
    assert names(chosen) == {"case": "broker", "vault": "broker", "facade": "broker"}
    for at in (1000.0, 1060.0):  # one says that it is well with it
        chosen = step(at, chosen, members, itself, AROUND, words={"case": frozenset({"redis"})})
    assert names(chosen) == {"case": "case", "vault": "vault", "facade": "facade"}


def test_what_nobody_is_left_to_say_is_left() -> None:
    members = {**WELL, "case": down(), "vault": down()}
    blamed = {"case": frozenset({"broker"})}
    chosen = step(110.0, {}, members, {"vault": ("broker",)}, AROUND, words=blamed)
    assert chosen["vault"] == Chosen("broker", voices=frozenset({"case"}))
    del members["case"]
    for at in (200.0, 260.0):
        chosen = step(at, chosen, members, {"vault": ("vault",)}, AROUND)
    assert names(chosen) == {"vault": "vault"}


BROKER = frozenset({"broker"})
BOTH = {"case": ("broker",), "vault": ("broker",)}
BOTH_SAY = {"case": BROKER, "vault": BROKER}
ALONE = {"case": ("case",), "vault": ("vault",), "facade": ("facade",)}


def blamed_by_both() -> tuple[dict[str, Condition], dict[str, Chosen]]:
    members = {**WELL, "case": down(), "vault": down()}
    return members, step(110.0, {}, members, BOTH, AROUND, words=BOTH_SAY)


def silent(chosen: dict[str, Chosen], members: Mapping[str, Condition], *moments: float) -> dict[str, Chosen]:
    for at in moments:
        chosen = step(at, chosen, members, ALONE, AROUND, words={})
    return chosen


def test_a_root_whose_own_probe_saw_it_go_and_come_back_is_well() -> None:
    members, chosen = blamed_by_both()
    members["broker"] = down(120.0)
    chosen = step(131.0, chosen, members, {**BOTH, "broker": ("broker",)}, AROUND, words={})
    members["broker"] = Condition(UP, 140.0, asked_at=140.0)
    assert names(silent(chosen, members, 140.0, 199.0)) == {"case": "broker", "vault": "broker"}
    assert names(silent(chosen, members, 140.0, 200.0)) == {"case": "case", "vault": "vault"}


def test_who_blames_a_root_later_is_a_voice_of_all_that_have_the_incident() -> None:
    members, chosen = blamed_by_both()
    members["facade"] = down(120.0)
    chosen = step(131.0, chosen, members, {**BOTH, "facade": ("broker",)}, AROUND, words={**BOTH_SAY, "facade": BROKER})
    members["facade"] = Condition(UP, 200.0)
    assert names(silent(chosen, members, 200.0, 260.0)) == {"case": "case", "vault": "vault"}
    members, chosen = blamed_by_both()
    members["facade"] = down(120.0)
    chosen = step(131.0, chosen, members, {**ALONE, "facade": ("broker",)}, AROUND, words={"facade": BROKER})
    members["case"] = Condition(UP, 200.0)
    assert names(silent(chosen, members, 200.0, 260.0)) == {"facade": "facade", "vault": "vault"}


def test_what_was_taken_back_stays_so_in_silence_and_through_a_reload() -> None:
    for gone in (False, True):
        members, chosen = blamed_by_both()
        members["case"] = Condition(UP, 200.0)
        chosen = silent(chosen, members, 200.0)
        if gone:
            del members["case"]
        else:
            members["case"] = down(230.0)
        assert names(silent(chosen, members, 240.0, 260.0))["vault"] == "vault"
        again = step(240.0, chosen, members, BOTH, AROUND, words={"vault": BROKER})
        assert names(silent(again, members, 250.0, 320.0))["vault"] == "broker"


def test_a_root_that_loses_its_probe_is_known_by_what_services_go_on_to_say() -> None:
    members, _ = blamed_by_both()
    members["broker"] = down()
    chosen = step(110.0, {}, members, {**BOTH, "broker": ("broker",)}, AROUND, words=BOTH_SAY)
    del members["broker"]
    chosen = step(120.0, chosen, members, BOTH, AROUND, words=BOTH_SAY)
    assert names(silent(chosen, members, 301.0, 900.0)) == {"case": "broker", "vault": "broker"}


def test_voices_are_one_set_for_all() -> None:
    many = {f"s{number}": down() for number in range(500)}
    said = dict.fromkeys(many, ("broker",))
    chosen = step(110.0, {}, many, said, AROUND, words=dict.fromkeys(many, BROKER))
    assert len({id(each.voices) for each in chosen.values()}) == 1
    chosen = step(120.0, chosen, many, said, AROUND, words={})
    assert len({id(each.voices) for each in chosen.values()}) == 1


_CHANGE = st.tuples(
    st.sampled_from(sorted(NEEDS)),
    st.sampled_from([UP, DOWN, DOWN, UNKNOWN]),
    st.booleans(),
    st.sampled_from([0.0, 0.1, 1.0, 4.0, 11.0, 30.0, 61.0]),
)


class Watch:
    """Incidents as they go on, and what must hold of them at each moment."""

    def __init__(self) -> None:
        self.members = dict(WELL)
        self.chosen: dict[str, Chosen] = {}
        self.well_since: dict[str, float] = {}
        """Of what is well: since when it is seen to be."""

    def look(self, at: float) -> None:
        was, self.chosen = self.chosen, now(at, self.members, self.chosen)
        for name, member in self.members.items():
            if member.verdict is UP:
                self.well_since.setdefault(name, at)
            else:
                self.well_since.pop(name, None)
        told = incidents_of(self.chosen, self.members)
        for name, member in self.members.items():
            self._is_told_in_time(at, name, member, told)
            self._is_kept(name, was)
            self._is_left(at, name, told)
        self._would_be_the_same_after_a_restart(at)

    def _is_told_in_time(self, at: float, name: str, member: Condition, told: Mapping[str, str]) -> None:
        assert member.verdict is not UP or name not in self.chosen
        assert member.verdict is DOWN or name not in told
        assert member.verdict is not DOWN or at < member.since + SETTLE_WITHIN or name in told

    def _is_kept(self, name: str, was: Mapping[str, Chosen]) -> None:
        if name in was and name in self.chosen and was[name].incident != self.chosen[name].incident:
            assert self.members[name].verdict is DOWN
            assert self.members[was[name].incident].verdict is UP

    def _is_left(self, at: float, name: str, told: Mapping[str, str]) -> None:
        root = told.get(name, name)
        if root != name and root in self.well_since:
            assert at < self.well_since[root] + RECOVERED_FOR

    def _would_be_the_same_after_a_restart(self, at: float) -> None:
        """It follows from what is known then alone, in whatever order that is learnt."""
        backwards = dict(reversed(self.members.items()))
        found = names(now(at + SETTLE_WITHIN, backwards))
        assert found == {name: these[0] for name, these in roots_of(self.members).items()}


@settings(max_examples=400)
@given(st.lists(_CHANGE, max_size=40))
def test_whatever_comes(changes: list[tuple[str, Verdict, bool, float]]) -> None:
    watch, at = Watch(), 1000.0
    for name, verdict, doubtful, wait in changes:
        before = watch.members[name]
        since = at if verdict is not before.verdict else before.since
        watch.members[name] = Condition(verdict, since, at - 1, asked_at=at - 2 if doubtful else at, doubtful=doubtful)
        watch.look(at)
        watch.look(at + wait)
        at += wait


def test_due_says_when_time_alone_changes_something() -> None:
    assert due({}, WELL) is None
    members = {**WELL, "case": Condition(UNKNOWN, 0.0)}
    assert due({"case": Chosen("db", well_since=5.0)}, members) is None
