"""Secrets planted wherever one may be, and servers that repeat all they are told: no output of the daemon has any."""

from __future__ import annotations

import json
import signal
import socketserver
import struct
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.app.daemon import Daemon

PATHS = ["/", "/metrics", "/api/v1/services", "/api/v1/targets", "/api/v1/incidents", "/openapi.json", "/-/ready"]
SECRETS = {
    kind: f"planted-{kind}-0123456789abcdef"
    for kind in ("basic", "bearer", "header", "redis", "postgres", "kafka", "client", "issued", "file", "misplaced")
}
PLANTED = [*SECRETS.values(), b64encode(f"user:{SECRETS['basic']}".encode()).decode(),
           b64encode(f"client:{SECRETS['client']}".encode()).decode()]  # fmt: skip
FAST = {"interval": "500ms", "timeout": "400ms", "recheck_interval": "200ms"}


class Echo(BaseHTTPRequestHandler):
    """Says that it is down because of all that it was sent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer health."""
        said = " ".join(f"{name}={value}" for name, value in self.headers.items())
        self._answer(503, {"status": "DOWN", "components": {"db": {"status": "DOWN", "details": {"error": said}}}})

    def do_POST(self) -> None:
        """Answer a request for a token: the first with one, the others with what was sent."""
        said = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.path == "/token":
            self._answer(200, {"access_token": SECRETS["issued"], "token_type": "Bearer", "expires_in": 60})
        else:
            self._answer(400, {"error": "invalid_client", "error_description": f"{said} {self.headers}"})

    def _answer(self, status: int, body: Any) -> None:
        written = json.dumps(body).encode()
        self.send_response(status, f"said {self.headers.get('Authorization', '')}")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class RedisEcho(socketserver.StreamRequestHandler):
    """Repeats each command in an error."""

    def handle(self) -> None:
        """Answer."""
        said = self.request.recv(65_536).replace(b"\r\n", b" ")
        self.request.sendall(b"-ERR unknown command, with args beginning with: " + said + b"\r\n")


class PostgresEcho(socketserver.StreamRequestHandler):
    """Asks for an MD5 password, and repeats who asks in an error."""

    def handle(self) -> None:
        """Answer."""
        start = self.request.recv(65_536)
        self.request.sendall(b"R" + struct.pack("!II", 12, 5) + b"salt")
        said = self.request.recv(65_536) + start
        text = b"SFATAL\0C28P01\0Mrefused: " + said.replace(b"\0", b" ") + SECRETS["postgres"].encode() + b"\0\0"
        self.request.sendall(b"E" + struct.pack("!I", len(text) + 4) + text)


@contextmanager
def _serving(handler: Any, *, http: bool = False) -> Iterator[int]:
    kind = ThreadingHTTPServer if http else socketserver.ThreadingTCPServer
    with kind(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _config(folder: Path, http: int, redis: int, postgres: int) -> dict[str, Any]:
    def service(**probe: Any) -> dict[str, Any]:
        return {"instances": [f"127.0.0.1:{http}"], "probes": {"actuator": probe}}

    password = folder / "password"
    password.write_text(SECRETS["file"])
    password.chmod(0o644)
    client = {"client_id": "client", "client_secret": SECRETS["client"]}
    token = f"http://127.0.0.1:{http}/token"
    return {
        "defaults": FAST,
        "services": {
            "basic": service(auth={"basic": {"username": "user", "password": SECRETS["basic"]}}),
            "bearer": service(auth={"bearer": {"token": SECRETS["bearer"]}}),
            "header": service(headers={"X-Api-Key": SECRETS["header"]}),
            "issued": service(auth={"oauth2": {**client, "token_url": token}}),
            "refused": service(auth={"oauth2": {**client, "token_url": f"http://127.0.0.1:{http}/no"}}),
            "posted": service(
                auth={"oauth2": {**client, "client_auth": "post", "token_url": f"http://127.0.0.1:{http}/no"}}
            ),
            "misplaced": service(auth={"basic": {"username": "user", "password_file": SECRETS["misplaced"]}}),
            "file": service(auth={"basic": {"username": "user", "password_file": str(password)}}),
        },
        "dependencies": {
            "redis": {"instances": [f"127.0.0.1:{redis}"], "probes": {"redis": {"password": SECRETS["redis"]}}},
            "postgres": {
                "instances": [f"127.0.0.1:{postgres}"],
                "probes": {"postgres": {"database": "a", "user": "u", "password": SECRETS["postgres"]}},
            },
            "kafka": {
                "instances": [f"127.0.0.1:{redis}"],
                "probes": {"kafka": {"security": {"protocol": "SASL_PLAINTEXT", "user": "u", "password": SECRETS["kafka"]}}},
            },
        },
    }


def _judged(daemon: Daemon, name: str) -> bool:
    """Tell whether a service has a verdict, or a reason for none, that is settled."""
    unknown = any(key == "probe_service_unknown" and ("service", name) in labels for key, labels in daemon.metrics())
    return unknown or daemon.value("probe_service_up", service=name) is not None


def test_no_output_has_a_secret_whatever_servers_repeat(tmp_path: Path) -> None:
    with ExitStack() as stack:
        http = stack.enter_context(_serving(Echo, http=True))
        redis, postgres = (stack.enter_context(_serving(handler)) for handler in (RedisEcho, PostgresEcho))
        config = _config(tmp_path, http, redis, postgres)
        daemon = stack.enter_context(Daemon(tmp_path, config, "--log-level", "debug"))
        daemon.start(ready=False)
        names = [*config["services"], *config["dependencies"]]
        daemon.wait(lambda: all(_judged(daemon, name) for name in names), 30)
        seen = {path: daemon.request(path)[1].decode() for path in PATHS}
        for name in names:
            probe = next(iter((config["services"] | config["dependencies"])[name]["probes"]))
            for path in (f"/services/{name}", f"/api/v1/services/{name}", f"/probe?service={name}&probe={probe}"):
                seen[path] = daemon.request(path)[1].decode()
        daemon.path.write_text(daemon.path.read_text().replace("probes:", "prbes:"))
        seen["reload"] = daemon.request("/-/reload", "POST")[1].decode()
        daemon.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr] # it runs
        seen["page after the reload"] = daemon.request("/")[1].decode()
        assert daemon.stop() == 0
        seen["log"] = daemon.log
    assert "db" in seen["/services/basic"]  # what was repeated is told, without the secret
    found = {(where, secret) for where, text in seen.items() for secret in PLANTED if secret in text}
    assert found == set()
