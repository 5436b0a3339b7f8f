"""Connections from their first byte to their last: TLS, certificates that are rotated, clients that do nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import ClientConnectorError, ClientError, ClientSession

from exporter.values import Address
from exporter.web import door, handshakes
from exporter.web.access import Access, follow
from exporter.web.access.follow import FollowedFile, Way, load
from exporter.web.guard import Guard
from exporter.web.limits import ServerLimits
from exporter.web.server import serve
from tests.web.conftest import ANYWHERE
from tests.web.raw import Raw
from tests.web.samples import FakeBackend

SETTLED = 0.05
WAIT = 10.0


class Files:
    """A folder with a web configuration, and the authorities behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.clients = trustme.CA(), trustme.CA()
        self.issue("localhost")
        self.clients.cert_pem.write_to_path(str(folder / "clients.pem"))
        self.path = folder / "web.yml"
        self.write()

    def issue(self, name: str) -> None:
        """Write a new certificate and its key, one after the other, as rotation does."""
        made = self.ca.issue_cert(name, "127.0.0.1")
        (self.folder / "server.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(self.folder / "server.key"))

    def write(self, more: str = "", after: str = "") -> None:
        """Write the configuration."""
        tls = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
        self.path.write_text(tls + more + after)

    def client(self, *names: str, ca: trustme.CA | None = None) -> ssl.SSLContext:
        """Return what a client speaks TLS with; with a certificate, where names are given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the system's own roots would take most of a test's time
        self.ca.configure_trust(context)
        if names:
            (ca or self.clients).issue_cert(*names).configure_cert(context)
        return context


MUTUAL = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n"


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    """A configuration that has clients speak TLS."""
    return Files(tmp_path)  # type: ignore[return-value] # a plain value


@asynccontextmanager
async def serving(
    backend: FakeBackend, files: Files, limits: ServerLimits | None = None, defects: list[str] | None = None
) -> AsyncIterator[tuple[str, FollowedFile]]:
    """Serve by the files; give the address for URLs, and what follows the files."""
    counted = [] if defects is None else defects

    def defect(what: str, error: Exception) -> None:
        counted.append(f"{what}: {type(error).__name__}")

    followed = await asyncio.to_thread(FollowedFile, files.path, lambda _ok: None, defect)
    async with serve(backend, ANYWHERE, limits, Access(way=lambda: followed.way, defect=defect)) as address:
        yield f"https://localhost:{address.port}", followed


async def _status(url: str, context: ssl.SSLContext) -> int:
    async with ClientSession() as client, client.get(f"{url}/-/healthy", ssl=context) as answer:
        return answer.status


async def test_answers_come_over_tls_whole_and_on_kept_connections(backend: FakeBackend, files: Files) -> None:
    backend.exposition = b"x" * 5_000_000
    async with serving(backend, files) as (url, _), ClientSession() as client:
        for _ in range(3):
            async with client.get(f"{url}/metrics", ssl=files.client()) as answer:
                assert len(await answer.read()) == 5_000_000


async def test_a_certificate_that_was_rotated_is_in_use_at_the_next_connection(backend: FakeBackend, files: Files) -> None:
    async with serving(backend, files) as (url, followed):
        before = files.client()
        files.ca = trustme.CA()
        files.issue("localhost")
        assert await _status(url, before) == 200
        await followed.look()
        assert await _status(url, files.client()) == 200
        with pytest.raises(ClientError):
            await _status(url, before)


@pytest.mark.parametrize("change", ["names", "authority", "certificates", "nothing"])
async def test_who_is_let_in_no_more_does_not_stay_in_by_a_kept_connection(
    backend: FakeBackend, files: Files, change: str
) -> None:
    names = "  client_allowed_sans: [{}]\n"
    files.write("" if change == "certificates" else MUTUAL + names.format("one.test, other.test"))
    context = files.client("one.test")
    defects: list[str] = []
    async with serving(backend, files, defects=defects) as (url, followed):
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")

        async def asked() -> bytes:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return head + await reader.readexactly(length)

        assert b" 200 OK" in await asked()
        if change == "authority":
            trustme.CA().cert_pem.write_to_path(str(files.folder / "clients.pem"))
        else:
            files.write(MUTUAL + names.format("one.test, other.test" if change == "nothing" else "other.test"), "# anew\n")
        await followed.look()
        if change == "nothing":
            assert b" 200 OK" in await asked()
        else:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asked()
            with pytest.raises(ClientError):
                await _status(url, context)
        writer.transport.abort()
    assert defects == []


async def test_connections_live_through_a_rotation(backend: FakeBackend, files: Files) -> None:
    context = files.client()
    async with serving(backend, files) as (url, followed), ClientSession() as client:
        await (await client.get(f"{url}/metrics", ssl=context)).read()
        files.ca = trustme.CA()
        files.issue("localhost")
        await followed.look()
        async with client.get(f"{url}/metrics", ssl=context) as answer:
            assert answer.status == 200


async def test_half_a_rotation_leaves_what_was_there_in_use(
    backend: FakeBackend, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(backend, files) as (url, followed):
        key = (files.folder / "server.key").read_bytes()
        for wrong in (b"", trustme.CA().issue_cert("localhost").private_key_pem.bytes(), b"\xff\x00"):
            (files.folder / "server.key").write_bytes(wrong)
            await followed.look()
            assert await _status(url, files.client()) == 200
        (files.folder / "server.key").unlink()
        await followed.look()
        assert await _status(url, files.client()) == 200
        assert "what was read before stays in use" in caplog.text
        (files.folder / "server.key").write_bytes(key)
        await followed.look()
        assert await _status(url, files.client()) == 200


async def test_what_is_replaced_while_it_is_read_is_in_use_at_the_look_after(
    backend: FakeBackend, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(path: Path) -> Way:
        way = load(path)
        monkeypatch.undo()
        files.ca = trustme.CA()
        files.issue("localhost")
        return way

    async with serving(backend, files) as (url, followed):
        files.issue("localhost")
        monkeypatch.setattr(follow, "load", slow)
        await followed.look()
        await followed.look()
        assert await _status(url, files.client()) == 200


async def test_it_goes_on_looking_whatever_a_file_holds(
    backend: FakeBackend, files: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    defects: list[str] = []
    async with serving(backend, files, defects=defects) as (url, followed):
        files.path.write_text('tls_server_config: {cert_file: "a\\0b", key_file: server.key}\n')
        await followed.look()
        assert "cert: it is not a path; what was read before stays in use" in caplog.text

        def defect(_path: Path) -> Way:
            raise RuntimeError

        monkeypatch.setattr(follow, "load", defect)
        for _ in range(3):
            await followed.look()
        assert caplog.text.count("a defect of the exporter (RuntimeError)") == 1
        assert defects == [f"{files.path} could not be read anew: RuntimeError"] * 3, "each is counted"
        monkeypatch.undo()
        files.ca = trustme.CA()
        files.issue("localhost")
        files.write()
        await followed.look()
        assert await _status(url, files.client()) == 200


async def test_a_pipe_in_a_certificates_place_is_not_waited_for(
    backend: FakeBackend, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(backend, files) as (url, followed):
        certificate = files.folder / "server.pem"
        certificate.unlink()
        os.mkfifo(certificate)
        async with asyncio.timeout(WAIT):
            await followed.look()
        assert "not a regular file; what was read before stays in use" in caplog.text
        assert await _status(url, files.client()) == 200
        certificate.unlink()
        files.issue("localhost")
        await followed.look()
        assert await _status(url, files.client()) == 200


async def test_a_connection_that_cannot_be_opened_is_a_defect_that_is_counted(
    backend: FakeBackend, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    defects: list[str] = []
    async with serving(backend, files, defects=defects) as (url, _):
        with monkeypatch.context() as patched:
            patched.setattr(door.Door, "_give_to_loop", fail)
            for _ in range(2):
                with pytest.raises(ClientError):
                    await _status(url, files.client())
        assert await _status(url, files.client()) == 200
    assert defects == ["a connection could not be opened: ZeroDivisionError"] * 2


@pytest.mark.parametrize("text", ["", "tls_server_config: {}\n", "basic_auth_users: {}\n", "a: [", "- a\n"])
async def test_no_file_that_is_written_opens_the_door(backend: FakeBackend, files: Files, text: str) -> None:
    files.write(MUTUAL)
    async with serving(backend, files) as (url, followed):
        for written in (text, files.path.read_text().replace(MUTUAL, "")):
            files.path.write_text(written)
            await followed.look()
            assert followed.way.fences() == {"TLS", "client certificates"}
            with pytest.raises(ClientError):
                await _status(url, files.client())


async def test_only_clients_with_a_certificate_of_the_authority_come_in(backend: FakeBackend, files: Files) -> None:
    files.write(MUTUAL)
    async with serving(backend, files) as (url, _):
        assert await _status(url, files.client("prometheus")) == 200
        for stranger in (files.client(), files.client("prometheus", ca=trustme.CA())):
            with pytest.raises(ClientError):
                await _status(url, stranger)


async def test_only_the_names_that_are_allowed_come_in(backend: FakeBackend, files: Files) -> None:
    files.write(MUTUAL + "  client_allowed_sans: [prometheus, 192.0.2.7, '2001:db8::7']\n")
    async with serving(backend, files) as (url, _):
        for name in ("prometheus", "192.0.2.7", "2001:db8::7"):
            assert await _status(url, files.client("other", name)) == 200
        for name in ("prometheus.example.com", "192.0.2.8"):
            with pytest.raises(ClientError):
                await _status(url, files.client(name))


async def test_a_certificate_is_verified_where_it_is_given_and_may_be_missing(backend: FakeBackend, files: Files) -> None:
    files.write(MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"))
    async with serving(backend, files) as (url, _):
        for context in (files.client(), files.client("anybody")):
            assert await _status(url, context) == 200
        with pytest.raises(ClientError):
            await _status(url, files.client("anybody", ca=trustme.CA()))


def _spoken(port: int, context: ssl.SSLContext) -> tuple[str | None, str]:
    """Return version and cipher suite. Blocking."""
    with (
        socket.create_connection(("127.0.0.1", port), WAIT) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as spoken,
    ):
        cipher = spoken.cipher()
        assert cipher is not None
        return spoken.version(), cipher[0]


@pytest.mark.parametrize(
    ("settings", "offered", "spoken"),
    [
        ("  max_version: TLS12\n", ssl.TLSVersion.MAXIMUM_SUPPORTED, "TLSv1.2"),
        ("", ssl.TLSVersion.MAXIMUM_SUPPORTED, "TLSv1.3"),
        ("  min_version: TLS13\n", ssl.TLSVersion.TLSv1_2, None),
    ],
)
async def test_versions_are_as_the_file_says(
    backend: FakeBackend, files: Files, settings: str, offered: ssl.TLSVersion, spoken: str | None
) -> None:
    files.write(settings)
    context = files.client()
    context.maximum_version = offered
    async with serving(backend, files) as (url, _):
        port = int(url.rpartition(":")[2])
        if spoken is None:
            with pytest.raises(OSError):  # noqa: PT011 - which one depends on who notices first
                await asyncio.to_thread(_spoken, port, context)
        else:
            assert (await asyncio.to_thread(_spoken, port, context))[0] == spoken


async def test_ciphers_and_curve_are_as_the_file_says(backend: FakeBackend, files: Files) -> None:
    suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    files.write(f"  max_version: TLS12\n  cipher_suites: [{suite}]\n  curve_preferences: [CurveP384]\n")
    async with serving(backend, files) as (url, _):
        spoken = await asyncio.to_thread(_spoken, int(url.rpartition(":")[2]), files.client())
        assert spoken == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")


async def test_who_speaks_no_tls_is_sent_away_and_leaves_nothing(
    backend: FakeBackend, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(backend, files) as (url, _):
        address = Address("127.0.0.1", int(url.rpartition(":")[2]))
        for said in ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01", "\x00" * 100_000):
            async with Raw(address) as raw:
                await raw.send(said)
                if len(said) > 10:
                    await raw.read()
        assert await _status(url, files.client()) == 200
    assert [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


async def test_who_never_shakes_hands_is_closed_and_keeps_nobody_out(
    backend: FakeBackend, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More idle connections than handshakes may be under way."""
    monkeypatch.setattr(handshakes, "_AT_ONCE", 4)
    async with serving(backend, files, ServerLimits(connections=50)) as (url, _), AsyncExitStack() as stack:
        address = Address("127.0.0.1", int(url.rpartition(":")[2]))
        for _ in range(60):
            await stack.enter_async_context(Raw(address))
        async with asyncio.timeout(WAIT):
            assert await _status(url, files.client()) == 200


async def test_who_dawdles_in_a_handshake_gives_way(
    backend: FakeBackend, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "FAIR", 0.2)
    monkeypatch.setattr(handshakes, "_AT_ONCE", 4)
    async with serving(backend, files) as (url, _), AsyncExitStack() as stack:
        address = Address("127.0.0.1", int(url.rpartition(":")[2]))
        for _ in range(20):
            raw = await stack.enter_async_context(Raw(address))
            await raw.send("\x16\x03\x01")
        async with asyncio.timeout(WAIT):
            assert await _status(url, files.client()) == 200


async def test_a_handshake_has_a_deadline(backend: FakeBackend, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "HANDSHAKE", 0.3)
    async with serving(backend, files) as (url, _), Raw(Address("127.0.0.1", int(url.rpartition(":")[2]))) as raw:
        async with asyncio.timeout(WAIT):
            assert await raw.read() == b""


async def test_it_ends_at_once_with_handshakes_under_way(backend: FakeBackend, files: Files) -> None:
    async with AsyncExitStack() as stack:
        async with serving(backend, files) as (url, _):
            address = Address("127.0.0.1", int(url.rpartition(":")[2]))
            for _ in range(40):
                await stack.enter_async_context(Raw(address))
            await asyncio.sleep(SETTLED)
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 2
        await asyncio.sleep(SETTLED)
        assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "web: connection"] == []


