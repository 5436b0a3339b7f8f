"""Web configuration files: what is taken, what is refused and how it is said, and that it holds for others' files too."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bcrypt
import pytest
import trustme
from pydantic import SecretStr

from exporter.config.errors import ConfigError
from exporter.web.access.file import WebConfig, notes, parse
from exporter.web.access.follow import load
from exporter.web.access.hosts import known_host
from exporter.web.access.users import Busy, Logins

HASH = "$2b$04$3d6GMTS1Q9Z8x5vJ3W1oZ.mIFhSQGXw1p8tjkZcPvhE4jqRkWUGUS"
MARK = "hunter2"
TLS = "tls_server_config: {cert_file: a.pem, key_file: a.key, "


def _problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "web.yml", Path("/etc/web"))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\n\n", "tls_server_config:\n", "---\n# a\n"])
def test_a_file_that_says_nothing_lets_all_in(text: str) -> None:
    assert parse(text, "web.yml", Path()) == WebConfig()


def test_the_sample_of_the_toolkit_can_be_used() -> None:
    config = parse(
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
        "basic_auth_users:\n"
        "  alice: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze\n"
        "  bob: $2y$10$hLqFl9jSjoAAy95Z/zw8Ye8wkdMBM8c5Bn1ptYqP/AXyV0.oy0S8m\n"
        'rate_limit:\n  interval: "1s"\n  burst: 20\n',
        "web.yml",
        Path("/etc/web"),
    )
    assert config.tls_server_config is not None
    assert config.tls_server_config.files == (Path("/etc/web/server.crt"), Path("/etc/web/server.key"))
    assert set(config.basic_auth_users) == {"alice", "bob"}
    assert (config.rate_limit.seconds, config.rate_limit.burst) == (1.0, 20)


def test_every_setting_of_the_format_is_known() -> None:
    config = parse(
        "tls_server_config:\n  cert_file: a\n  key_file: /b\n  client_auth_type: RequireAndVerifyClientCert\n"
        "  client_ca_file: c\n  client_allowed_sans: [x]\n  min_version: TLS12\n  max_version: TLS13\n"
        "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]\n"
        "  prefer_server_cipher_suites: false\n  curve_preferences: [CurveP256, X25519]\n"
        "http_server_config:\n  http2: true\n  headers:\n    Content-Security-Policy: default-src 'self'\n"
        "    X-Frame-Options: deny\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: 1; mode=block\n"
        "    Strict-Transport-Security: max-age=31536000\n"
        "rate_limit: {interval: 0, burst: 0}\n",
        "web.yml",
        Path("/etc"),
    )
    tls = config.tls_server_config
    assert tls is not None
    assert tls.files == (Path("/etc/a"), Path("/b"), Path("/etc/c"))
    assert tls.openssl_ciphers == "ECDHE-RSA-AES128-GCM-SHA256"
    assert len(config.http_server_config.headers.set) == 5
    assert [note.partition(":")[0] for note in notes(config)] == ["curve_preferences", "http2"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "web.yml:1:5: is not YAML"),
        ("- a", "web.yml:1:1: expected a mapping"),
        ("tls_config: {}", "web.yml:1:1: …: unknown key; did you mean 'tls_server_config'?"),
        (TLS + "certfile: x}", "web.yml:1:56: tls_server_config.…: unknown key; did you mean 'cert_file'?"),
        ("tls_server_config: {}", "web.yml:1:1: tls_server_config: cert or cert_file is required"),
        ("tls_server_config: {cert_file: a}", "web.yml:1:1: tls_server_config: key or key_file is required"),
        (TLS + "cert: x}", "web.yml:1:1: tls_server_config: cert and cert_file are both given"),
        (TLS + "min_version: TLS10}", "tls_server_config.min_version: is not served any more; expected TLS12 or TLS13"),
        (TLS + "min_version: TLS13, max_version: TLS12}", "tls_server_config: min_version is above max_version"),
        (TLS + "client_auth_type: RequireAnyClientCert}", "lets in certificates that nobody has verified; expected Require"),
        (TLS + "client_auth_type: RequestClientCert}", "lets in certificates that nobody has verified; expected Require"),
        (TLS + "client_auth_type: VerifyClientCertIfGiven}", "client_auth_type VerifyClientCertIfGiven needs client_ca or"),
        (TLS + "client_ca_file: c}", "client CAs are given, and no client_auth_type that verifies by them"),
        (TLS + "client_allowed_sans: [a]}", "client_allowed_sans needs client_auth_type RequireAndVerifyClientCert"),
        (TLS + "cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}", "cipher_suites.0: is not a cipher suite that is"),
        (TLS + "curve_preferences: [P256]}", "tls_server_config.curve_preferences.0: is not a curve; known: CurveP256,"),
        ("http_server_config: {headers: {X-Frame-Options: maybe}}", "X-Frame-Options: expected '', 'deny' or 'sameorigin'"),
        ("http_server_config: {headers: {Server: x}}", "http_server_config.headers.…: unknown key; known: Content-Security"),
        ('http_server_config: {headers: {X-XSS-Protection: "1\\r\\nSet-Cookie: a"}}', "has a character that headers"),
        ("basic_auth_users: {alice: " + MARK + "}", "basic_auth_users.…: expected a bcrypt hash"),
        ("basic_auth_users: {'a:" + MARK + "': x}", "basic_auth_users.…: expected a"),
        ("basic_auth_users: {alice: $2$10$" + "a" * 53 + "}", "expected a bcrypt hash"),
        ("basic_auth_users: {alice: $2y$19$" + "a" * 53 + "}", "has a cost that is not between 4 and 16"),
        ("basic_auth_users: " + MARK, "basic_auth_users: expected a mapping"),
        ("rate_limit: {interval: 1s}", "rate_limit: burst is required, and at least 1"),
        ("rate_limit: {interval: often, burst: 1}", "rate_limit.interval"),
        ("basic_auth_users: {a: !!python/object:os.system x}", "has a tag"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_place_and_without_its_value(text: str, says: str) -> None:
    found = _problems(text)
    assert any(says in problem for problem in found), found
    assert all(MARK not in problem for problem in found)
    assert all(problem.startswith("web.yml:") for problem in found)


def test_a_certificate_that_cannot_be_used_is_told_without_what_it_holds(tmp_path: Path) -> None:
    made, other = trustme.CA().issue_cert("a"), trustme.CA().issue_cert("b")
    cert, key, path = tmp_path / "a.pem", tmp_path / "a.key", tmp_path / "web.yml"
    path.write_text("tls_server_config: {cert_file: a.pem, key_file: a.key}")
    cases = [
        (None, None, f"cert: {cert} cannot be read: No such file or directory"),
        (b"", b"", "cert and key cannot be used: "),
        (MARK.encode(), MARK.encode(), "cert and key cannot be used: "),
        (made.cert_chain_pems[0].bytes(), other.private_key_pem.bytes(), "cert and key cannot be used: key values mismatch"),
    ]
    for cert_bytes, key_bytes, says in cases:
        if cert_bytes is not None and key_bytes is not None:
            cert.write_bytes(cert_bytes)
            key.write_bytes(key_bytes)
        with pytest.raises(ConfigError, match=re.escape(f"{path}: tls_server_config: {says}")) as caught:
            load(path)
        assert MARK not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "configured", "known"),
    [
        ("192.0.2.1:9818", [], True),
        ("[2001:db8::1]:9818", [], True),
        ("[2001:db8::1", [], False),
        ("localhost:9818", [], True),
        ("exporter", [], True),
        ("exporter.hafnium.svc:9818", [], True),
        ("exporter.hafnium.svc.cluster.local.", [], True),
        ("attacker.example.com:9818", [], False),
        ("1.2.3.4.example.com", [], False),
        ("Exporter.Example.com:443", ["exporter.example.com"], True),
        ("attacker.com", ["exporter.example.com"], False),
        ("exporter", ["exporter.example.com"], False),
        ("a.b.example.com", ["*.example.com"], True),
        ("example.com", ["*.example.com"], False),
        ("localhost", ["*.example.com"], True),
        ("192.0.2.1", ["*.example.com"], True),
        (":9818", [], False),
    ],
)
def test_names_by_which_the_exporter_may_be_asked(host: str, configured: list[str], known: bool) -> None:
    assert known_host(host, configured) is known


@pytest.mark.parametrize(
    ("days", "left", "said"),
    [
        (90, 15.0, None), (90, 13.9, "expires soon, at 20"), (90, -0.1, "has expired"),
        (1, 0.3, None), (1, 0.24, "expires soon, at 20"), (1, -0.1, "has expired"),
    ],
)  # fmt: skip
def test_a_certificate_is_warned_of_by_two_weeks_or_a_quarter_of_its_time(
    tmp_path: Path, days: float, left: float, said: str | None
) -> None:
    """Whichever is less: one that lasts a day is no alarm for all its life."""
    ends = datetime.now(UTC) + timedelta(days=left)
    made = trustme.CA().issue_cert("localhost", not_before=ends - timedelta(days=days), not_after=ends)
    made.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: server.pem, key_file: server.pem}")
    way = load(tmp_path / "web.yml")
    assert way.validity is not None
    assert way.validity.ends == pytest.approx(ends.timestamp(), abs=1)
    assert way.validity.ends - way.validity.begins == pytest.approx(days * 86_400, abs=1)
    expiry = way.expiry()
    assert (said is None) == (expiry is None)
    assert said is None or said in str(expiry)


def _users(**passwords: str) -> dict[str, SecretStr]:
    return {user: SecretStr(bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()) for user, word in passwords.items()}


async def test_a_login_is_right_with_the_password_of_the_user_alone() -> None:
    logins, users = Logins(), _users(alice="a" * 72, bob="b\u00fc")
    cases = [("alice", "a" * 72, True), ("alice", "a" * 100, True), ("bob", "b\u00fc", True), ("alice", "b\u00fc", False),
             ("bob", "", False), ("carol", "a" * 72, False), ("", "", False), ("bob", "b\u00fc\x00", False)]  # fmt: skip
    for _ in range(2):
        for user, password, right in cases:
            assert await logins.right(users, user, password, "192.0.2.1") is right, (user, password)
    logins.close()


async def test_who_is_in_stays_in_while_strangers_guess_and_their_guesses_are_bounded() -> None:
    logins, users = Logins(), _users(alice="right")
    assert await logins.right(users, "alice", "right", "192.0.2.1")
    guesses = [asyncio.create_task(logins.right(users, "alice", f"guess {n}", "192.0.2.66")) for n in range(500)]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(logins.right(users, "alice", "right", "192.0.2.1"), 1)
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert outcomes.count(False) + sum(isinstance(outcome, Busy) for outcome in outcomes) == 500
    assert sum(isinstance(outcome, Busy) for outcome in outcomes) >= 490
    logins.close()


async def test_whoever_has_a_whole_network_of_addresses_guesses_as_one() -> None:
    logins, users = Logins(), _users(alice="right")
    guesses = [asyncio.create_task(logins.right(users, "alice", f"guess {n}", f"2001:db8::{n:x}")) for n in range(64)]
    await asyncio.sleep(0)
    assert await logins.right(users, "alice", "right", "192.0.2.1")
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert sum(isinstance(outcome, Busy) for outcome in outcomes) == 62
    logins.close()


async def test_a_login_is_forgotten_with_its_hash() -> None:
    logins = Logins()
    assert await logins.right(_users(alice="old"), "alice", "old", "c")
    assert not await logins.right(_users(alice="new"), "alice", "old", "c")
    logins.close()


async def test_what_is_remembered_is_bounded_and_holds_no_password() -> None:
    logins, users = Logins(), _users(alice="right")
    for n in range(300):
        await logins.right(users, "alice", f"{MARK} {n}", "c")
    remembered = [*vars(logins)["_wrong"], *vars(logins)["_right"]]
    assert len(remembered) <= 256
    assert all(MARK.encode() not in mark for mark in remembered)
    assert (vars(logins)["_under_way"], vars(vars(logins)["_queue"])["_of_clients"]) == ({}, {})
    logins.close()
