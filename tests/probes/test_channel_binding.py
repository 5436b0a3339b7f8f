"""A login bound to the TLS connection that it goes through, against a real server and against who stands between."""

from __future__ import annotations

import asyncio
import os
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from exporter.clients.postgres.binding import ChannelBinding, server_end_point
from exporter.probes.postgres import PostgresSettings
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome
from exporter.verdict import Verdict
from tests.fixtures.servers import DebianPostgres
from tests.probes.doing import Handler, attempt, make, reason, serving, silence
from tests.probes.test_postgres_pgbouncer import Pooler

NAME = "db.internal"
WAYS = get_args(ChannelBinding)

Signed = hashes.SHA256 | hashes.SHA384 | hashes.SHA512


def self_signed(folder: Path, key: Any, algorithm: Signed | None, rsa_padding: padding.PSS | None = None) -> bytes:
    """Write a certificate that vouches for itself, and its key; return the certificate in DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
    )
    made = builder.sign(key, algorithm, rsa_padding=rsa_padding)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    secret = folder / "key.pem"
    secret.touch(mode=0o600)
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made.public_bytes(Encoding.DER)


@cache  # it takes a fifth of a second to make one
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


CERTIFICATES: dict[str, tuple[Any, Signed, padding.PSS | None]] = {
    "ecdsa-sha256": (ec.generate_private_key(ec.SECP256R1()), hashes.SHA256(), None),
    "ecdsa-sha384": (ec.generate_private_key(ec.SECP256R1()), hashes.SHA384(), None),
    "rsa-sha256": (rsa_key(), hashes.SHA256(), None),
    "rsa-sha512": (rsa_key(), hashes.SHA512(), None),
    "rsa-pss-sha256": (rsa_key(), hashes.SHA256(), padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)),
}

HASHLESS = {"ed25519": (ed25519.Ed25519PrivateKey.generate(), None, None)}
"""What a server offers to bind to and cannot: RFC 5929 knows no hash for it."""

VERSIONS = ("TLSv1.2", "TLSv1.3")


class TlsServer(DebianPostgres):
    """A PostgreSQL that speaks TLS, by a certificate that can be changed while it runs."""

    def certify(self, folder: Path) -> None:
        """Speak by another certificate from the next connection on."""
        for name in ("cert.pem", "key.pem"):
            there = self._data / name
            there.write_bytes((folder / name).read_bytes())
            there.chmod(0o600)
            if os.geteuid() == 0:
                owner = self._data.stat()
                os.chown(there, owner.st_uid, owner.st_gid)
        self.sql("SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    certificates = tmp_path_factory.mktemp("certificate")
    self_signed(certificates, *CERTIFICATES["ecdsa-sha256"])
    made = TlsServer(tmp_path_factory.mktemp("tls-postgres"))
    with made:
        made.certify(certificates)
        made.sql("ALTER SYSTEM SET ssl_cert_file = 'cert.pem'", "ALTER SYSTEM SET ssl_key_file = 'key.pem'")
        made.sql("ALTER SYSTEM SET ssl = on")
        made.sql("SELECT pg_reload_conf()")
        for _ in range(100):
            if psql(made, made.port, certificates / "cert.pem", "prefer"):
                break
        yield made


def psql(server: TlsServer, port: int, roots: Path, binding: str) -> bool:
    """Log in as libpq does; tell whether it was let in."""
    login = f"host={NAME} hostaddr=127.0.0.1 port={port} user=hafnium dbname=hafnium sslmode=verify-full"
    done = subprocess.run(
        [server.bin / "psql", "-X", "-c", "SELECT 1", f"{login} sslrootcert={roots} channel_binding={binding}"],
        check=False, capture_output=True, timeout=30, env={**os.environ, "PGPASSWORD": server.password},
    )  # fmt: skip
    return done.returncode == 0


async def tried(server: TlsServer, port: int, roots: Path, shared: SharedClients, **settings: Any) -> Outcome:
    """Log in as the probe does."""
    login = {"user": "hafnium", "password": server.password, "database": "hafnium"}
    tls = {"ca_file": str(roots), "server_name": NAME}
    return await attempt(make("postgres", shared, "127.0.0.1", port, **login, tls=tls, **settings))


def between(server: TlsServer, front: Path, back: Path, *, strips: bool) -> Handler:
    """Stand between with a certificate that is trusted: end TLS, begin it anew, and take the offer away where told."""
    inner = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inner.load_cert_chain(front / "cert.pem", front / "key.pem")
    outer = ssl.create_default_context(cafile=str(back))
    ask = struct.pack("!ii", 8, 80877103)

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if strips and b"SCRAM-SHA-256-PLUS\0" in data:
                body = struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0"
                data = b"R" + struct.pack("!i", len(body) + 4) + body
            writer.write(data)
            await writer.drain()
        writer.close()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(8) == ask
        writer.write(b"S")
        await writer.start_tls(inner)
        behind, to_behind = await asyncio.open_connection(server.host, server.port)
        to_behind.write(ask)
        assert await behind.readexactly(1) == b"S"
        await to_behind.start_tls(outer, server_hostname=NAME)
        await asyncio.gather(pipe(reader, to_behind), pipe(behind, writer), return_exceptions=True)

    return handler


@pytest.mark.parametrize("kind", CERTIFICATES)
async def test_a_login_is_bound_to_the_certificate_by_the_hash_that_it_is_signed_with(
    server: TlsServer, shared: SharedClients, tmp_path: Path, kind: str
) -> None:
    self_signed(tmp_path, *CERTIFICATES[kind])
    roots = tmp_path / "cert.pem"
    server.certify(tmp_path)
    while not await asyncio.to_thread(psql, server, server.port, roots, "require"):
        await asyncio.sleep(0.05)  # the postmaster has not read it yet; pytest ends a test that waits for ever
    for binding in WAYS:
        outcome = await tried(server, server.port, roots, shared, channel_binding=binding)
        assert (binding, outcome.verdict, outcome.failure) == (binding, Verdict.UP, None)


async def spoken(server: TlsServer, folder: Path, version: str) -> Path:
    """Have the server speak one version of TLS alone by another certificate, wait for it, and return that."""
    bounds = [f"ALTER SYSTEM SET ssl_{end}_protocol_version = '{version}'" for end in ("min", "max")]
    for statement in bounds:
        await asyncio.to_thread(server.sql, statement)
    await asyncio.to_thread(server.certify, folder)
    roots = folder / "cert.pem"
    while (await asyncio.to_thread(told_version, server, roots)) != version:
        await asyncio.sleep(0.05)
    return roots


def told_version(server: TlsServer, roots: Path) -> str:
    """Return the version of TLS that the server says a connection of `psql` has; empty where there is none."""
    login = f"host={NAME} hostaddr=127.0.0.1 port={server.port} user=hafnium dbname=hafnium sslmode=verify-full"
    asked = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    return subprocess.run(
        [server.bin / "psql", "-XAt", "-c", asked, f"{login} sslrootcert={roots} channel_binding=disable"],
        check=False, capture_output=True, text=True, timeout=30, env={**os.environ, "PGPASSWORD": server.password},
    ).stdout.strip()  # fmt: skip


@pytest.fixture
def any_version(server: TlsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let the server's versions and certificate be others for a test; its own `psql` would not log in over every one."""
    monkeypatch.setenv("PGCHANNELBINDING", "disable")
    yield
    server.sql("ALTER SYSTEM RESET ssl_min_protocol_version")
    server.sql("ALTER SYSTEM RESET ssl_max_protocol_version")
    self_signed(tmp_path / "usual", *CERTIFICATES["ecdsa-sha256"])
    server.certify(tmp_path / "usual")
    while not psql(server, server.port, tmp_path / "usual" / "cert.pem", "require"):
        time.sleep(0.05)