async def test_inline_certificates_and_keys_are_never_written_to_disk(backend: FakeBackend, files: Files) -> None:
    def indented(name: str) -> str:
        return (files.folder / name).read_text().replace("\n", "\n    ")

    files.path.write_text(
        "tls_server_config:\n"
        f"  cert: |\n    {indented('server.pem')}\n  key: |\n    {indented('server.key')}\n"
        f"  client_auth_type: RequireAndVerifyClientCert\n  client_ca: |\n    {indented('clients.pem')}\n"
    )
    for name in ("server.pem", "server.key", "clients.pem"):
        (files.folder / name).unlink()
    async with serving(backend, files) as (url, _):
        assert await _status(url, files.client("prometheus")) == 200
    assert [path.name for path in files.folder.iterdir()] == ["web.yml"]


async def test_plain_http_to_a_port_without_a_file_works(address: Address) -> None:
    async with ClientSession() as client, client.get(f"http://{address}/-/healthy") as answer:
        assert answer.status == 200
    with pytest.raises(ClientConnectorError):
        await _status(f"https://127.0.0.1:{address.port}", ssl.create_default_context())


@pytest.mark.parametrize("requests", [0, 1, 3], ids=["none", "one", "three"])
@pytest.mark.parametrize("held", [False, True], ids=["at-once", "in-time"])
async def test_who_has_said_all_is_answered_and_then_closed(
    backend: FakeBackend, address: Address, requests: int, held: bool
) -> None:
    """As `nc -N` and shell scripts do. The seat of who asks nothing is free at once, not after the time of an idle one."""
    backend.hold = asyncio.Event() if held else None
    async with Raw(address) as client:
        asked = "GET /probe?service=identity&probe=actuator HTTP/1.1\r\nHost: localhost\r\n\r\n"
        await client.send(asked * requests)
        client.finish()
        if backend.hold is not None and requests:
            while not backend.runs:
                await asyncio.sleep(0.01)
            await asyncio.sleep(2 * door._ENDING)
            backend.hold.set()
        answer = await client.read()
    assert answer.count(b"HTTP/1.1 200 OK") == requests
    assert answer.count(b"probe_success 1\n") == requests


