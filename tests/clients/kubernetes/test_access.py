"""Ways to a cluster: a pod's service account, and kubeconfigs as kubectl has them."""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import trustme
import yaml
from aiohttp import web

from exporter.clients.kubernetes import access as access_module
from exporter.clients.kubernetes import incluster, kubeconfig
from exporter.clients.kubernetes.access import ClusterAccess, own_namespace
from exporter.clients.kubernetes.answers import ApiFailure
from exporter.clients.kubernetes.api import Api
from exporter.clients.kubernetes.cluster import Clusters
from exporter.clients.kubernetes.incluster import InCluster
from exporter.clients.kubernetes.kubeconfig import Kubeconfig
from exporter.net.files import read_aside
from exporter.net.resolver import Resolver
from exporter.verdict import Failure, Reason


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def account(tmp_path: Path, authority: trustme.CA) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("hafnium")
    return tmp_path


class Server:
    """An API server behind TLS that says who asked."""

    def __init__(self) -> None:
        self.port = 0
        self.accepted: set[str] = {"Bearer first"}
        self.seen: list[tuple[str, bool]] = []

    async def handle(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        certificate = request.transport.get_extra_info("peercert")
        authorization = request.headers.get("Authorization", "")
        self.seen.append((authorization, bool(certificate)))
        if not certificate and authorization not in self.accepted:
            return web.json_response({"kind": "Status", "code": 401, "message": "Unauthorized"}, status=401)
        return web.json_response({"major": "1"})

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@pytest.fixture
async def server(authority: trustme.CA) -> AsyncIterator[Server]:
    found = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


@pytest.fixture
async def resolver() -> AsyncIterator[Resolver]:
    made = Resolver()
    yield made
    await made.close()


async def asked(connection: Any, resolver: Resolver) -> dict[str, Any]:
    api = Api(connection, resolver)
    try:
        return await api.get("/version")
    finally:
        await api.close()


# In a cluster.


def in_cluster(account: Path, server: Server) -> InCluster:
    return InCluster(account, {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)})


async def test_a_pods_service_account_is_the_way_in(account: Path, server: Server, resolver: Resolver) -> None:
    assert await asked(in_cluster(account, server), resolver) == {"major": "1"}
    assert server.seen == [("Bearer first", False)]


async def test_a_rotated_token_is_read_in_time(
    account: Path, server: Server, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incluster, "LOOK_SECONDS", 0.0)
    connection = in_cluster(account, server)
    await asked(connection, resolver)
    (account / "token").write_text("second")
    server.accepted = {"Bearer second"}
    await asked(connection, resolver)
    assert [seen for seen, _ in server.seen] == ["Bearer first", "Bearer second"]


async def test_a_token_that_is_refused_is_read_at_once(account: Path, server: Server, resolver: Resolver) -> None:
    connection = in_cluster(account, server)
    await asked(connection, resolver)
    (account / "token").write_text("second")
    server.accepted = {"Bearer second"}
    await asked(connection, resolver)
    assert [seen for seen, _ in server.seen] == ["Bearer first", "Bearer first", "Bearer second"]


async def test_a_token_that_was_read_stays_in_use_while_its_file_cannot_be_read(
    account: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incluster, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(incluster, "HOLD", 0.0)
    connection = in_cluster(account, server)
    way = await connection.way()
    content = (account / "token").read_text()
    (account / "token").unlink()
    assert await connection.way() is way
    connection.refused(way)
    with pytest.raises(Failure, match="No such file"):
        await connection.way()
    (account / "token").write_text(content)
    assert (await connection.way()).authorization == way.authorization


async def test_a_token_that_hangs_is_waited_for_once_by_all_who_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "token")
    monkeypatch.setattr(incluster, "PATIENCE", 0.3)
    monkeypatch.setattr(incluster, "HOLD", 600.0)
    reads: list[object] = []

    def counted(what: object, read: Any) -> Any:
        reads.append(what)
        return read_aside(what, read)

    monkeypatch.setattr(incluster, "read_aside", counted)
    connection = InCluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "h", "KUBERNETES_SERVICE_PORT": "1"})
    said = await asyncio.gather(*(connection.way() for _ in range(12)), return_exceptions=True)
    assert [str(each) for each in said] == [str(said[0])] * 12
    assert isinstance(said[0], Failure)
    assert len(reads) == 1
    (tmp_path / "token").write_text("for the thread that still waits")