@pytest.mark.usefixtures("any_version")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [*CERTIFICATES, *HASHLESS])
async def test_by_either_version_of_tls_a_login_is_bound_as_libpq_binds_it(
    server: TlsServer, shared: SharedClients, tmp_path: Path, kind: str, version: str
) -> None:
    """What cannot be bound to is told of the certificate, and not of the password.

    libpq does not even log in over it by `prefer`, as the server offers what neither can do ("could not find digest").
    Whoever only prefers is let in here, and says to the server that it binds nothing.
    """
    self_signed(tmp_path, *{**CERTIFICATES, **HASHLESS}[kind])
    roots = await spoken(server, tmp_path, version)
    outcomes = {way: await tried(server, server.port, roots, shared, channel_binding=way) for way in WAYS}
    theirs = {way: await asyncio.to_thread(psql, server, server.port, roots, way) for way in WAYS}
    if kind in HASHLESS:
        assert theirs == {"prefer": False, "require": False, "disable": True}
        refused = outcomes.pop("require")
        assert (refused.verdict, reason(refused)) == (Verdict.UNKNOWN, ("auth", "not_allowed"))
        assert "nothing of its certificate can be bound to" in str(refused.failure)
    else:
        assert all(theirs.values())
    assert {way: (outcome.verdict, outcome.failure) for way, outcome in outcomes.items()} == dict.fromkeys(
        outcomes, (Verdict.UP, None)
    )


