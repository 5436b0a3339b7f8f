"""Faults of the exporter itself that it lives through: rows of the matrix that no target has a part in."""

from __future__ import annotations

import os
import resource
import signal
from datetime import UTC, datetime, timedelta

import trustme
import yaml

from tests.e2e.row import Owed, Row, Step
from tests.e2e.scene import act, mark, paged, resolved, stay
from tests.e2e.stack import Stack
from tests.fixtures.clocks import RIGHT, Clock

__all__ = ["EXPORTER"]

_AHEAD = "+300"
_REMEMBERED = 900.0
"""Seconds for which the rules look back: so much later all is well again."""


async def _give_clock(stack: Stack) -> None:
    """Start the exporter anew with a clock that can be set."""
    exporter = stack.fleet.exporter

    def restart() -> None:
        exporter.surroundings = Clock(exporter.directory).variables
        exporter.stop()
        exporter.start()

    await stack.fleet.in_thread(restart)


def _sets(at: str) -> Step:
    return act(lambda stack: Clock(stack.fleet.exporter.directory, at))


def _limit_log(stack: Stack, soft: int | None) -> None:
    """Let the exporter's files grow to so many bytes: its log is its only one, and is longer already."""
    child = stack.fleet.exporter.child
    assert child is not None
    assert child.pid is not None
    _, hard = resource.prlimit(child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (hard if soft is None else soft, hard))


async def _reload(stack: Stack) -> None:
    """Have it log something."""
    async with stack.session.post(f"http://{stack.fleet.exporter.address}/-/reload") as answer:
        answer.raise_for_status()


_AUTHORITY = trustme.CA()


def _certify(stack: Stack, days: float) -> None:
    """Put a certificate beside the exporter's web configuration that is valid for so many days more; a new one is seen."""
    now, folder = datetime.now(UTC), stack.fleet.exporter.directory
    made = _AUTHORITY.issue_cert("127.0.0.1", not_before=now - timedelta(days=80), not_after=now + timedelta(days=days))
    made.private_key_pem.write_to_path(folder / "web.key")
    made.cert_chain_pems[0].write_to_path(folder / "web.pem")


def _serve_tls(stack: Stack) -> None:
    """Have the exporter serve TLS, by a certificate that is due in three days, and Prometheus scrape over it."""
    _certify(stack, 3)
    exporter, prometheus = stack.fleet.exporter, stack.prometheus
    _AUTHORITY.cert_pem.write_to_path(prometheus.directory / "authority.pem")
    exporter.web_config_path.write_text("tls_server_config: {cert_file: web.pem, key_file: web.key}\n")
    file = prometheus.directory / "prometheus.yml"
    config = yaml.safe_load(file.read_text())
    config["scrape_configs"][0] |= {"scheme": "https", "tls_config": {"ca_file": "authority.pem"}}
    file.write_text(yaml.safe_dump(config))
    assert prometheus.child is not None
    assert prometheus.child.pid is not None
    os.kill(prometheus.child.pid, signal.SIGHUP)


def _restarts(times: int) -> list[Step]:
    again = (act(lambda stack: stack.fleet.exporter.kill()), act(lambda stack: stack.fleet.exporter.start()), stay(45))
    return [step for _ in range(times) for step in again]


def _row(name: str, fault: str, story: list[Step], alert: str, title: str, since: str, patience: float) -> Row:
    within = 450 if alert == "ExporterCertificateExpiring" else 330  # its rule waits for 5 min
    owed = Owed(alert, "hafnium-exporter", title, "", within, low=True, since=since)
    return Row(name, fault, story, [owed], patience=patience, spoils=True)


EXPORTER = (
    _row(
        "exporter-restarting",
        "exporter killed and started again, three times within three minutes",
        [*_restarts(2), mark("third"), *_restarts(1), paged(), stay(60), resolved(), stay(30)],
        "ExporterRestarting",
        "starts again and again",
        "third",
        _REMEMBERED + 600,
    ),
    _row(
        "exporter-clock",
        "the exporter's clock is five minutes ahead, and right again",
        [act(_give_clock), stay(60), mark("wrong"), _sets(_AHEAD), paged(), stay(60), _sets(RIGHT), resolved(), stay(30)],
        "ExporterClockWrong",
        "clock",
        "wrong",
        900,
    ),
    _row(
        "exporter-log-full",
        "the exporter's log cannot be written for a minute",
        [
            mark("full"),
            act(lambda stack: _limit_log(stack, 1)),
            *([act(_reload), stay(20)] * 3),
            act(lambda stack: _limit_log(stack, None)),
            paged(),
            stay(60),
            resolved(),
            stay(30),
        ],
        "ExporterLogLost",
        "cannot write its log",
        "full",
        _REMEMBERED + 600,
    ),
    _row(
        "exporter-certificate",
        "the exporter serves TLS by a certificate that ends in 3 days, and is given another",
        [
            mark("due"),
            act(_serve_tls),
            paged(),
            stay(60),
            act(lambda stack: _certify(stack, 90)),
            resolved(),
            stay(30),
        ],
        "ExporterCertificateExpiring",
        "certificate expires in 2d 23h",
        "due",
        900,
    ),
)