async def test_where_no_process_can_be_started_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    with pytest.raises(Failure) as caught:
        await Kubeconfig(tmp_path / "config", None).way()
    assert caught.value.reason is Reason.CREDENTIALS


async def test_outside_of_a_cluster_that_is_said(resolver: Resolver, tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        await InCluster(tmp_path, {}).way()
    assert caught.value.reason is Reason.CREDENTIALS
    assert "not configured" in caught.value.detail


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff\xfe", b"line\nline"])
async def test_a_token_file_that_holds_none_is_named_and_not_quoted(
    content: bytes | None, account: Path, server: Server
) -> None:
    (account / "token").unlink()
    if content is not None:
        (account / "token").write_bytes(content)
    with pytest.raises(Failure) as caught:
        await in_cluster(account, server).way()
    assert caught.value.reason is Reason.CREDENTIALS
    assert "words" not in caught.value.detail
    assert "line" not in caught.value.detail


async def test_a_server_of_another_authority_is_not_trusted(account: Path, server: Server, resolver: Resolver) -> None:
    trustme.CA().cert_pem.write_to_path(account / "ca.crt")
    with pytest.raises(Failure) as caught:
        await asked(in_cluster(account, server), resolver)
    assert caught.value.reason is Reason.TLS_UNTRUSTED
    assert not server.seen


def test_the_namespace_is_the_pods_own(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.clients.kubernetes.access.SERVICE_ACCOUNT", account)
    assert own_namespace(ClusterAccess()) == "hafnium"
    monkeypatch.setattr("exporter.clients.kubernetes.access.SERVICE_ACCOUNT", account / "missing")
    assert own_namespace(ClusterAccess()) is None


# By a kubeconfig.


def write(path: Path, server: Server, authority: trustme.CA, user: dict[str, Any], **cluster: Any) -> Path:
    ca = base64.b64encode(authority.cert_pem.bytes()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [
            {"name": "c", "cluster": {"server": server.url, "certificate-authority-data": ca, **cluster}},
            {"name": "other", "cluster": {"server": "https://192.0.2.1"}},
        ],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "hafnium"}},
            {"name": "there", "context": {"cluster": "other", "user": "u"}},
        ],
    }
    path.write_text(yaml.safe_dump(document))
    return path


async def test_a_token_in_a_kubeconfig(tmp_path: Path, server: Server, authority: trustme.CA, resolver: Resolver) -> None:
    file = write(tmp_path / "config", server, authority, {"token": "first"})
    assert await asked(Kubeconfig(file, None), resolver) == {"major": "1"}
    assert "kubernetes" not in sys.modules  # what takes 40 MB is imported by another process
    way = await Kubeconfig(file, "there").way()
    assert way.server == "https://192.0.2.1"
    assert "first" not in repr(way)
    assert own_namespace(ClusterAccess(kubeconfig=file)) == "hafnium"
    assert own_namespace(ClusterAccess(kubeconfig=file, context="there")) is None


async def test_a_client_certificate_in_a_kubeconfig(
    tmp_path: Path, server: Server, authority: trustme.CA, resolver: Resolver
) -> None:
    issued = authority.issue_cert("prober")
    certificate = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    user = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(issued.private_key_pem.bytes()).decode(),
    }
    file = write(tmp_path / "config", server, authority, user)
    await asked(Kubeconfig(file, None), resolver)
    assert server.seen == [("", True)]


def plugin(path: Path, expires: float | None, *, extra: str = "") -> dict[str, Any]:
    """Write a credential plugin that gives the token first, then second …, and return the user that has it."""
    stamp = f'"{datetime.fromtimestamp(time.time() + expires, UTC):%Y-%m-%dT%H:%M:%SZ}"' if expires is not None else "null"
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib, sys, time\n"
        f"{extra}\n"
        f"file = pathlib.Path({str(path.with_suffix('.count'))!r})\n"
        "count = int(file.read_text()) + 1 if file.exists() else 0\n"
        "file.write_text(str(count))\n"
        "status = {'token': ['first', 'second', 'third'][count]}\n"
        f"stamp = {stamp if expires is not None else None}\n"
        "if stamp: status['expirationTimestamp'] = stamp\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential', 'status': status}))\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(path), "interactiveMode": "Never"}}


