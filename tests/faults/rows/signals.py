"""Signals, kills, freezes, and the ends of the process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable

from tests.app.daemon import Daemon
from tests.faults.model import Fault, Wrong
from tests.faults.scene import DEAD, WELL, Scene
from tests.waiting import SLACK

__all__ = ["FAULTS"]


def _frozen(scene: Scene) -> str:
    scene.start()
    seconds = 60.0 if scene.long else 5.0
    pid = scene.daemon.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
    began = time.monotonic()
    scene.settled()
    return f"{seconds:.0f} s without an answer, then every verdict right after {time.monotonic() - began:.1f} s"


def _starved(scene: Scene) -> str:
    scene.start()
    pid, until = scene.daemon.pid, time.monotonic() + (20 if scene.long else 5)
    while time.monotonic() < until:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.7)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.2)
    scene.settled()
    return "nobody told down; right again afterwards"


def _killed(times: int) -> Callable[[Scene], str]:
    def act(scene: Scene) -> str:
        scene.start()
        for _ in range(times):
            scene.send(signal.SIGKILL)
            assert scene.daemon.process is not None
            scene.daemon.process.wait()
            scene.watch.restarted()
            scene.daemon.launch()
            if times > 1:
                time.sleep(1.0)
        began = time.monotonic()
        scene.settled()
        return f"on the same port again, every verdict right {time.monotonic() - began:.1f} s after its start"

    return act


def _ends_by(*numbers: int) -> Callable[[Scene], str]:
    def act(scene: Scene) -> str:
        scene.start()
        scene.watch.end()
        pid = scene.daemon.pid
        for number in numbers[:-1]:
            os.kill(pid, number)
        began = time.monotonic()
        scene.ends(number=numbers[-1])
        scene.holds("stopped; " in scene.daemon.log, "its log does not say that it stopped")
        return f"exit 0 after {time.monotonic() - began:.1f} s"

    return act


def _ends_while_it_starts(scene: Scene) -> str:
    codes: dict[int, int] = {}
    for tenth in range(20 if scene.long else 8):
        daemon = Daemon(scene.folder, scene.targets.config())
        daemon.launch()
        time.sleep(0.1 * tenth)
        try:
            code = daemon.stop()
        except subprocess.TimeoutExpired:
            raise Wrong(f"SIGTERM {tenth / 10} s after its start does not end it") from None
        codes[code] = codes.get(code, 0) + 1
    allowed = {0, -signal.SIGTERM}
    scene.holds(codes.keys() <= allowed, f"exit codes {codes}")
    return ", ".join(f"{count} ended with {code}" for code, count in sorted(codes.items()))


def _ends_while_it_reloads(scene: Scene) -> str:
    scene.start()
    scene.watch.end()
    for _ in range(5):
        scene.send(signal.SIGHUP)
        time.sleep(0.01)
    scene.ends()
    return "exit 0"


def _hangups(scene: Scene) -> str:
    scene.start()
    for _ in range(500):
        scene.send(signal.SIGHUP)
        time.sleep(0.002)
    scene.settled()
    reloads = scene.daemon.log.count("configuration reloaded")
    scene.holds(reloads > 0, "no reload was made")
    return f"{reloads} reloads for 500 signals"


def _hangup_at_start(scene: Scene) -> str:
    """What it reads at its start is not what is there at the first signal."""
    scene.daemon.write(scene.targets.config(services={"before": {"instances": ["127.0.0.1:9"], "probes": {"tls": {}}}}))
    scene.daemon.launch()
    scene.watch.start()
    while "may be open" not in scene.daemon.log:  # until then it has not read its configuration
        process = scene.daemon.process
        if process is None or process.poll() is not None:
            # Python itself takes half a second until it ignores anything: before that a signal does what it does to anybody.
            raise Wrong("it ended")
        if _ignores(scene.daemon.pid, signal.SIGHUP):
            scene.send(signal.SIGHUP)
        time.sleep(0.02)
    scene.daemon.write(scene.targets.config())
    scene.send(signal.SIGHUP)
    scene.wait(lambda: scene.daemon.status("/api/v1/services/before") == 404, 20, "what was written last is in use")
    scene.settled()
    return "started, with what was written last"


def _ignores(pid: int, number: int) -> bool:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - of the kernel
        masks = dict(line.split(":\t") for line in status.read().splitlines() if line.startswith("Sig"))
    return any(int(masks[name], 16) >> (number - 1) & 1 for name in ("SigBlk", "SigIgn", "SigCgt"))


def _others(scene: Scene) -> str:
    scene.start()
    numbers = (signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG, signal.SIGCONT, signal.SIGPIPE)
    for _ in range(400):
        for number in numbers:
            scene.send(number)
    scene.settled()
    return "2,000 signals, nothing seen"


def _answered(scene: Scene) -> str:
    """Ask for a run that takes its second, and end it meanwhile."""
    hung = socket.create_server(("127.0.0.1", 0))
    scene.stack.callback(hung.close)
    slow = {"instances": [f"127.0.0.1:{hung.getsockname()[1]}"], "probes": {"redis": {"interval": "1h", "timeout": "2s"}}}
    scene.start(config=scene.targets.config(services={"slow": slow}), settled=False)
    scene.wait(lambda: scene.value("probe_interval_seconds", service="slow"), 20, "its target is known")
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(scene.daemon.status("/probe?service=slow&probe=redis")))
    asking.start()
    time.sleep(0.5)
    scene.ends()
    asking.join()
    scene.holds(answers == [200], f"who waited was answered {answers}")
    return "answered 200, then exit 0"


def _process_one(scene: Scene) -> str:
    outer = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    scene.start(wrap=outer)
    scene.send(signal.SIGHUP)
    scene.says("configuration reloaded")
    scene.ends()
    return "reloads on SIGHUP, exit 0 on SIGTERM"


def _taken(scene: Scene) -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        return refused(scene, f"cannot listen on 127.0.0.1:{port}", "--listen", f"127.0.0.1:{port}")


def refused(scene: Scene, text: str, *options: str, code: int = 1) -> str:
    """See that it does not start, and says why in a line."""
    daemon = scene.daemon
    daemon.options = options or daemon.options
    daemon.launch()
    assert daemon.process is not None
    try:
        ended = daemon.process.wait(20 * SLACK)
    except subprocess.TimeoutExpired:
        raise Wrong("it neither starts nor ends") from None
    scene.holds(ended == code, f"exit {ended}:\n{daemon.log}")
    scene.holds(text in daemon.log, f"its log does not say {text!r}:\n{daemon.log}")
    line = next(line for line in daemon.log.splitlines() if text in line)
    return f"exit {ended}: {line.partition('exporter: ')[2] or line}".replace(str(scene.folder), "…")


def _blocked(scene: Scene) -> str:
    """Have a callback hold the event loop, as a defect would: `planted.py` does so on SIGUSR2."""
    scene.start(environment=planted(scene))
    for _ in range(3):
        scene.send(signal.SIGUSR2)
        time.sleep(3.5)
    scene.settled()
    lag = scene.value("probe_exporter_loop_lag_seconds") or 0
    scene.holds(lag > 1, f"it tells a lag of {lag:.1f} s at most")
    return f"told as a lag of {lag:.1f} s; nobody told down"


def planted(scene: Scene) -> dict[str, str]:
    """Return an environment in which the daemon has the defects of `tests/faults/planted/sitecustomize.py`."""
    folder = str(__file__).rpartition("/rows/")[0] + "/planted"
    return {**scene.daemon.environment, "PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])}


def _defect(scene: Scene) -> str:
    scene.watch.defects_allowed = scene.traceback_allowed = True
    scene.start(environment={**planted(scene), "PLANTED_DEFECT": WELL[0]}, settled=False)
    scene.wait(lambda: scene.value("probe_unknown", service=WELL[0], reason="internal") == 1, 20, "its target is unknown")
    scene.wait(lambda: scene.value("probe_success", service=DEAD) == 0, 20, "the dead one is told down")
    scene.wait(lambda: scene.value("probe_success", service=WELL[1]) == 1, 20, "the others are up")
    scene.wait(lambda: (scene.value("probe_exporter_defects_total", where="probe") or 0) > 3, 20, "defects are counted")
    tracebacks = scene.daemon.log.count("Traceback")
    scene.holds(tracebacks <= 2, f"{tracebacks} tracebacks in the log")
    return f"its target unknown (internal), the others as they are; counted, {tracebacks} traceback in the log"


_AGAIN = "verdicts as they are once it runs, counters from zero"

FAULTS = (
    Fault("frozen", "stopped for a minute (SIGSTOP), then goes on", "nobody told down; right within seconds",
          _frozen, quick=True),
    Fault("starved", "gets the CPU for 0.2 s of every 0.9 s", "nobody told down", _starved),
    Fault("killed", "kill -9, and started again at once", _AGAIN, _killed(1), quick=True),
    Fault("killed-often", "kill -9 five times, a second after each start", _AGAIN, _killed(5)),
    Fault("sigterm", "SIGTERM", "what runs is let end, exit 0", _ends_by(signal.SIGTERM), quick=True),
    Fault("sigint", "SIGINT", "the same", _ends_by(signal.SIGINT)),
    Fault("sigterm-twice", "SIGTERM three times, and SIGINT", "the same", _ends_by(*[signal.SIGTERM] * 3, signal.SIGINT)),
    Fault("sigterm-starting", "SIGTERM at every tenth of a second of its start", "it ends, no traceback",
          _ends_while_it_starts),
    Fault("sigterm-reloading", "SIGTERM while it reloads", "exit 0", _ends_while_it_reloads, quick=True),
    Fault("sigterm-asked", "SIGTERM while somebody waits for a probe on demand", "answered, exit 0", _answered, quick=True),
    Fault("sighup-storm", "500 SIGHUPs in a second or two", "reloads one after the other, verdicts stand",
          _hangups, quick=True),
    Fault("sighup-starting", "SIGHUP again and again while it starts", "it starts, with what was written last",
          _hangup_at_start, quick=True),
    Fault("signals", "2,000 signals that mean nothing", "nothing", _others),
    Fault("process-1", "it is process 1 of its PID namespace, as in a container", "signals as ever",
          _process_one, quick=True),
    Fault("port-taken", "its port is taken", "one line, exit 1", _taken),
    Fault("loop-blocked", "a callback holds the event loop for 3 s, three times", "told as lag, nobody down", _blocked),
    Fault("defect", "a probe raises what it must not", "its target unknown, a defect counted, one traceback a minute",
          _defect,
          quick=True),
)  # fmt: skip
