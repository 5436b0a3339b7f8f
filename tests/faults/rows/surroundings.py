"""What it runs in: a read-only root, no /proc, odd environments, a log that cannot be written, names that do not resolve."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from exporter.demo.processes import bound
from tests.alerts.nameserver import name_server
from tests.faults.model import Fault
from tests.faults.rows.signals import refused
from tests.faults.scene import IN_NAMESPACE, Scene

__all__ = ["FAULTS"]


def _lives(
    *, wrap: Sequence[str] = (), environment: Mapping[str, str | None] | None = None, seconds: float = 3
) -> Callable[[Scene], str]:
    """Start it in an odd place; what is None is taken out of the environment."""

    def act(scene: Scene) -> str:
        changed = {**scene.daemon.environment, **(environment or {})}
        scene.start(wrap=wrap, environment={name: value for name, value in changed.items() if value is not None})
        scene.watched(seconds)
        scene.holds(scene.daemon.status("/") == 200, "the status page is not answered")
        scene.holds(scene.reload() == 200, "it does not reload")
        scene.settled()
        return "every verdict right, pages answered, reloads"

    return act


def _mounted(mounts: str) -> tuple[str, ...]:
    return (*IN_NAMESPACE, f'{mounts}; exec "$@"', "sh")


def _bare(scene: Scene) -> str:
    scene.start(environment={})
    scene.settled()
    return "every verdict right"


def _relative(scene: Scene) -> str:
    """Name the configuration by a path below a working directory, and take that away."""
    working, kept = scene.folder / "working", Path(__file__).parents[3]
    working.mkdir()
    shutil.copy(scene.daemon.path, working / "own.yml")
    scene.daemon.named, scene.daemon.working = "own.yml", working
    scene.start(environment={**scene.daemon.environment, "PYTHONPATH": str(kept)})
    shutil.rmtree(working)
    scene.holds(scene.reload() == 400, "a reload without its file is not refused")
    scene.settled()
    scene.holds(scene.value("probe_exporter_config_last_reload_successful") == 0, "it is not told")
    return "verdicts stand; the reload is refused, and told"


def _text(scene: Scene) -> str:
    """Names beyond ASCII where Python would write ASCII."""
    name = "größe-日本"
    config = scene.targets.config(links={"runbook": f"https://runbooks.example/{name}"})
    odd = {"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    scene.start(config=config, environment={**scene.daemon.environment, **odd})
    scene.daemon.path.write_text(f"services: {{{name}: {{}}}}", encoding="utf-8")
    scene.holds(scene.reload() == 400, "a name with characters that no name has is not refused")
    scene.holds(scene.daemon.status("/") == 200, "the status page is not answered")
    scene.settled()
    return "page, log and errors with characters beyond ASCII"


# The log.


def _log_full(scene: Scene) -> str:
    full = Path("/dev/full").open("wb")  # noqa: SIM115 - the scene closes it
    scene.stack.callback(full.close)
    scene.start(log_to=full)
    for _ in range(10):
        scene.reload()
    scene.wait(lambda: (scene.value("probe_exporter_log_lines_dropped_total") or 0) > 5, 10, "lost lines are counted")
    scene.settled()
    return f"{scene.value('probe_exporter_log_lines_dropped_total'):.0f} lines lost, and counted"


def _log_disk_full(scene: Scene) -> str:
    """A disk of its own that is full after some lines, and has room again."""
    disk = scene.folder / "disk"
    disk.mkdir()
    mounts = f"mount -t tmpfs -o size=16k tmpfs {disk}; dd if=/dev/zero of={disk}/filler bs=1k count=12 2>/dev/null"
    scene.start(wrap=(*IN_NAMESPACE, f'{mounts}; exec "$@" 2>>{disk}/log', "sh"))
    seen = Path(f"/proc/{scene.daemon.pid}/root{disk}")
    for _ in range(100):
        scene.reload()
    scene.wait(lambda: (scene.value("probe_exporter_log_lines_dropped_total") or 0) > 5, 10, "lost lines are counted")
    lost = scene.value("probe_exporter_log_lines_dropped_total")
    (seen / "filler").unlink()
    size = (seen / "log").stat().st_size
    scene.reload()
    scene.wait(lambda: (seen / "log").stat().st_size > size, 10, "the log goes on once there is room")
    scene.settled()
    return f"{lost:.0f} lines lost and counted; the log went on when there was room"


def _log_unread(scene: Scene) -> str:
    reader, writer = os.pipe()
    scene.stack.callback(os.close, reader)
    scene.start(log_to=writer, options=("--log-level", "debug"))
    os.close(writer)
    worst = 0.0
    scene.daemon.path.write_text("services: [" + "nonsense, " * 400 + "]")
    for _ in range(300):
        scene.reload()
        began = time.monotonic()
        scene.holds(scene.daemon.status("/-/healthy") == 200, "health was not answered")
        worst = max(worst, time.monotonic() - began)
    scene.settled()
    return f"health answered in {worst * 1000:.0f} ms at worst"


def _log_gone(scene: Scene) -> str:
    reader, writer = os.pipe()
    scene.start(log_to=writer)
    os.close(writer)
    os.close(reader)
    for _ in range(5):
        scene.reload()
    scene.wait(lambda: (scene.value("probe_exporter_log_lines_dropped_total") or 0) > 0, 10, "lost lines are counted")
    scene.settled()
    return f"{scene.value('probe_exporter_log_lines_dropped_total'):.0f} lines lost, and counted"


# Names.


def _named(scene: Scene, nameservers: str, break_names: Callable[[], None], seconds: float) -> None:
    """Start it with a service by name, whose name server is as told, then break that; others must not notice."""
    resolv, hosts = scene.folder / "resolv.conf", scene.folder / "hosts"
    resolv.write_text(nameservers)
    hosts.write_text("127.0.0.1 localhost\n")
    mounts = f"mount --bind {resolv} /etc/resolv.conf; mount --bind {hosts} /etc/hosts"
    source = {"dns": "found.example", "port": scene.targets.actuators, "refresh": "1s"}
    found = {"found": {"instances": source, "probes": {"actuator": {}}}}
    scene.start(wrap=_mounted(mounts), config=scene.targets.config(services=found), settled=False)
    scene.wait(scene._is_right, 20, "every verdict of the others is right")
    break_names()
    time.sleep(seconds)
    scene.wait(scene._is_right, 20, "every verdict of the others is right")


def _never_resolved(nameservers: str) -> Callable[[Scene], str]:
    def act(scene: Scene) -> str:
        _named(scene, nameservers, lambda: None, 3)
        unknown = "probe_service_unknown"
        scene.wait(
            lambda: scene.value(unknown, service="found", reason="not_discovered") == 1, 20, "it says that it cannot tell"
        )
        scene.settled()
        return "its service unknown (not_discovered), the others undisturbed"

    return act


def _silent(scene: Scene) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        return _never_resolved(f"nameserver 127.0.0.1:{mute.getsockname()[1]}\noptions timeout:1 attempts:1\n")(scene)


def _dies(scene: Scene) -> str:
    with name_server() as names:
        names.addresses["found.example"] = ["127.0.0.9"]

        def die() -> None:
            scene.wait(lambda: scene.value("probe_success", service="found") == 1, 20, "the service found by name is up")
            names.silent.add("found.example")

        _named(scene, f"nameserver {names.address}\noptions timeout:1 attempts:1\n", die, 0)
        failing = "probe_discovery_success"
        scene.wait(lambda: scene.value(failing, service="found") == 0, 30, "it says that the name cannot be told any more")
        scene.holds(scene.value("probe_success", service="found") == 1, "what is known is not probed any more")
        names.silent.clear()
        scene.wait(lambda: scene.value(failing, service="found") == 1, 30, "it says that the name is told again")
        scene.settled()
    return "what was known went on being probed; told by probe_discovery_success; well again"


# IPv6.


_NO_IPV6 = (sys.executable, str(Path(__file__).parents[1] / "without_ipv6.py"))


def _no_ipv6(scene: Scene) -> str:
    """A target by IPv6 alone cannot be told, one by a name of both families is asked by the other."""
    with name_server() as names:
        names.addresses["both.example"] = ["::1", "127.0.0.9"]
        resolv = scene.folder / "resolv.conf"
        resolv.write_text(f"nameserver {names.address}\noptions timeout:1 attempts:1\n")
        port = scene.targets.actuators
        probes: dict[str, object] = {"probes": {"actuator": {}}}
        services = {
            "six": {"instances": [f"[::1]:{port}"], **probes},
            "both": {"instances": [f"both.example:{port}"], **probes},
        }
        config = scene.targets.config(services=services)
        scene.start(wrap=(*_NO_IPV6, *_mounted(f"mount --bind {resolv} /etc/resolv.conf")), config=config)
        scene.wait(lambda: scene.value("probe_success", service="both") == 1, 20, "the one by a name of both families is up")
        scene.wait(lambda: scene.value("probe_unknown", service="six") == 1, 20, "the one by IPv6 alone is unknown")
        scene.watched(5)
        scene.holds(scene.value("probe_success", service="six") is None, "it is told though it cannot be asked")
        scene.settled()
    return "[::1] unknown; a name of both families up by IPv4; the others right"


def _no_ipv6_to_listen(scene: Scene) -> str:
    scene.daemon.wrap = _NO_IPV6
    return refused(scene, "cannot listen on [::]:", "--listen", "[::]:9")


# Clients.


def _gone_clients(scene: Scene) -> str:
    """Ask for everything, read a little, and reset the connection."""
    scene.start()
    for _ in range(300 if scene.long else 100):
        client = socket.create_connection(("127.0.0.1", scene.daemon.port), 10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.recv(100)
        client.close()
    scene.settled()
    return "nothing seen"


def _idle_clients(scene: Scene) -> str:
    scene.start()
    for _ in range(700):
        scene.stack.enter_context(socket.create_connection(("127.0.0.1", scene.daemon.port), 10))
    scene.watch.forgive()
    scene.watched(5)
    scene.settled()
    return f"scraped meanwhile, longest gap {scene.watch.worst:.1f} s"


def _all_at_once(scene: Scene) -> str:
    scene.start()
    statuses: list[int] = []

    def ask() -> None:
        for path in ("/", "/metrics", "/api/v1/targets", "/probe?service=alpha&probe=actuator", "/-/healthy") * 4:
            statuses.append(scene.daemon.status(path))
            scene.reload()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scene.holds(set(statuses) <= {200, 503}, f"answers: {set(statuses)}")
    scene.settled()
    return f"{statuses.count(200)} of {len(statuses)} answered 200 during 160 reloads"


def _elsewhere(scene: Scene) -> str:
    return refused(scene, "cannot listen on 192.0.2.1:9", "--listen", "192.0.2.1:9")


_ALL = "verdicts, pages, reload as ever"
_READ_ONLY = (
    "mount -o remount,bind,ro /; "
    "for d in $(cut -d' ' -f2 /proc/mounts); do mount -o remount,bind,ro $d 2>/dev/null || true; done"
)
_OTHERS = "the service by that name is unknown, the others undisturbed"
_COUNTED = "lost lines are counted, nothing else is lost"

FAULTS = (
    Fault("root-read-only", "the root is read-only", _ALL, _lives(wrap=_mounted(_READ_ONLY)), quick=True),
    Fault("no-proc", "there is no /proc", _ALL, _lives(wrap=_mounted("mount -t tmpfs tmpfs /proc")), quick=True),
    Fault("no-etc", "/etc is empty", _ALL, _lives(wrap=_mounted("mount -t tmpfs tmpfs /etc"))),
    Fault("no-tmp", "no folder for temporary files takes any, nor does /dev/shm", _ALL,
          _lives(wrap=_mounted("mount -t tmpfs -o ro tmpfs /tmp; mount -t tmpfs -o ro tmpfs /dev/shm"))),
    Fault("nobody", "it runs as nobody", _ALL, _lives(wrap=bound([], as_nobody=True)), quick=True),
    Fault("environment-empty", "there is no variable at all: no HOME, no PATH, no TMPDIR", "verdicts as ever",
          _bare, quick=True),
    Fault("home-odd", "HOME, TMPDIR and the cache are folders that there are not", _ALL,
          _lives(environment={"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"})),
    Fault("directory-gone", "the working directory is removed, with its file of a relative path",
          "verdicts stand, a reload is refused and told", _relative, quick=True),
    Fault("locale-c", "the locale is C, and the configuration has names beyond ASCII", "as ever", _text, quick=True),
    Fault("zone-odd", "the time zone is one that there is not", _ALL, _lives(environment={"TZ": "Nowhere/Never+99:99"})),
    Fault("zone-apia", "the time zone is one that leaves a day out", _ALL, _lives(environment={"TZ": "Pacific/Apia"})),
    Fault("python-optimized", "`PYTHONOPTIMIZE=2`: no asserts, no docstrings", _ALL,
          _lives(environment={"PYTHONOPTIMIZE": "2"}), quick=True),
    Fault("python-development", "`PYTHONDEVMODE=1`, `PYTHONASYNCIODEBUG=1`, warnings are errors", _ALL,
          _lives(environment={"PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "1", "PYTHONWARNINGS": "error"})),
    Fault("python-malloc", "Python's allocator checks itself", _ALL, _lives(environment={"PYTHONMALLOC": "debug"})),
    Fault("log-full", "the log is on a full disk (/dev/full)", _COUNTED, _log_full, quick=True),
    Fault("log-disk-full", "the log's own disk of 16 kB is full, and has room again", f"{_COUNTED}; it goes on",
          _log_disk_full,
          quick=True),
    Fault("log-unread", "the log is a pipe that nobody reads", "health answered within a second", _log_unread, quick=True),
    Fault("log-gone", "the log is a pipe whose reader has gone", _COUNTED, _log_gone, quick=True),
    Fault("log-closed", "standard input, output and error are closed", _ALL,
          _lives(wrap=("sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh")), quick=True),
    Fault("resolver-dead", "no name server listens", _OTHERS, _never_resolved("nameserver 127.0.0.1:1\n"), quick=True),
    Fault("resolver-silent", "the name server never answers", _OTHERS, _silent),
    Fault("resolver-none", "resolv.conf is empty", _OTHERS, _never_resolved("")),
    Fault("resolver-nonsense", "resolv.conf is nonsense",
          _OTHERS, _never_resolved("nameserver nonsense\n\0\xff options x:y\n")),
    Fault("resolver-dies", "the name server stops answering, and answers again",
          "what is known stays in use, and it is told",
          _dies, quick=True),
    Fault("ipv6-none", "the kernel has no IPv6", "what has IPv4 as ever; what has IPv6 alone unknown, not down", _no_ipv6,
          quick=True),
    Fault("ipv6-none-listen", "the kernel has no IPv6, and it is to listen on [::]", "one line, exit 1", _no_ipv6_to_listen),
    Fault("clients-gone", "clients reset the connection in the middle of an answer", "nothing", _gone_clients, quick=True),
    Fault("clients-idle", "700 connections that say nothing", "scraped all the while", _idle_clients),
    Fault("clients-many", "eight clients ask for everything and reload meanwhile", "answered (or 503), verdicts right",
          _all_at_once, quick=True),
    Fault("address-elsewhere", "it is to listen on an address that the machine does not have", "one line, exit 1",
          _elsewhere),
)  # fmt: skip
