"""TLS contexts: shared while nothing has changed, made anew once a file has, and never lost to a half-written one."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
import time
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from exporter.net import tls
from exporter.net.tls import ClientTls, TlsSettings
from exporter.reading import read_regular


def authority(file: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(file))
    return made


async def looked_again(client: ClientTls) -> ssl.SSLContext:
    """The context for an attempt that comes when files are due to be looked at."""
    await asyncio.sleep(tls.LOOK_SECONDS)
    return await client.context()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    authority(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


@pytest.mark.looptime
async def test_equal_settings_share_a_context_whatever_name_they_ask_for(bundle: Path) -> None:
    one, other, named, trusting = (
        ClientTls(TlsSettings(ca_file=bundle, **more)) for more in ({}, {}, {"server_name": "a.internal"}, {"verify": False})
    )
    context = await one.context()
    assert await other.context() is context
    assert await named.context() is context
    assert (one.server_name, named.server_name) == (None, "a.internal")
    assert (await trusting.context()).verify_mode is ssl.CERT_NONE
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.looptime
async def test_a_context_stays_the_same_until_a_file_says_something_else(bundle: Path) -> None:
    client = ClientTls(TlsSettings(ca_file=bundle))
    first = await client.context()
    assert await looked_again(client) is first
    os.utime(bundle)
    assert await looked_again(client) is first
    authority(bundle)
    second = await looked_again(client)
    assert second is not first
    assert second.get_ca_certs() != first.get_ca_certs()
    assert await looked_again(client) is second


@pytest.mark.looptime
async def test_files_are_found_behind_a_link_that_was_turned(tmp_path: Path) -> None:
    """Kubernetes renews a mounted secret by turning one link."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        authority(tmp_path / name / "ca.pem")
    link = tmp_path / "data"
    link.symlink_to("one")
    client = ClientTls(TlsSettings(ca_file=link / "ca.pem"))
    first = await client.context()
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(link)
    assert (await looked_again(client)).get_ca_certs() != first.get_ca_certs()


@pytest.mark.looptime
async def test_a_half_written_rotation_keeps_what_was_read_warns_once_and_recovers(
    tmp_path: Path, bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, tls.__name__)
    ca = trustme.CA()
    cert, key = tmp_path / "client.pem", tmp_path / "client.key"

    def write(leaf: trustme.LeafCert, *, with_key: bool = True) -> None:
        leaf.cert_chain_pems[0].write_to_path(str(cert))
        if with_key:
            leaf.private_key_pem.write_to_path(str(key))

    write(ca.issue_cert("one.internal"))
    client = ClientTls(TlsSettings(ca_file=bundle, cert_file=cert, key_file=key))
    first = await client.context()
    renewed = ca.issue_cert("two.internal")
    write(renewed, with_key=False)  # of the old key
    for _ in range(3):
        assert await looked_again(client) is first
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(cert) in caplog.text
    key.unlink()  # another complaint
    for _ in range(3):
        assert await looked_again(client) is first
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    write(renewed)
    assert await looked_again(client) is not first
    assert caplog.records[-1].levelname == "INFO"
    assert "PRIVATE KEY" not in caplog.text


@pytest.mark.looptime
async def test_one_look_serves_everybody_who_asks_within_half_a_second(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [ClientTls(TlsSettings(ca_file=bundle, server_name=f"{n}.internal")) for n in range(50)]
    threads = []

    def counted(path: Path) -> bytes:
        threads.append(threading.current_thread())
        return read_regular(path)

    monkeypatch.setattr(tls, "read_regular", counted)
    authority(bundle)
    found = set(await asyncio.gather(*(client.context() for client in clients)))
    assert len(found) == 1  # nobody got the old one while another was reading
    assert len(threads) == 1
    for client in clients:
        await client.context()
    assert len(threads) == 1
    await looked_again(clients[0])
    assert len(threads) == 2
    assert threading.main_thread() not in threads


async def test_a_file_system_that_hangs_costs_patience_and_not_the_attempt(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ClientTls(TlsSettings(ca_file=bundle))
    first = await client.context()
    monkeypatch.setattr(tls, "LOOK_PATIENCE", 0.05)
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.0)
    answered = threading.Event()

    def hanging(path: Path) -> bytes:
        answered.wait(10)
        return read_regular(path)

    monkeypatch.setattr(tls, "read_regular", hanging)
    authority(bundle)
    try:
        assert await client.context() is first
        assert await client.context() is first  # no second thread is spent on it
    finally:
        answered.set()
    deadline = time.monotonic() + 5
    while await client.context() is first:
        assert time.monotonic() < deadline


@pytest.mark.looptime
async def test_a_caller_that_is_cancelled_takes_nothing_from_the_others(bundle: Path) -> None:
    client = ClientTls(TlsSettings(ca_file=bundle))
    first = await client.context()
    await asyncio.sleep(tls.LOOK_SECONDS)
    authority(bundle)
    leaving, staying = (asyncio.create_task(client.context()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying is not first


def test_files_that_cannot_be_used_are_told_where_probes_are_built(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ClientTls(TlsSettings(ca_file=tmp_path / "missing.pem"))
    (tmp_path / "empty.pem").touch()
    with pytest.raises(ssl.SSLError):
        ClientTls(TlsSettings(ca_file=tmp_path / "empty.pem"))


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("prober.internal")
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "key.pem").write_bytes(encrypted)
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    with pytest.raises(ssl.SSLError, match="the key is encrypted"):
        ClientTls(TlsSettings(cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem"))
