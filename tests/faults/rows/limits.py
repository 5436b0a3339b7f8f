"""Less of everything: descriptors, memory, threads, processes, file sizes."""

from __future__ import annotations

import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from exporter.demo.processes import bound
from exporter.verdict import PROBER_FAULTS
from tests.faults.model import Fault, Wrong
from tests.faults.rows.signals import planted, refused
from tests.faults.scene import WELL, Scene

__all__ = ["FAULTS"]

_MIB = 1 << 20


def _descriptors(most: int, addresses: int) -> Callable[[Scene], str]:
    """Give it few descriptors, and more addresses than it could keep connections to."""

    def act(scene: Scene) -> str:
        slow = {"interval": "15s", "timeout": "5s"}  # as shipped
        many = {
            "instances": [f"127.0.{1 + n // 250}.{1 + n % 250}:{scene.targets.actuators}" for n in range(addresses)],
            "probes": {"actuator": slow},
        }
        config = scene.targets.config(services={"many": many})
        scene.start(wrap=("prlimit", f"--nofile={most}:{most}"), config=config)
        scene.watch.forgive()
        scene.watched(15)
        scrape = scene.watch.last
        if scrape is None:
            raise Wrong("no answer")
        up, down = (scrape.values("probe_success", service="many").count(value) for value in (1, 0))
        why = {name for name, _ in scrape.find("probe_failures_total", service="many", reason="timeout")}
        scene.holds(not down, f"{down} of {addresses} well ones are told down; {len(why)} had a timeout")
        reasons = {name.rpartition('reason="')[2].rstrip('"}') for name, _ in scrape.find("probe_unknown", service="many")}
        scene.holds(reasons <= PROBER_FAULTS, f"unknown for {reasons}")
        scene.settled()
        return f"{up} of {addresses} more targets up, {addresses - up} unknown; longest gap {scene.watch.worst:.1f} s"

    return act


def _no_descriptors_left(most: int) -> Callable[[Scene], str]:
    """Give it fewer than it wants to keep back for the listener alone."""

    def act(scene: Scene) -> str:
        scene.start(wrap=("prlimit", f"--nofile={most}:{most}"), settled=False)
        scene.wait(lambda: scene.watch.scrapes > 3, 20, "it is scraped")
        scene.watch.forgive()
        scene.watched(15)
        scrape = scene.watch.last
        if scrape is None:
            raise Wrong("no answer")
        up = sum(scrape.total("probe_success", service=name) for name in WELL)
        return f"{up:.0f} of {len(WELL)} up, the rest unknown; longest gap {scene.watch.worst:.1f} s"

    return act


def _idle_clients(scene: Scene) -> str:
    """Have clients that say nothing want more descriptors than there are."""
    scene.start(wrap=("prlimit", "--nofile=256:256"))
    scene.watch.forgive()
    for _ in range(600):
        scene.stack.enter_context(socket.create_connection(("127.0.0.1", scene.daemon.port), 10))
    scene.watched(5)
    scrape = scene.watch.last
    if scrape is None:
        raise Wrong("no answer")
    unknown = scrape.total("probe_unknown")
    scene.holds(not unknown, f"{unknown:.0f} targets are unknown")
    used = len(list(Path(f"/proc/{scene.daemon.pid}/fd").iterdir()))
    scene.holds(used < 160, f"{used} descriptors are open")
    return f"every target told; {used} descriptors open; longest gap {scene.watch.worst:.1f} s"


def _limit(scene: Scene, kind: int, most: int) -> Callable[[], None]:
    """Limit the running daemon; return what lifts that again."""
    pid = scene.daemon.pid
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (most, before[1]))
    return lambda: resource.prlimit(pid, kind, before) and None


def _no_descriptor(scene: Scene) -> str:
    scene.start()
    open_ones = len(list(Path(f"/proc/{scene.daemon.pid}/fd").iterdir()))
    lift = _limit(scene, resource.RLIMIT_NOFILE, max(3, open_ones - 3))
    time.sleep(8 if scene.long else 4)
    lift()
    scene.settled()
    return "nobody told down; right again once there are some"


def _address_space(scene: Scene) -> str:
    """Leave it no address space at all while it is scraped and asked for everything."""
    scene.start()
    lift = _limit(scene, resource.RLIMIT_AS, _status(scene, "VmSize") * 1024)
    statuses = []
    for _ in range(20 if scene.long else 6):
        statuses += [scene.daemon.status(path) for path in ("/", "/metrics", "/api/v1/services", "/-/healthy")]
    process = scene.daemon.process
    assert process is not None
    ended = process.poll()
    if ended is None:
        lift()
        scene.settled()
        return f"{statuses.count(200)} of {len(statuses)} answers were 200; right again once there is some"
    scene.traceback_allowed = True
    scene.watch.restarted()
    scene.daemon.launch()
    scene.settled()
    return f"it ended with {ended}, as by a control group; started again, every verdict right"


