"""Whether somebody who asks for health is answered, and how soon, while others behave badly: this exporter and its peers.

`python -m bench.attacks` prints the table of docs/security.md.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from bench.attackers import ATTACKS
from bench.processes import started, wait_for
from bench.scrape import fleet_of
from exporter.demo.ports import free_port

__all__ = ["ATTACKS", "Under", "measure", "ours"]

SECONDS = 10.0
"""Seconds that each attack goes on for; it begins before the measuring does."""

HEAD_START = 4.0
EVERY = 0.02
AFTER = 35.0
"""Seconds until what is left of the memory is read: free memory is returned twice a minute."""
PATIENCE = 2.0

SERIES = 56_000


@dataclass(frozen=True, slots=True)
class Under:
    """How it went under an attack.

    Attributes:
        program: Whose.
        attack: Which.
        asked: Times that health was asked for, on a new connection each.
        answered: Times that the answer was 200 within two seconds.
        median: Milliseconds to the answer, the median.
        worst: The longest, in milliseconds; two seconds stand for no answer.
        before: MiB of resident memory before the attack.
        peak: The most of it while it went on.
        after: What is left of it 35 s after the end.
    """

    program: str
    attack: str
    asked: int
    answered: int
    median: float
    worst: float
    before: float
    peak: float
    after: float


def measure(
    program: str, pid: int, port: int, path: str, attack: str, seconds: float = SECONDS, *, after: float = AFTER
) -> Under:
    """Attack a server, and ask for its health meanwhile; look at its memory once more so many seconds after the end."""
    before = _resident(pid)
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "bench.attackers", attack, str(port)]
    attackers = subprocess.Popen(  # noqa: S603 - the benchmark's own command
        [*command, str(HEAD_START + seconds)], stdout=subprocess.DEVNULL
    )
    try:
        time.sleep(HEAD_START)
        took, peak = [], before
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            took.append(_ask(port, path))
            peak = max(peak, _resident(pid))
            time.sleep(EVERY)
    finally:
        attackers.terminate()
        attackers.wait()
    time.sleep(after)
    took.sort()
    answered = sum(each < PATIENCE for each in took)
    median, worst = took[len(took) // 2], took[-1]
    return Under(program, attack, len(took), answered, 1000 * median, 1000 * worst, before, peak, _resident(pid))


def _ask(port: int, path: str) -> float:
    """Ask for health on a new connection; return the seconds to a whole 200, or the patience for none."""
    began = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as made:
            made.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            said = b""
            while True:
                made.settimeout(max(0.01, PATIENCE - (time.monotonic() - began)))
                part = made.recv(4096)
                if not part:
                    break
                said += part
    except OSError:
        return PATIENCE
    return time.monotonic() - began if b" 200 " in said.split(b"\r\n", 1)[0] else PATIENCE


def _resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


Program = Callable[[Path], AbstractContextManager[tuple[int, int, str]]]


@contextmanager
def ours(folder: Path) -> Iterator[tuple[int, int, str]]:
    """Run the daemon with 56,000 series."""
    with fleet_of(folder, SERIES) as (pid, port):
        yield pid, port, "/-/healthy"


def _peer(command: list[str], path: str) -> Program:
    @contextmanager
    def run(folder: Path) -> Iterator[tuple[int, int, str]]:
        port = free_port()
        log = folder / f"{Path(command[0]).name}.log"
        (folder / "prometheus.yml").write_text("{}")
        (folder / "alertmanager.yml").write_text("{route: {receiver: a}, receivers: [{name: a}]}")
        (folder / "blackbox.yml").write_text("modules: {http: {prober: http}}")
        filled = [part.format(port=port, folder=folder) for part in command]
        with started(filled, log) as process:
            wait_for(f"http://127.0.0.1:{port}{path}", process, log)
            yield process.pid, port, path

    return run


PROGRAMS: dict[str, Program] = {
    "hafnium-exporter": ours,
    "blackbox_exporter": _peer(
        ["prometheus-blackbox-exporter", "--config.file={folder}/blackbox.yml", "--web.listen-address=127.0.0.1:{port}"],
        "/-/healthy",
    ),
    "Prometheus": _peer(
        ["prometheus", "--config.file={folder}/prometheus.yml", "--storage.tsdb.path={folder}/data",
         "--web.listen-address=127.0.0.1:{port}"],
        "/-/healthy",
    ),
    "Alertmanager": _peer(
        ["prometheus-alertmanager", "--config.file={folder}/alertmanager.yml", "--storage.path={folder}/am",
         "--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
        "/-/healthy",
    ),
}  # fmt: skip


@click.command()
@click.option("--seconds", default=SECONDS, show_default=True, help="Seconds that each attack is measured for.")
@click.option("--program", "programs", type=click.Choice(list(PROGRAMS)), multiple=True, help="Only these.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def main(seconds: float, programs: tuple[str, ...], output: str) -> None:
    """Attack this exporter and its peers, and ask them for health meanwhile."""
    found: list[Under] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in programs or PROGRAMS:
            with PROGRAMS[name](Path(folder)) as (pid, port, path):
                found += [measure(name, pid, port, path, attack, seconds) for attack in ATTACKS]
    if output == "json":
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
        return
    click.echo("| attack | program | asked | answered | median ms | worst ms | MiB before | at most | after |")
    click.echo("|---|---|---|---|---|---|---|---|---|")
    for each in sorted(found, key=lambda under: list(ATTACKS).index(under.attack)):
        click.echo(
            f"| {each.attack} | {each.program} | {each.asked} | {each.answered} | {each.median:.1f} | {each.worst:.0f} | "
            f"{each.before:.0f} | {each.peak:.0f} | {each.after:.0f} |"
        )


if __name__ == "__main__":
    main()