class _Silent(asyncio.Protocol):
    """An HTTP server's side that does nothing."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Do nothing."""


async def test_who_gives_way_before_anything_was_done_for_it_is_closed_all_the_same() -> None:
    doors = door.Doors(Guard(1), _Silent, lambda: None)
    pairs = [socket.socketpair() for _ in range(20)]
    try:
        for ours, _ in pairs:  # as one look at the listening socket may find them
            ours.settimeout(0)
            doors.accept(ours, "192.0.2.1")
        *given_up, (_, last) = pairs
        for _, theirs in given_up:
            theirs.settimeout(0)
            async with asyncio.timeout(WAIT):
                assert await asyncio.get_running_loop().sock_recv(theirs, 1) == b""
        assert (len(doors), len(doors.guard)) == (1, 1)
        last.close()
        async with asyncio.timeout(WAIT):
            while len(doors):
                await asyncio.sleep(0.01)
    finally:
        for _, theirs in pairs:
            theirs.close()
        await doors.close()


@pytest.mark.parametrize("rounds", [0, 1, 2, 3])
async def test_who_gives_way_while_the_event_loop_takes_it_is_forgotten(rounds: int) -> None:
    handlers: list[_Silent] = []

    def handler() -> _Silent:
        handlers.append(_Silent())
        return handlers[-1]

    doors = door.Doors(Guard(1), handler, lambda: None)
    pairs = [socket.socketpair() for _ in range(20)]
    try:
        for ours, _ in pairs:
            ours.settimeout(0)
            doors.accept(ours, "192.0.2.1")
            for _ in range(rounds):
                await asyncio.sleep(0)
        async with asyncio.timeout(WAIT):
            while len(doors) > 1:
                await asyncio.sleep(0.01)
        assert sum(doors.of(each) is not None for each in handlers) <= 1
    finally:
        for _, theirs in pairs:
            theirs.close()
        await doors.close()
