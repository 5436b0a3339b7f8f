"""Child processes: they serve as long as they are wanted, and never outlive who started them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from exporter.demo import processes
from exporter.demo.processes import Child, StartError, bound, descendants
from exporter.demo.servers.postgres import PostgresServer
from tests.demo.watching import state, wait_until_gone
from tests.waiting import until

STUBBORN = 'trap "" TERM; sleep 1000 & echo ready; while :; do wait; done'


def shell(script: str, folder: Path) -> Child:
    """Start a shell, and wait until its script says that it is ready."""
    child = Child("shell", ["sh", "-c", script], folder / "log")
    child.start(lambda: "ready" in child.log_tail())
    return child


def family_of(child: Child) -> list[int]:
    assert child.pid is not None
    return [child.pid, *descendants(child.pid)]


@pytest.mark.parametrize("act", ["pass", "c.pause()"])
@pytest.mark.parametrize("as_nobody", [True, False])
def test_whoever_kills_the_parent_kills_children_running_or_paused(act: str, as_nobody: bool, tmp_path: Path) -> None:
    """PostgreSQL's backends are children of a child, which no signal reaches at a parent's death."""
    code = (
        "import time; from pathlib import Path; from exporter.demo.processes import Child, descendants\n"
        "script = 'sh -c \"while kill -0 $$; do sleep 0.05; done\" & echo ready; wait'\n"
        f"log = Path({str(tmp_path / 'log')!r}); c = Child('shell', ['sh', '-c', script], log, as_nobody={as_nobody})\n"
        f"c.start(lambda: 'ready' in c.log_tail()); {act}\n"
        "print(c.pid, *descendants(c.pid), flush=True); time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        family = [int(pid) for pid in parent.stdout.readline().split()]
        family += descendants(parent.pid)  # with the guard of the paused
        assert len(set(family)) >= 2
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        wait_until_gone(*family)


def test_what_ignores_to_be_asked_is_killed_with_what_it_started(tmp_path: Path) -> None:
    child = shell(STUBBORN, tmp_path)
    family = family_of(child)
    assert len(family) == 2
    child.stop(0.1)
    wait_until_gone(*family)


def test_what_ends_and_leaves_a_child_behind_is_cleaned_up_after(tmp_path: Path) -> None:
    child = shell("sleep 1000 & echo ready; wait", tmp_path)
    family = family_of(child)
    child.stop()
    wait_until_gone(*family)


def test_a_paused_family_does_not_run_until_it_is_resumed(tmp_path: Path) -> None:
    child = shell("sleep 1000 & echo ready; wait", tmp_path)
    family = family_of(child)
    for _ in range(2):  # pausing twice is pausing once
        child.pause()
    until(lambda: [state(pid) for pid in family] == ["T", "T"], 5, "both are stopped")  # the kernel takes its time
    child.resume()
    until(lambda: "T" not in [state(pid) for pid in family], 5, "both run again")
    child.pause()
    child.stop()
    wait_until_gone(*family)
    assert not child.running


def test_nothing_happens_to_what_does_not_run(tmp_path: Path) -> None:
    child = Child("shell", ["true"], tmp_path / "log")
    for act in (child.pause, child.resume, child.stop):
        act()
    assert (child.running, child.log_tail()) == (False, "")


def test_what_runs_is_not_started_twice(tmp_path: Path) -> None:
    child = shell("echo ready; sleep 1000", tmp_path)
    with pytest.raises(StartError, match="shell is running already"):
        child.start()
    child.stop()


def test_a_start_that_is_given_up_ends_at_once(tmp_path: Path) -> None:
    child = Child("shell", ["sleep", "1000"], tmp_path / "log")
    failures: list[StartError] = []

    def start() -> None:
        try:
            child.start(lambda: False)
        except StartError as error:
            failures.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    deadline = time.monotonic() + 5
    while child.pid is None:
        assert time.monotonic() < deadline
    child.stop()
    thread.join(2)
    assert [str(error) for error in failures] == ["shell was stopped while it started"]


def test_what_does_not_start_says_why(tmp_path: Path) -> None:
    child = Child("shell", ["sh", "-c", "echo no such luck; exit 7"], tmp_path / "log")
    with pytest.raises(StartError, match=r"shell ended with code 7(?s:.)*no such luck"):
        child.start(lambda: False)
    late = Child("sleeper", ["sleep", "1000"], tmp_path / "log2")
    with pytest.raises(StartError, match="sleeper is not ready"):
        late.start(lambda: False, seconds=0.1)
    assert not late.running


def test_a_missing_setpriv_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartError, match="shell: cannot start setpriv: No such file or directory"):
        Child("shell", ["true"], tmp_path / "log").start()


def test_where_user_namespaces_are_forbidden_postgres_still_runs_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in containers; root then becomes nobody, and still reaches a clone in a folder that only root may enter."""
    monkeypatch.setattr(processes, "_namespaces_allowed", lambda: False)
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with PostgresServer(private / "postgres") as server:
        assert server.child is not None
        family = family_of(server.child)
    wait_until_gone(*family)


def test_only_root_becomes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert bound(["true"], as_nobody=True) == bound(["true"]) == ["setpriv", "--pdeathsig", "KILL", "--", "true"]


def test_no_unshare_is_no_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes._namespaces_allowed.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert processes._namespaces_allowed() is False
    processes._namespaces_allowed.cache_clear()
