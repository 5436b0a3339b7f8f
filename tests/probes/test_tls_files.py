"""Certificates and keys that are rotated on disk under live probes, and servers that want a certificate: for every kind."""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from exporter.auth.oauth2 import OAuth2Settings
from exporter.net.tls import LOOK_SECONDS, TlsSettings
from exporter.probing.probe import Probe, SharedClients
from exporter.probing.runner import Outcome
from tests.net.servers import handshake_only
from tests.probes.doing import Handler, attempt, make, reason, serving, silence

NAME = "store.internal"
V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Rotation:
    """Two generations of authorities, and the files of a client that are to follow them.

    Attributes:
        tls: Settings for a probe: its authority, its certificate and its key, in three files.
        server: What the server uses: a certificate of one generation; it wants one of the same from the client.
        handshakes: How many there were.
    """

    def __init__(self, folder: Path) -> None:
        self.authorities = [trustme.CA(), trustme.CA()]
        self.ca_file, self.cert_file, self.key_file = (folder / name for name in ("ca.pem", "client.pem", "client.key"))
        self.tls: dict[str, Any] = {"ca_file": self.ca_file, "cert_file": self.cert_file, "key_file": self.key_file}
        self.tls["server_name"] = NAME
        self.handshakes = 0
        self.write(0)
        self.server = self.serving(0)

    def write(self, generation: int, *, key: bool = True) -> None:
        """Write a generation's files; without the key it is half of a rotation."""
        authority = self.authorities[generation]
        leaf = authority.issue_cert("prober.internal")
        authority.cert_pem.write_to_path(str(self.ca_file))
        leaf.cert_chain_pems[0].write_to_path(str(self.cert_file))
        if key:
            leaf.private_key_pem.write_to_path(str(self.key_file))

    def serving(self, generation: int, version: ssl.TLSVersion = V1_2) -> ssl.SSLContext:
        """Make what a server of this generation uses."""
        authority = self.authorities[generation]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = version
        authority.issue_cert(NAME).configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def rotation(tmp_path: Path) -> Rotation:
    return Rotation(tmp_path)


async def redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"PING\r\n")
    writer.write(b"+PONG\r\n")
    await silence(reader, writer)


async def postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)
    version = b"server_version\x0018.0\0"
    let_in = b"R" + struct.pack("!ii", 8, 0) + b"S" + struct.pack("!i", 4 + len(version)) + version
    writer.write(let_in + b"Z\0\0\0\x05I")
    while await reader.read(1000):
        writer.write(b"Z\0\0\0\x05I")