async def test_a_credential_plugin_is_run_again_before_its_token_expires(
    tmp_path: Path, server: Server, authority: trustme.CA, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeconfig, "HOLD", 0.0)
    file = write(tmp_path / "config", server, authority, plugin(tmp_path / "plugin", 3600))
    connection = Kubeconfig(file, None)
    first = await connection.way()
    assert first.authorization == "Bearer first"
    assert await connection.way() is first
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 3590)
    assert (await connection.way()).authorization == "Bearer second"


async def test_a_credential_plugin_is_run_again_when_its_token_is_refused(
    tmp_path: Path, server: Server, authority: trustme.CA, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeconfig, "HOLD", 0.0)
    file = write(tmp_path / "config", server, authority, plugin(tmp_path / "plugin", None))
    server.accepted = {"Bearer second"}
    await asked(Kubeconfig(file, None), resolver)
    assert [seen for seen, _ in server.seen] == ["Bearer first", "Bearer second"]


async def test_credentials_that_were_just_read_and_are_refused_are_told_to_be_at_once(
    tmp_path: Path, server: Server, authority: trustme.CA, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeconfig, "HOLD", 600.0)
    file = write(tmp_path / "config", server, authority, plugin(tmp_path / "plugin", None))
    server.accepted = {"Bearer second"}
    connection = Kubeconfig(file, None)
    for _ in range(2):
        with pytest.raises(ApiFailure) as caught:
            await asked(connection, resolver)
        assert caught.value.status == 401
    assert [seen for seen, _ in server.seen] == ["Bearer first", "Bearer first"]
    monkeypatch.setattr(kubeconfig, "HOLD", 0.0)
    await asked(connection, resolver)


async def test_what_could_not_be_read_is_told_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeconfig, "HOLD", 600.0)
    connection = Kubeconfig(tmp_path / "nowhere", None)
    told = []
    for _ in range(2):
        with pytest.raises(Failure) as caught:
            await connection.way()
        told.append((caught.value.reason, caught.value.detail))
    assert told[0] == told[1]
    assert told[0][0] is Reason.CREDENTIALS