@pytest.mark.parametrize("strips", [False, True], ids=["offer-passed-on", "offer-taken-away"])
async def test_who_stands_between_is_not_let_in_with_our_password(
    server: TlsServer, shared: SharedClients, tmp_path: Path, strips: bool
) -> None:
    """The one in the middle has a certificate that is trusted; libpq comes to the same, way by way."""
    self_signed(tmp_path / "front", *CERTIFICATES["ecdsa-sha256"])
    self_signed(tmp_path / "back", *CERTIFICATES["ecdsa-sha384"])
    server.certify(tmp_path / "back")
    front, back = tmp_path / "front" / "cert.pem", tmp_path / "back" / "cert.pem"
    while not await asyncio.to_thread(psql, server, server.port, back, "require"):
        await asyncio.sleep(0.05)
    seen, theirs = {}, {}
    async with serving(between(server, tmp_path / "front", back, strips=strips)) as port:
        for binding in WAYS:
            outcome = await tried(server, port, front, shared, channel_binding=binding)
            seen[binding] = (outcome.verdict, reason(outcome) if outcome.failure else None)
            theirs[binding] = await asyncio.to_thread(psql, server, port, front, binding)
    assert seen["disable"] == (Verdict.UP, None)
    assert seen["prefer"] == (Verdict.UNKNOWN, ("auth", "auth"))
    assert seen["require"] == (Verdict.UNKNOWN, ("auth", "not_allowed" if strips else "auth"))
    assert theirs == {binding: verdict is Verdict.UP for binding, (verdict, _) in seen.items()}


ASKS = {"none": (0, b""), "password": (3, b""), "md5": (5, b"salt"), "scram-sha-256": (10, b"SCRAM-SHA-256\0\0")}


@pytest.mark.parametrize("method", ASKS)
async def test_nothing_that_is_not_bound_gets_anything_where_binding_is_required(
    shared: SharedClients, tmp_path: Path, method: str
) -> None:
    self_signed(tmp_path, *CERTIFICATES["ecdsa-sha256"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    heard: list[bytes] = []
    code, rest = ASKS[method]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(context)
        await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)
        body = struct.pack("!i", code) + rest
        writer.write(b"R" + struct.pack("!i", len(body) + 4) + body)
        heard.append(await reader.read(1))
        await silence(reader, writer)

    tls = {"ca_file": str(tmp_path / "cert.pem"), "server_name": NAME}
    login = {"user": "u", "database": "d", "password": "hunter2!", "tls": tls, "channel_binding": "require"}
    async with serving(talk) as port:
        outcome = await attempt(make("postgres", shared, "127.0.0.1", port, **login), timeout=20)
        while not heard:
            await asyncio.sleep(0.01)
    assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("auth", "not_allowed"))
    assert "channel_binding is require" in str(outcome.failure)
    assert heard == [b""]