def _status(scene: Scene, field: str) -> int:
    """Return a field of its status, in KiB: proc(5)."""
    lines = Path(f"/proc/{scene.daemon.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _memory(mib: int, addresses: int = 0) -> Callable[[Scene], str]:
    def act(scene: Scene) -> str:
        instances = [f"127.0.1.{number}:{scene.targets.actuators}" for number in range(1, addresses + 1)]
        many = {"many": {"instances": instances, "probes": {"actuator": {}}}} if instances else {}
        scene.start(wrap=("prlimit", f"--data={mib * _MIB}"), config=scene.targets.config(services=many))
        for _ in range(30):
            scene.holds(scene.daemon.status("/metrics") == 200, "a scrape was not answered")
        scene.watched(10)
        scene.settled()
        scrape = scene.watch.last
        up = scrape.values("probe_success", service="many").count(1) if scrape is not None else 0
        scene.holds(up == addresses, f"{up} of {addresses} more targets are up")
        return f"RSS {_status(scene, 'VmRSS') / 1024:.0f} MiB"

    return act


def _no_memory(scene: Scene) -> str:
    daemon = scene.daemon
    daemon.wrap = ("prlimit", f"--as={48 * _MIB}")
    daemon.launch()
    scene.traceback_allowed = True  # Python cannot even import: that is its own to tell
    assert daemon.process is not None
    code = daemon.process.wait(300)
    scene.holds(code != 0, "exit 0")
    return f"exit {code}"


def _no_threads_at_start(scene: Scene) -> str:
    """No thread can be started, as with pids.max."""
    scene.daemon.environment = {**planted(scene), "PLANTED_NO_THREADS": "1"}
    return refused(scene, "thread")


def _no_more_threads(scene: Scene) -> str:
    scene.start(environment=planted(scene))
    scene.send(signal.SIGUSR1)
    statuses: list[int] = []
    for _ in range(10 if scene.long else 4):
        statuses += [scene.daemon.status(path) for path in ("/", "/metrics", "/api/v1/services", "/-/healthy")]
        scene.reload()
        time.sleep(0.5)
    scene.watched(12)
    scene.send(signal.SIGUSR1)
    scene.settled()
    return f"as ever; {statuses.count(200)} of {len(statuses)} answers were 200"


def _no_thread_at_the_end(scene: Scene) -> str:
    scene.start(environment=planted(scene))
    scene.send(signal.SIGUSR1)
    time.sleep(0.5)
    scene.ends()
    return "exit 0"


def _no_processes(scene: Scene) -> str:
    scene.start(wrap=("prlimit", "--nproc=64", *bound([], as_nobody=True)))
    scene.watched(5)
    scene.settled()
    return "as ever"


def _file_size(scene: Scene) -> str:
    scene.start(wrap=("prlimit", "--fsize=200"))
    for _ in range(10):
        scene.reload()
    scene.wait(lambda: (scene.value("probe_exporter_log_lines_dropped_total") or 0) > 0, 10, "lost lines are counted")
    scene.settled()
    return f"{scene.value('probe_exporter_log_lines_dropped_total'):.0f} lines of the log lost, and counted"


def _core(scene: Scene) -> str:
    scene.start(wrap=("prlimit", "--memlock=0", "--sigpending=0", "--msgqueue=0", "--core=0", "--nice=0", "--rtprio=0"))
    scene.watched(3)
    scene.settled()
    return f"{WELL[0]} and the others right"


_STILL = "scraped all the while; nobody told down; what cannot be asked is unknown, `prober_descriptors`"

FAULTS = (
    Fault("nofile-256", "`ulimit -n 256`, 200 more targets on as many hosts", _STILL, _descriptors(256, 200), quick=True),
    Fault("nofile-128", "`ulimit -n 128`, 100 more targets", _STILL, _descriptors(128, 100)),
    Fault("nofile-64", "`ulimit -n 64`", "scraped all the while; nobody told down", _no_descriptors_left(64)),
    Fault("nofile-40", "`ulimit -n 40`", "the same", _no_descriptors_left(40)),
    Fault("nofile-idle", "`ulimit -n 256`, 600 connections that say nothing", "scraped and every target told all the while",
          _idle_clients, quick=True),
    Fault("nofile-none", "no descriptor is left while it runs", "nobody told down; right again", _no_descriptor, quick=True),
    Fault("memory-none", "no address space is left while it is scraped", "nobody told down; it goes on, or ends at once",
          _address_space, quick=True),
    Fault("memory-256", "256 MiB of data (RLIMIT_DATA), scraped and asked", "as ever", _memory(256), quick=True),
    Fault("memory-128", "128 MiB of data, 50 more targets", "as ever", _memory(128, 50), quick=True),
    Fault("memory-start", "48 MiB of address space from the start", "it ends, and does not hang", _no_memory),
    Fault("threads-start", "no thread can be started, from the start", "one line, exit 1", _no_threads_at_start, quick=True),
    Fault("threads", "no thread can be started while it runs", "verdicts stand, it lives", _no_more_threads, quick=True),
    Fault("threads-end", "no thread can be started when it ends", "exit 0", _no_thread_at_the_end, quick=True),
    Fault("processes", "it may have 64 processes and threads, as nobody", "as ever", _no_processes),
    Fault("file-size", "its log may have 200 bytes (RLIMIT_FSIZE)", "lost lines are counted", _file_size, quick=True),
    Fault("other-limits", "no locked memory, no pending signals, no message queues", "as ever", _core),
)  # fmt: skip