async def oidc(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, and close: discovery, keys, or a token."""
    key = {"kid": "k1", "kty": "RSA", "n": "AQAB", "e": "AQAB"}
    root = "https://id.example"
    answers = {
        "/.well-known/openid-configuration": {"issuer": root, "jwks_uri": f"{root}/keys", "token_endpoint": f"{root}/token"},
        "/keys": {"keys": [key]},
        "/token": {"access_token": "t", "token_type": "Bearer", "expires_in": 1},
    }
    path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
    body = json.dumps(answers[path]).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()


TALKS: dict[str, Handler] = {
    "tls": silence,
    "redis": redis,
    "postgres": postgres,
    "oidc": oidc,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "redis": {},
    "postgres": {"user": "u", "database": "d", "flyway_table": None},
    "oidc": {"issuer_path": "/"},
}
KINDS = list(TALKS)


@asynccontextmanager
async def store(kind: str, rotation: Rotation, talk: Handler | None = None) -> AsyncIterator[int]:
    """Serve what a kind of probe asks, over TLS by what `rotation.server` is at the time; return the port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if kind == "postgres":
            await reader.readexactly(8)
            writer.write(b"S")
        rotation.handshakes += 1
        await writer.start_tls(rotation.server)
        await (talk or TALKS[kind])(reader, writer)

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except OSError:
            writer.transport.abort()

    async with serving(quietly) as port:
        yield port
        await asyncio.sleep(0.05)


def probe_of(kind: str, shared: SharedClients, port: int, tls: dict[str, Any]) -> Probe[Any]:
    settings = tls if kind == "tls" else {**SETTINGS[kind], "tls": tls}
    return make(kind, shared, "127.0.0.1", port, **settings)


def told(outcome: Outcome) -> str:
    return outcome.failure.reason.value if outcome.failure is not None else outcome.verdict.value


async def due(probe: Probe[Any]) -> Outcome:
    """Make an attempt once files are due to be looked at, which any interval makes sure of."""
    await asyncio.sleep(LOOK_SECONDS)
    return await attempt(probe)


@pytest.mark.parametrize("kind", KINDS)
async def test_rotated_files_are_in_use_at_the_next_attempt(kind: str, rotation: Rotation, shared: SharedClients) -> None:
    async with store(kind, rotation) as port:
        probe = probe_of(kind, shared, port, rotation.tls)
        assert told(await attempt(probe)) == "up"
        rotation.write(1, key=False)
        assert told(await due(probe)) == "up"  # by what was read before, which the server still takes
        rotation.server = rotation.serving(1)
        assert told(await due(probe)) == "tls_untrusted"
        rotation.write(1)
        assert told(await due(probe)) == "up"
        rotation.ca_file.unlink()
        assert told(await due(probe)) == "up"
        await probe.close()


@pytest.mark.parametrize("kind", ["tls", "redis", "postgres"])
async def test_a_certificate_that_is_missing_or_refused_is_the_probers_own_also_where_the_server_hangs_up(
    kind: str, rotation: Rotation, shared: SharedClients, tmp_path: Path
) -> None:
    """asyncio's server sends no alert. Under TLS 1.3 nothing of it could be seen, and the connection is simply closed."""
    rotation.authorities[1].issue_cert("prober").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "other.pem"))
    missing = {"ca_file": rotation.ca_file, "server_name": NAME}
    async with store(kind, rotation) as port:
        for tls in (missing, {**missing, "cert_file": tmp_path / "other.pem"}):
            assert reason(await attempt(probe_of(kind, shared, port, tls))) == ("tls", "auth")


@pytest.mark.parametrize("kind", ["tls", "redis", "oidc"])
@pytest.mark.parametrize("version", [V1_2, V1_3])
async def test_an_alert_about_the_certificate_that_is_missing_is_the_probers_own(
    kind: str, version: ssl.TLSVersion, rotation: Rotation, shared: SharedClients
) -> None:
    with handshake_only(rotation.serving(0, version)) as port:
        outcome = await attempt(probe_of(kind, shared, port, {"ca_file": rotation.ca_file, "server_name": NAME}))
    if kind == "tls" and version is V1_3:
        assert told(outcome) == "up"
    else:
        assert reason(outcome) == ("tls", "auth")


async def test_tokens_are_fetched_by_the_files_as_they_are(rotation: Rotation, shared: SharedClients) -> None:
    async with store("oidc", rotation) as port:
        settings = OAuth2Settings(
            token_url=f"https://127.0.0.1:{port}/token",
            client_id="c",
            client_secret=SecretStr("s"),
            tls=TlsSettings(**rotation.tls),
        )
        source = shared.tokens.source(settings)
        assert await source.token(2) == "t"
        rotation.write(1)
        rotation.server = rotation.serving(1)
        async with asyncio.timeout(10):
            while rotation.handshakes < 2:  # the first token lasts a second
                await asyncio.sleep(0.1)
                assert await source.token(2) == "t"


async def test_a_kept_connection_is_not_used_any_more_once_the_certificate_is_another(
    rotation: Rotation, shared: SharedClients
) -> None:
    async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async with store("kept", rotation, kept) as port:
        probe = probe_of("oidc", shared, port, rotation.tls)
        for _ in range(3):
            assert told(await attempt(probe)) == "http_status"
        assert rotation.handshakes == 1
        rotation.write(0)
        for _ in range(3):
            assert told(await due(probe)) == "http_status"
        assert rotation.handshakes == 2
