"""Kills for memory, counted from the changes of pods, as a kubelet tells of them."""

from __future__ import annotations

from typing import Any

from exporter.clients.kubernetes.objects.pods import Pod
from exporter.clients.kubernetes.oom import OomCounter, OomKills
from tests.clients.kubernetes.fake import pod

APP = OomKills("identity", "app")


def dead(identity: str, reason: str = "OOMKilled") -> dict[str, Any]:
    return {"terminated": {"containerID": f"containerd://{identity}", "reason": reason, "exitCode": 137}}


def container(restarts: int, state: dict[str, Any], last: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": "app", "restartCount": restarts, "state": state, "lastState": last or {}}


RUNS: dict[str, Any] = {"running": {"startedAt": "2026-01-02T03:04:05Z"}}
WAITS: dict[str, Any] = {"waiting": {"reason": "CrashLoopBackOff"}}


def seen(*containers: dict[str, Any], uid: str = "one", owner: str = "identity") -> Pod:
    return Pod.of(pod("identity-1", uid=uid, owner=owner, containers=list(containers)))


def counted(*looks: Pod) -> int:
    """Count over looks of which the first is the list of the start."""
    counter = OomCounter()
    counter.replaced({looks[0].uid: looks[0]})
    for look in looks[1:]:
        counter.changed(look)
    return counter.counts.get(APP, 0)


def test_one_kill_is_counted_once_in_all_its_states() -> None:
    looks = [
        seen(container(0, RUNS)),
        seen(container(0, dead("a"))),
        seen(container(0, WAITS, dead("a"))),
        seen(container(1, RUNS, dead("a"))),
        seen(container(1, RUNS, dead("a"))),
    ]
    assert counted(*looks) == 1


def test_each_kill_of_a_loop_is_counted() -> None:
    looks = [seen(container(0, RUNS))]
    for number in range(5):
        looks += [seen(container(number, WAITS, dead(str(number)))), seen(container(number + 1, RUNS, dead(str(number))))]
    assert counted(*looks) == 5


def test_two_kills_that_one_look_tells_of_are_two() -> None:
    assert counted(seen(container(0, RUNS)), seen(container(1, dead("b"), dead("a")))) == 2


def test_kills_between_two_looks_are_concluded_from_the_restarts() -> None:
    assert counted(seen(container(0, RUNS)), seen(container(2, RUNS, dead("b")))) == 2
    assert counted(seen(container(1, RUNS, dead("a"))), seen(container(4, RUNS, dead("d")))) == 3
    assert counted(seen(container(1, WAITS, dead("a"))), seen(container(3, RUNS, dead("b")))) == 1
    assert counted(seen(container(5, RUNS)), seen(container(6, RUNS, dead("b")))) == 1  # the earlier ends are not told of


def test_ends_for_another_reason_are_not_kills() -> None:
    assert counted(seen(container(0, RUNS)), seen(container(1, RUNS, dead("a", "Error")))) == 0
    looks = [
        seen(container(0, RUNS)),
        seen(container(1, RUNS, dead("a", "Error"))),
        seen(container(3, RUNS, dead("c"))),
    ]
    assert counted(*looks) == 1  # what was between is not known


def test_what_happened_before_the_start_is_not_counted() -> None:
    assert counted(seen(container(7, RUNS, dead("a"))), seen(container(7, RUNS, dead("a")))) == 0
    assert counted(seen(container(7, RUNS, dead("a"))), seen(container(7, WAITS, dead("b")))) == 1


def test_a_pod_that_came_and_was_killed_while_nobody_watched_counts() -> None:
    counter = OomCounter()
    counter.replaced({})
    look = seen(container(1, RUNS, dead("a")))
    counter.replaced({look.uid: look})
    assert counter.counts == {APP: 1}


def test_a_list_does_not_count_again_and_what_is_gone_is_forgotten() -> None:
    counter = OomCounter()
    look = seen(container(1, RUNS, dead("a")))
    counter.replaced({})
    counter.changed(look)
    counter.replaced({look.uid: look})
    counter.gone(look.uid)
    assert counter.counts == {APP: 1}
    other = seen(container(1, RUNS, dead("b")), uid="two")
    counter.changed(other)
    assert counter.counts == {APP: 2}


def test_what_was_lost_and_is_there_again_does_not_count() -> None:
    """As when an API server without its data is believed for a moment, or the way leads to another cluster."""
    counter = OomCounter()
    look = seen(container(1, RUNS, dead("a")))
    for listed in ({look.uid: look}, {}, {look.uid: look}):
        counter.replaced(listed)
    assert counter.counts == {}
    counter.changed(seen(container(1, WAITS, dead("b"))))
    assert counter.counts == {APP: 1}


def test_containers_and_workloads_are_counted_apart() -> None:
    counter = OomCounter()
    counter.replaced({})
    init = {**container(0, dead("x")), "name": "sidecar"}
    counter.changed(seen(container(0, dead("a")), init))
    counter.changed(seen(container(0, dead("b")), uid="two", owner=""))
    assert counter.counts == {APP: 1, OomKills("identity", "sidecar"): 1, OomKills("identity-1", "app"): 1}


def test_an_end_without_a_container_is_told_by_its_time() -> None:
    old = {"terminated": {"reason": "OOMKilled", "finishedAt": "2026-01-02T03:04:05Z"}}
    new = {"terminated": {"reason": "OOMKilled", "finishedAt": "2026-01-02T03:05:05Z"}}
    looks = [
        seen(container(0, RUNS)),
        seen(container(1, RUNS, old)),
        seen(container(1, RUNS, old)),
        seen(container(2, RUNS, new)),
    ]
    assert counted(*looks) == 2
