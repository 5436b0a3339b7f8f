"""What the targets of a service add up to, beside the same worked out the long way."""

from __future__ import annotations

import gc
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.engine.rollup import Key, Rollup, State, state_of
from exporter.engine.target import Standing
from exporter.verdict import Reason, Verdict

ORDER = [State.DOWN, State.DEGRADED, State.UNKNOWN, None, State.UP]
STANDINGS = [
    Standing(Verdict.UP, None),
    Standing(Verdict.DOWN, Reason.TIMEOUT),
    Standing(Verdict.UNKNOWN, Reason.AUTH),
    Standing(Verdict.UNKNOWN, Reason.NOT_YET_PROBED),
]

keys = st.builds(lambda kind, n: ("s", kind, f"h:{n}"), st.sampled_from(["actuator", "tls"]), st.integers(0, 4))
steps = st.one_of(
    st.tuples(st.just("put"), keys, st.sampled_from(STANDINGS), st.integers(0, 2)),
    st.tuples(st.just("completed"), keys, st.sampled_from([0.1, 0.2, 0.3, 0.4])),
    st.tuples(st.just("remove"), keys),
)


class Plain:
    """The same without bookkeeping."""

    def __init__(self) -> None:
        self.targets: dict[Key, tuple[Standing, int]] = {}
        self.durations: dict[Key, float] = {}

    def group(self, key: Key) -> State | None:
        standing, parts = self.targets[key]
        if standing.reason is Reason.NOT_YET_PROBED:
            return None
        return state_of(standing.verdict, troubled=parts > 0)

    def of(self, state: State) -> int:
        return sum((self.group(key) or State.UNKNOWN) is state for key in self.targets)

    def probe(self, kind: str) -> State:
        states = {self.group(key) for key in self.targets if key[1] == kind} - {None}
        worst = next((state for state in State if state in states), State.UNKNOWN)
        return State.DEGRADED if worst is not State.UP and State.UP in states else worst


@given(st.lists(steps, max_size=60))
def test_it_says_what_a_walk_over_all_targets_would(steps: list[Any]) -> None:
    rollup, plain = Rollup(), Plain()
    for what, key, *rest in steps:
        if what == "put":
            rollup.put(key, *rest)
            plain.targets[key] = (rest[0], rest[1])
        elif what == "completed":
            rollup.completed(key, *rest)
            if key in plain.targets:
                plain.durations.pop(key, None)
                plain.durations[key] = rest[0]
        elif key in plain.targets:
            rollup.remove(key)
            del plain.targets[key]
            plain.durations.pop(key, None)
        assert rollup.states == {state.value: plain.of(state) for state in State}
        assert rollup.pending == sum(plain.group(key) is None for key in plain.targets)
        assert rollup.troubled == any(plain.group(key) not in (None, State.UP) for key in plain.targets)
        up = [parts for key, (_, parts) in plain.targets.items() if plain.group(key) is State.DEGRADED]
        assert rollup.failed_parts == sum(up)
        kinds = sorted({key[1] for key in plain.targets})
        assert rollup.probes == {kind: plain.probe(kind) for kind in kinds}
        worst = rollup.worst()
        assert sorted(worst) == sorted(plain.targets)
        weights = [(ORDER.index(plain.group(key)), key[1]) for key in worst]
        assert weights == sorted(weights)
        assert rollup.worst(2) == worst[:2]
        assert rollup.slowest == max(plain.durations.values(), default=None)
        oldest = {key[1]: key for key in reversed(plain.durations)}
        assert sorted(rollup.stalest) == sorted(oldest.values())


def test_the_longest_in_trouble_comes_first() -> None:
    rollup = Rollup()
    up, down, _, _ = STANDINGS
    for n in range(4):
        rollup.put(("s", "tls", f"h:{n}"), up, 0)
    for n in (2, 0, 3):
        rollup.put(("s", "tls", f"h:{n}"), down, 0)
    rollup.put(("s", "tls", "h:2"), Standing(Verdict.DOWN, Reason.CONNECT_REFUSED), 0)  # another reason, the same trouble
    assert [name for _, _, name in rollup.worst()] == ["h:2", "h:0", "h:3", "h:1"]


def _calls(targets: int) -> int:
    """Return how many function calls a change, and what is read of it for people, take among so many targets."""
    rollup = Rollup()
    for n in range(targets):
        rollup.put(("s", "tls", f"h:{n}"), STANDINGS[n % 2], 0)
        rollup.completed(("s", "tls", f"h:{n}"), 0.1)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    gc.disable()  # what it calls is nobody's cost here
    sys.setprofile(count)
    rollup.put(("s", "tls", "h:1"), STANDINGS[0], 1)
    rollup.completed(("s", "tls", "h:1"), 0.05)
    _ = rollup.worst(12), rollup.states, rollup.probes, rollup.troubled, rollup.slowest, rollup.stalest
    sys.setprofile(None)
    gc.enable()
    return calls


def test_it_costs_the_same_however_many_targets_there_are() -> None:
    assert _calls(5000) == _calls(50)