def runs(number: int) -> bool:
    """Say whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_plugin_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, server: Server, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeconfig, "PATIENCE", 12.0)
    pid = tmp_path / "pid"
    extra = f"import os; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(600)"
    file = write(tmp_path / "config", server, authority, plugin(tmp_path / "plugin", None, extra=extra))
    with pytest.raises(Failure) as caught:
        await Kubeconfig(file, None).way()
    assert caught.value.reason is Reason.CREDENTIALS
    assert "no credentials within" in caught.value.detail
    number = int(pid.read_text())
    for _ in range(50):
        if not runs(number):
            return
        await asyncio.sleep(0.1)
    pytest.fail("the plugin goes on")


async def test_a_plugin_that_fails_is_named_and_what_it_says_is_not_repeated(
    tmp_path: Path, server: Server, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    extra = "sys.stderr.write('a secret'); sys.exit(3)"
    file = write(tmp_path / "config", server, authority, plugin(tmp_path / "plugin", None, extra=extra))
    with pytest.raises(Failure) as caught:
        await Kubeconfig(file, None).way()
    assert caught.value.detail.endswith("the credential plugin gave no credentials")
    assert "secret" not in caught.value.detail + caplog.text


async def test_a_kubeconfig_that_changes_is_read_again(
    tmp_path: Path, server: Server, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeconfig, "HOLD", 0.0)
    monkeypatch.setattr(kubeconfig, "LOOK_SECONDS", 0.0)
    (tmp_path / "token").write_text("first")
    file = write(tmp_path / "config", server, authority, {"tokenFile": "token"})
    connection = Kubeconfig(file, None)
    way = await connection.way()
    assert way.authorization == "Bearer first"
    assert await connection.way() is way
    (tmp_path / "token").write_text("rotated")
    assert (await connection.way()).authorization == "Bearer rotated"
    write(file, server, authority, {"token": "written"})
    assert (await connection.way()).authorization == "Bearer written"


async def test_files_that_hang_leave_the_way_as_it_was_and_are_told_where_there_is_none(
    tmp_path: Path, server: Server, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("HOLD", 0.0), ("LOOK_SECONDS", 0.0), ("LOOK_PATIENCE", 0.1)):
        monkeypatch.setattr(kubeconfig, name, seconds)
    stamps, hangs, back = kubeconfig._stamps, Event(), Event()

    def hanging(names: Any) -> Any:
        if hangs.is_set():
            back.wait(20)
        return stamps(names)

    monkeypatch.setattr(kubeconfig, "_stamps", hanging)
    file = write(tmp_path / "config", server, authority, {"token": "first"})
    connection, new = Kubeconfig(file, None), Kubeconfig(file, None)
    way = await connection.way()
    hangs.set()
    assert [await connection.way() for _ in range(3)] == [way] * 3
    with pytest.raises(Failure) as caught:
        await new.way()
    assert (caught.value.reason, caught.value.detail) == (Reason.CREDENTIALS, f"{file}: cannot be read in time")
    hangs.clear()
    back.set()
    assert (await new.way()).authorization == "Bearer first"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "Invalid kube-config file. No configuration found."),
        ("{", "line 1, column 2: is not YAML from here on; mend it, or write the file anew"),
        ("users:\n- name: a\n  user: {token: xK9q\nclusters: []\n", "line 4, column 9: is not YAML from here on"),
        ("users: \x00xK9q", "has a character that YAML does not know; write the file anew"),
        ("- xK9q", "is no kubeconfig"),
        ("xK9q", "is no kubeconfig"),
        (
            "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
            "clusters: [{name: c, cluster: {server: 'https://a', certificate-authority-data: xK9q-}}]\n"
            "users: [{name: u, user: {}}]\n",
            "its certificates cannot be used",
        ),
        (
            "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
            "clusters: [{name: c, cluster: {server: 'https://a', certificate-authority-data: xK9qA}}]\n"
            "users: [{name: u, user: {}}]\n",
            "that ends in -data is not base64",
        ),
        ("apiVersion: v1", "Expected key current-context"),
        ("current-context: here\ncontexts: []\nclusters: []\nusers: []", "Expected object with name here"),
    ],
)
async def test_a_kubeconfig_that_is_none_is_named(content: str | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Failure) as caught:
        await Kubeconfig(file, None).way()
    assert caught.value.reason is Reason.CREDENTIALS
    assert words in caught.value.detail
    assert str(file) in caught.value.detail
    assert "xK9q" not in caught.value.detail


async def test_a_kubeconfig_that_cannot_be_read_for_a_moment_names_the_namespace_of_before(
    tmp_path: Path, server: Server, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_module, "PATIENCE", 0.2)
    file = write(tmp_path / "config", server, authority, {"token": "t"})
    access = ClusterAccess(kubeconfig=file)
    assert await asyncio.to_thread(own_namespace, access) == "hafnium"
    for broken in ("", "{", "contexts: []"):
        file.write_text(broken)
        assert await asyncio.to_thread(own_namespace, access) == "hafnium"
    file.unlink()
    os.mkfifo(file)
    assert await asyncio.to_thread(own_namespace, access) == "hafnium"
    file.write_text("for the thread that still waits")


async def test_equal_accesses_share_a_view(resolver: Resolver, tmp_path: Path) -> None:
    clusters = Clusters(resolver)
    access = ClusterAccess(kubeconfig=tmp_path / "config")
    one = clusters.of(access, "hafnium")
    assert clusters.of(ClusterAccess(kubeconfig=tmp_path / "config"), "hafnium") is one
    other = clusters.of(access, "other")
    assert other is not one
    assert other.api is one.api
    assert clusters.of(ClusterAccess(), "hafnium").api is not one.api
    await clusters.close()


def test_what_speaks_to_an_api_server_is_imported_where_a_probe_is_built() -> None:
    """That is in a thread; imported by the first watch it would hold up the loop for a tenth of a second."""
    script = """
import asyncio, sys
from exporter.clients.kubernetes.cluster import Clusters
from exporter.clients.kubernetes.access import ClusterAccess
from exporter.net.resolver import Resolver

async def main():
    await asyncio.to_thread(Clusters(Resolver()).of, ClusterAccess(), "hafnium")
    before = set(sys.modules)
    from exporter.clients.kubernetes import watch
    print(*(set(sys.modules) - before))

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == []
