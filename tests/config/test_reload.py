"""A reload of a file that is no configuration: the old one stays, and the answer has a place and a reason, and no secret."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.app.daemon import Daemon

RUNS = {"services": {"orders": {"instances": ["127.0.0.1:1"], "probes": {"tls": {"interval": "1s", "timeout": "1s"}}}}}
BAD = {
    "a: &c\nservices: {<<: *c}": "2:12",
    "a: &c hunter2\nservices: {<<: *c}": "2:12",
    "services: !!int ''": "1:11",
    "services: !!bool hunter2": "1:11",
    "services: !!timestamp hunter2": "1:11",
    "limits: {max_in_flight: 1" + ":59" * 20_000 + "}": "1:10",
    "services: {a: {instances: {dns: '" + "ü" * 63 + ".x', port: 1}, probes: {tls: }}}": "1:28",
    "services: {a: {instances: [a:1], probes: {redis: hunter2}}}": "1:43",
    "services: {a: {instances: ['hunter2:hunter2@a:1'], probes: {redis: }}}": "1:28",
    "services: {a: {instances: [a:1], probes: {actuator: {auth: {bearer: hunter2}}}}}": "1:61",
    "services: {a: {instances: [a:1], probes: {actuator: {auth: {basic: 'hunter2:hunter2'}}}}}": "1:61",
    "services: *hunter2": "1:11",
    "services: {a: {instances: [a:1], labels: {area: emea}, probes: {tls: }}}": "1:43",
    "hunter2\0": "1:8",
}


def test_the_old_configuration_stays_whatever_the_file_holds(tmp_path: Path) -> None:
    with Daemon(tmp_path, RUNS) as daemon:
        daemon.start()
        for text, place in BAD.items():
            daemon.path.write_text(text)
            status, body = daemon.request("/-/reload", "POST")
            assert status == 400, text[:80]
            assert f"{daemon.path}:{place}: ".encode() in body, body
            assert b"hunter2" not in body
            assert b"hunter2" not in daemon.request("/api/v1/services")[1] + daemon.request("/")[1]
        told = len(daemon.log)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait(lambda: "reload failed" in daemon.log[told:])
        daemon.path.unlink()
        os.mkfifo(daemon.path)
        assert daemon.request("/-/reload", "POST")[0] == 400
        assert daemon.value("probe_interval_seconds", service="orders") == 1
        assert daemon.value("probe_exporter_config_last_reload_successful") == 0
        daemon.path.unlink()
        daemon.write(RUNS)
        assert daemon.request("/-/reload", "POST")[0] == 200
        assert daemon.stop() == 0
    assert "hunter2" not in daemon.log
    assert "Traceback" not in daemon.log
