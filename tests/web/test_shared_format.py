"""One web configuration file, two exporters: what keeps a client out of blackbox_exporter keeps it out of this one."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import bcrypt
import pytest
import trustme
import yaml

from bench.processes import started
from exporter.demo.ports import free_ports
from tests.waiting import SLACK

MUTUAL = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n"
TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.pem\n"
USERS = "basic_auth_users:\n  alice: {alice}\n  bob: {bob}\n"
FILES = {
    "nothing": "",
    "users": USERS,
    "tls": TLS,
    "tls 1.3 alone": TLS + "  min_version: TLS13\n",
    "tls 1.2 and one suite": TLS + "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n",
    "tls and users": TLS + USERS,
    "certificates": TLS + MUTUAL,
    "certificates if given": TLS + MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"),
    "certificates and users": TLS + MUTUAL + USERS,
    "headers": TLS
    + "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Strict-Transport-Security: max-age=9\n",
}
CLIENTS: dict[str, tuple[str, ...]] = {
    "anybody": (),
    "alice": ("-u", "alice:alice"),
    "bob with another password": ("-u", "bob:alice"),
    "a stranger": ("-u", "carol:carol"),
    "a certificate": ("--cert", "client.pem"),
    "a certificate and alice": ("--cert", "client.pem", "-u", "alice:alice"),
    "another authority's certificate": ("--cert", "other.pem"),
    "TLS 1.2": ("--tls-max", "1.2"),
    "TLS 1.2 and another suite": ("--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates, and a configuration of each exporter."""
    path = tmp_path_factory.mktemp("web")
    ca, clients, other = trustme.CA(), trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(str(path / "ca.pem"))
    clients.cert_pem.write_to_path(str(path / "clients.pem"))
    for name, made in (
        ("server", ca.issue_cert("localhost")),
        ("client", clients.issue_cert("a")),
        ("other", other.issue_cert("a")),
    ):
        made.private_key_and_cert_chain_pem.write_to_path(str(path / f"{name}.pem"))
    (path / "blackbox.yml").write_text("modules: {http: {prober: http}}")
    return path


@contextmanager
def _both(folder: Path, text: str) -> Iterator[tuple[int, int]]:
    """Run both by a web configuration; give their ports."""
    hashes = {user: bcrypt.hashpw(user.encode(), bcrypt.gensalt(4)).decode() for user in ("alice", "bob")}
    web = folder / "web.yml"
    web.write_text(text.format(**hashes))
    ours, theirs, nobody = free_ports(3)
    services = {"a": {"instances": [f"127.0.0.1:{nobody}"], "probes": {"redis": {"interval": "1h"}}}}
    (folder / "exporter.yml").write_text(yaml.safe_dump({"server": {"listen": f"127.0.0.1:{ours}"}, "services": services}))
    commands = (
        [sys.executable, "-m", "exporter", "serve", "--config", str(folder / "exporter.yml"), "--web.config.file", str(web)],
        ["prometheus-blackbox-exporter", f"--config.file={folder / 'blackbox.yml'}", f"--web.config.file={web}",
         f"--web.listen-address=127.0.0.1:{theirs}"],
    )  # fmt: skip
    with ExitStack() as stack:
        for name, command in zip(("ours", "theirs"), commands, strict=True):
            stack.enter_context(started(command, folder / f"{name}.log"))
        _wait(ours)
        _wait(theirs)
        yield ours, theirs


def _wait(port: int) -> None:
    deadline = time.monotonic() + 30 * SLACK
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            assert time.monotonic() < deadline, port
            time.sleep(0.05)


def _asked(folder: Path, port: int, scheme: str, options: tuple[str, ...]) -> str:
    """Return the status, or 000 where there was no answer, and the headers that a file may ask for."""
    command = ["curl", "-sS", "--max-time", "20", "--cacert", "ca.pem", "-o", "/dev/null", "-w",
               "%{http_code} %header{x-frame-options} %header{strict-transport-security}", *options,
               f"{scheme}://localhost:{port}/metrics"]  # fmt: skip
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("file", FILES)
def test_both_let_the_same_clients_in(folder: Path, file: str) -> None:
    with _both(folder, FILES[file]) as (ours, theirs):
        for scheme in ("https", "http"):
            answers = {
                client: (_asked(folder, ours, scheme, options), _asked(folder, theirs, scheme, options))
                for client, options in CLIENTS.items()
            }
            different = {client: pair for client, pair in answers.items() if pair[0][:3] != pair[1][:3]}
            if scheme == "http" and "tls" in FILES[file]:
                assert all(pair[0].startswith("000") for pair in answers.values())  # Go says 400 in plain text
            else:
                assert different == {}
                assert any(pair[0].startswith("200") for pair in answers.values()) or scheme == "https"
            if file == "headers" and scheme == "https":
                assert set(answers["anybody"]) == {"200 deny max-age=9"}