async def test_a_certificate_that_has_no_hash_binds_nothing_and_is_logged_in_over(
    shared: SharedClients, tmp_path: Path
) -> None:
    """A client that cannot bind says so, and not that nothing was offered, which a server would take for an attack."""
    self_signed(tmp_path, ed25519.Ed25519PrivateKey.generate(), None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(context)
        await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)
        body = struct.pack("!i", 10) + b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"
        writer.write(b"R" + struct.pack("!i", len(body) + 4) + body)
        _, length = struct.unpack("!ci", await reader.readexactly(5))
        heard.append(await reader.readexactly(length - 4))
        writer.close()

    tls = {"ca_file": str(tmp_path / "cert.pem"), "server_name": NAME}
    login = {"user": "u", "database": "d", "password": "hunter2!", "tls": tls}
    async with serving(talk) as port:
        await attempt(make("postgres", shared, "127.0.0.1", port, **login), timeout=5)
        required = await attempt(make("postgres", shared, "127.0.0.1", port, **login, channel_binding="require"), timeout=5)
    assert heard[0].startswith(b"SCRAM-SHA-256\0")
    assert heard[0][len(b"SCRAM-SHA-256\0") + 4 :].startswith(b"n,,")
    assert reason(required) == ("auth", "not_allowed")


def test_what_is_bound_to_is_the_hash_of_the_certificate(tmp_path: Path) -> None:
    """By RFC 5929: the signature's hash, whatever the padding; no MD5 and no SHA-1."""

    def digest(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
        made = hashes.Hash(algorithm)
        made.update(data)
        return made.finalize()

    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
    for number, (key, algorithm, how) in enumerate((*CERTIFICATES.values(), (rsa_key(), hashes.SHA384(), pss))):
        certificate = self_signed(tmp_path / str(number), key, algorithm, how)
        assert server_end_point(certificate) == digest(algorithm, certificate)
    weak = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-sha1", "-noenc", "-subj", "/CN=weak", "-keyout", "/dev/null",
         "-outform", "DER"],
        check=True, capture_output=True, timeout=60,
    ).stdout  # fmt: skip
    assert server_end_point(weak) == digest(hashes.SHA256(), weak)
    assert server_end_point(self_signed(tmp_path / "none", ed25519.Ed25519PrivateKey.generate(), None)) is None
    assert server_end_point(b"garbage") is None
    version = weak.index(bytes.fromhex("a003020102")) + 4  # [0] { INTEGER 2 }: version 3
    for odd in (1, 3, 0x80):
        assert server_end_point(weak[:version] + bytes([odd]) + weak[version + 1 :]) is None
    assert server_end_point(None) is None


def test_binding_is_required_only_of_what_is_tls() -> None:
    with pytest.raises(ValidationError, match="channel_binding: require needs tls"):
        PostgresSettings.model_validate({"user": "u", "database": "d", "channel_binding": "require"})


class TlsPooler(Pooler):
    """A pgbouncer that speaks TLS, and so is offered what it has no word for."""

    def prepare(self) -> None:
        """Write its settings and its certificate."""
        super().prepare()
        self_signed(self.directory, *CERTIFICATES["ecdsa-sha256"])
        key = self.directory / "key.pem"
        if os.geteuid() == 0:
            owner = self.directory.stat()
            os.chown(key, owner.st_uid, owner.st_gid)
        with (self.directory / "pgbouncer.ini").open("a") as settings:
            settings.write(
                f"client_tls_sslmode = require\nclient_tls_key_file = {key}\n"
                f"client_tls_cert_file = {self.directory / 'cert.pem'}\n"
            )


async def test_a_pgbouncer_that_offers_no_binding_lets_in_who_does_not_require_it(
    server: TlsServer, shared: SharedClients, tmp_path: Path
) -> None:
    with TlsPooler(tmp_path / "pgbouncer", server, "session") as pooler:
        roots = pooler.directory / "cert.pem"
        seen = {way: (await tried(server, pooler.port, roots, shared, channel_binding=way)).verdict for way in WAYS}
        theirs = {way: await asyncio.to_thread(psql, server, pooler.port, roots, way) for way in WAYS}
    assert seen == {"prefer": Verdict.UP, "require": Verdict.UNKNOWN, "disable": Verdict.UP}
    assert theirs == {way: verdict is Verdict.UP for way, verdict in seen.items()}
