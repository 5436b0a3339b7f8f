"""The daemon's endpoints as its users and strangers meet them: TLS, its end, a log that nobody reads."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import bcrypt
import trustme
import yaml

from exporter.demo.ports import free_port
from exporter.demo.servers.valkey import ValkeyServer
from tests.app.daemon import Daemon
from tests.waiting import SLACK

FAST = {"interval": "500ms", "timeout": "300ms", "recheck_interval": "200ms"}


def config(port: int, **server: Any) -> dict[str, Any]:
    """One Redis, asked often."""
    cache = {"instances": [f"127.0.0.1:{port}"], "probes": {"redis": {}}}
    return {"defaults": FAST, "dependencies": {"cache": cache}, **({"server": server} if server else {})}


class Secured:
    """A folder with a web configuration: certificates of clients, and a user."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ca = folder, trustme.CA()
        server, client = self.ca.issue_cert("localhost", "127.0.0.1"), self.ca.issue_cert("prometheus")
        self.ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        server.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        client.private_key_and_cert_chain_pem.write_to_path(str(folder / "client.pem"))
        hashed = bcrypt.hashpw(b"word", bcrypt.gensalt(4)).decode()
        self.path = folder / "web.yml"
        tls = {"cert_file": "server.pem", "key_file": "server.pem", "client_auth_type": "RequireAndVerifyClientCert",
               "client_ca_file": "ca.pem", "client_allowed_sans": ["prometheus"]}  # fmt: skip
        self.path.write_text(yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": {"scraper": hashed}}))


def _curl(secured: Secured, port: int, path: str, *options: str) -> str:
    command = ["curl", "-sS", "--max-time", "20", "--cacert", str(secured.folder / "ca.pem"), "-o", "/dev/null",
               "-w", "%{http_code}", *options, f"https://localhost:{port}{path}"]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_curl_and_prometheus_come_in_by_certificate_and_password(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    secured = Secured(tmp_path)
    health = free_port()
    settings = config(own_valkey.port, health_listen=f"127.0.0.1:{health}", roles={"scrape": ["scraper"], "act": []})
    daemon = Daemon(tmp_path, {}, "--web.config.file", str(secured.path))
    settings["server"]["listen"] = f"127.0.0.1:{daemon.port}"
    daemon.path.write_text(yaml.safe_dump(settings))
    with daemon:
        door, daemon.port = daemon.port, health
        daemon.start()
        mine = ("--cert", str(secured.folder / "client.pem"), "-u", "scraper:word")
        assert _curl(secured, door, "/metrics", *mine) == "200"
        assert _curl(secured, door, "/metrics", *mine[:2]) == "401"
        assert _curl(secured, door, "/metrics", *mine[2:]) == "000"
        assert _curl(secured, door, "/probe?service=cache&probe=redis", *mine) == "403"
        assert daemon.status("/metrics") == 404
        _scraped_by_prometheus(secured, door, tmp_path)


def test_connections_that_speak_tls_leave_memory_for_all_else(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    """What is set aside for each counts where a process's data is limited. Without memory nothing is certain any more."""
    secured = Secured(tmp_path)
    tls = {"cert_file": "server.pem", "key_file": "server.pem"}
    secured.path.write_text(yaml.safe_dump({"tls_server_config": tls}))
    health = free_port()
    daemon = Daemon(tmp_path, {}, "--web.config.file", str(secured.path))
    daemon.wrap = ("prlimit", f"--data={200 << 20}")
    daemon.write(config(own_valkey.port, listen=f"127.0.0.1:{daemon.port}", health_listen=f"127.0.0.1:{health}"))
    context = ssl.create_default_context(cafile=str(secured.folder / "ca.pem"))
    with daemon, ExitStack() as stack:
        door, daemon.port = daemon.port, health
        daemon.start()
        for _ in range(450):
            made = stack.enter_context(socket.create_connection(("127.0.0.1", door), 5))
            stack.enter_context(context.wrap_socket(made, server_hostname="localhost"))
        assert daemon.status("/-/healthy") == 200
        assert _curl(secured, door, "/metrics") == "200"
        assert "defect" not in daemon.log


def _scraped_by_prometheus(secured: Secured, port: int, folder: Path) -> None:
    scrape = {
        "job_name": "hafnium-exporter", "scrape_interval": "500ms", "scrape_timeout": "400ms", "scheme": "https",
        "static_configs": [{"targets": [f"localhost:{port}"]}], "basic_auth": {"username": "scraper", "password": "word"},
        "tls_config": {name: str(secured.folder / file) for name, file in
                       (("ca_file", "ca.pem"), ("cert_file", "client.pem"), ("key_file", "client.pem"))},
    }  # fmt: skip
    path, listen = folder / "prometheus.yml", free_port()
    path.write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
    command = ["setpriv", "--pdeathsig", "KILL", "prometheus", f"--config.file={path}",
               f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{listen}"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline, found = time.monotonic() + 30 * SLACK, ""
        while '"value"' not in found and time.monotonic() < deadline:
            asked = f"http://127.0.0.1:{listen}/api/v1/query?query=probe_service_up==1"
            found = subprocess.run(["curl", "-sS", "-g", asked], capture_output=True, text=True, check=False).stdout
            time.sleep(0.2)
        assert '"service":"cache"' in found
    finally:
        process.terminate()
        process.wait()


def test_roles_need_to_know_who_asks(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, config(own_valkey.port))
    daemon.path.write_text(yaml.safe_dump(config(own_valkey.port, roles={"act": ["admin"]})))
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "serve", "--config", str(daemon.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "server.roles: needs --web.config.file with basic_auth_users" in done.stderr


def test_a_web_configuration_that_cannot_be_used_ends_the_start_and_is_checked_beforehand(
    own_valkey: ValkeyServer, tmp_path: Path
) -> None:
    secured = Secured(tmp_path)
    good = subprocess.run(
        [sys.executable, "-m", "exporter", "config", "check-web", str(secured.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (good.returncode, good.stdout) == (
        0, f"{secured.path}: ok: TLS, basic_auth_users, client certificates, client_allowed_sans\n",
    )  # fmt: skip
    (secured.folder / "server.pem").write_text("nonsense")
    daemon = Daemon(tmp_path, config(own_valkey.port))
    for arguments in (["config", "check-web", str(secured.path)],
                      ["serve", "--config", str(daemon.path), "--web.config.file", str(secured.path)]):  # fmt: skip
        done = subprocess.run([sys.executable, "-m", "exporter", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert f"{secured.path}: tls_server_config: cert and key cannot be used" in done.stderr
        assert "nonsense" not in done.stderr


def test_a_rotated_certificate_is_served_and_told_until_it_can_be_read(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    secured = Secured(tmp_path)
    secured.path.write_text("tls_server_config: {cert_file: server.pem, key_file: server.pem}")
    health = free_port()
    daemon = Daemon(tmp_path, {}, "--web.config.file", str(secured.path))
    settings = config(own_valkey.port, health_listen=f"127.0.0.1:{health}")
    settings["server"]["listen"] = f"127.0.0.1:{daemon.port}"
    daemon.path.write_text(yaml.safe_dump(settings))
    with daemon:
        door, daemon.port = daemon.port, health
        daemon.start()
        was = _serial(door)
        (secured.folder / "server.pem").write_text("half")
        daemon.wait(lambda: "stays in use" in daemon.log)
        assert _serial(door) == was
        secured.ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(secured.folder / "server.pem"))
        daemon.wait(lambda: _serial(door) != was)


def _serial(port: int) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as spoken:
        return spoken.getpeercert(binary_form=True) or b""


def test_who_waits_for_a_probe_at_the_end_is_answered(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    slow = {"interval": "60s", "timeout": "2s"}
    with Daemon(tmp_path, {**config(own_valkey.port), "defaults": slow}) as daemon:
        daemon.start()
        own_valkey.pause()
        answers: list[tuple[int, bytes]] = []
        asking = Thread(target=lambda: answers.append(daemon.request("/probe?service=cache&probe=redis")))
        asking.start()
        time.sleep(0.5)
        assert daemon.stop() == 0
        asking.join()
        assert answers[0][0] == 200
        assert b"probe_success" in answers[0][1]


def test_a_log_that_nobody_reads_holds_up_nothing(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    """A pipe of 64 KiB is full after some hundred lines; then a write waits for ever."""
    with Daemon(tmp_path, config(own_valkey.port)) as daemon:
        reader, writer = os.pipe()
        command = [sys.executable, "-m", "exporter", "serve", "--config", str(daemon.path), "--web.enable-lifecycle"]
        daemon.process = subprocess.Popen(command, stdout=writer, stderr=writer)
        os.close(writer)
        daemon.wait(lambda: daemon.status("/-/ready") == 200)
        daemon.path.write_text("services: [" + "x, " * 300)
        for _ in range(600):
            assert daemon.request("/-/reload", "POST")[0] == 400
        began = time.monotonic()
        assert daemon.status("/-/healthy") == 200
        assert time.monotonic() - began < SLACK
        assert daemon.value("probe_service_up", service="cache") == 1
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(10 * SLACK) == 0
        os.close(reader)
