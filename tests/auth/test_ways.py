"""Ways in: what is sent, from where it is read, and that it shows nowhere."""

from __future__ import annotations

import os
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from exporter.auth.ways import Authenticator, AuthSettings
from exporter.probing.probe import SharedClients
from exporter.verdict import Failure, Reason, Verdict
from tests.net.servers import answer, serve

URL = "http://127.0.0.1:1/token"
OAUTH2 = {"token_url": URL, "client_id": "prober", "client_secret": "hush"}


def authenticator(shared: SharedClients, **ways: Any) -> Authenticator:
    return Authenticator(AuthSettings(**ways), shared.tokens)


async def authorization(shared: SharedClients, **ways: Any) -> str:
    headers = await authenticator(shared, **ways).headers()
    assert set(headers) == {"Authorization"}
    return headers["Authorization"]


def replace(path: Path, text: str) -> None:
    """Put a file in the place of another, as whatever rotates secrets does."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, "utf-8")
    fresh.rename(path)


async def test_without_credentials_nothing_is_sent(shared: SharedClients) -> None:
    nobody = Authenticator(None, shared.tokens)
    assert await nobody.headers() == {}
    nobody.rejected()
    assert await nobody.headers() == {}


async def test_basic_joins_user_and_password_in_utf_8(shared: SharedClients) -> None:
    sent = await authorization(shared, basic={"username": "Jörg", "password": "pä:ss wörd"})
    assert sent.startswith("Basic ")
    assert b64decode(sent.removeprefix("Basic ")).decode() == "Jörg:pä:ss wörd"


async def test_a_bearer_token_is_sent_as_it_is(shared: SharedClients) -> None:
    assert await authorization(shared, bearer={"token": "abc.def-123~+/=="}) == "Bearer abc.def-123~+/=="


@pytest.mark.parametrize(("way", "key"), [("bearer", "token_file"), ("basic", "password_file")])
async def test_a_rotated_file_is_used_at_once(shared: SharedClients, tmp_path: Path, way: str, key: str) -> None:
    path = tmp_path / "secret"
    path.write_text("first\n")
    user = {"username": "u"} if way == "basic" else {}
    auth = authenticator(shared, **{way: {key: path, **user}})
    first = await auth.headers()
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    replace(path, "other\n")  # of the same length, and with the same times, as a copied volume may have
    os.utime(path, ns=times)
    assert await auth.headers() != first
    replace(path, "first\n")
    assert await auth.headers() == first


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("hunter2", False),
        ("hun/ter2+==", False),
        ("hunter2" * 200, False),
        ("hun\0ter2", False),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.sig", False),
        ("/run/secrets/absent", True),
        ("folder/absent", True),
        ("there", True),
    ],
)
async def test_a_secret_in_its_files_place_is_not_shown(
    shared: SharedClients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, shown: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "there").mkdir()
    with pytest.raises(Failure, match="password_file") as caught:
        await authenticator(shared, basic={"username": "u", "password_file": written}).headers()
    assert caught.value.reason is Reason.CREDENTIALS
    assert (written in caught.value.detail) is shown
    assert ("a secret itself belongs under password" in caught.value.detail) is not shown


@pytest.mark.parametrize(("way", "key"), [("bearer", "token_file"), ("basic", "password_file")])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "empty, or not text"),
        (b"\n\n", "empty, or not text"),
        (b"\xff\xfe", "empty, or not text"),
        (b"line one\nline two", "has characters that a header cannot carry"),
        (b"a\0b", "has characters that a header cannot carry"),
    ],
)
async def test_a_file_that_is_of_no_use_leaves_the_verdict_unknown(
    shared: SharedClients, tmp_path: Path, way: str, key: str, content: bytes | None, why: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    user = {"username": "u"} if way == "basic" else {}
    with pytest.raises(Failure) as caught:
        await authorization(shared, **{way: {key: path, **user}})
    assert str(caught.value) == f"auth: credentials: {key} {path}: {why}"
    assert caught.value.verdict is Verdict.UNKNOWN


async def test_a_token_file_may_have_blanks_around_the_token(shared: SharedClients, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(" token \n")
    assert await authorization(shared, bearer={"token_file": path}) == "Bearer token"


async def test_an_oauth2_token_is_fetched_and_sent(shared: SharedClients) -> None:
    async with serve({"/token": answer('{"access_token":"t1","token_type":"bearer","expires_in":60}')}) as served:
        way = OAUTH2 | {"token_url": f"http://127.0.0.1:{served.port}/token"}
        one, other = (authenticator(shared, oauth2=way) for _ in range(2))
        assert await one.headers() == await other.headers() == {"Authorization": "Bearer t1"}
    assert served.paths() == ["/token"]


async def test_a_token_endpoint_that_is_away_leaves_the_verdict_unknown(shared: SharedClients) -> None:
    with pytest.raises(Failure) as caught:
        await authorization(shared, oauth2=OAUTH2)
    assert caught.value.verdict is Verdict.UNKNOWN
    assert str(caught.value) == "auth: credentials: no token from 127.0.0.1: connect: connect_refused: Connection refused"


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ({}, "give exactly one of basic, bearer and oauth2"),
        ({"bearer": {"token": "t"}, "oauth2": OAUTH2}, "give exactly one of basic, bearer and oauth2"),
        ({"basic": {"username": "u"}}, "username needs password or password_file"),
        ({"basic": {"username": "u", "password": "p", "password_file": "f"}}, "give password or password_file, not both"),
        ({"basic": {"username": "a:b", "password": "p"}}, "username must have neither a colon nor control characters"),
        ({"basic": {"username": "a\n", "password": "p"}}, "username must have neither a colon nor control characters"),
        ({"basic": {"username": "u", "password": "top\nhush"}}, "password must not have control characters"),
        ({"bearer": {}}, "bearer needs token or token_file"),
        ({"bearer": {"token": "t", "token_file": "f"}}, "give token or token_file, not both"),
        ({"bearer": {"token": "hush hush"}}, "token has characters that a header cannot carry"),
        ({"bearer": {"token": "häsh"}}, "token has characters that a header cannot carry"),
        ({"oauth2": {"token_url": URL, "client_id": "c"}}, "client_id needs client_secret or client_secret_file"),
        ({"oauth2": OAUTH2 | {"client_secret_file": "f"}}, "give client_secret or client_secret_file, not both"),
        ({"oauth2": OAUTH2 | {"token_url": "keycloak/token"}}, "expected a URL such as"),
        ({"oauth2": OAUTH2 | {"token_url": "ftp://keycloak/token"}}, "expected a URL such as"),
        ({"oauth2": OAUTH2 | {"token_url": "http://[::1/token"}}, "expected a URL such as"),
        ({"oauth2": OAUTH2 | {"token_url": "http://keycloak:99999/token"}}, "expected a URL such as"),
        ({"oauth2": OAUTH2 | {"token_url": "https://u:hush@keycloak/"}}, "the URL must carry neither credentials nor"),
        ({"oauth2": OAUTH2 | {"scopes": ["two words"]}}, "String should match pattern"),
        ({"oauth2": OAUTH2 | {"client_auth": "jwt"}}, "Input should be 'basic' or 'post'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_without_showing_a_secret(ways: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        AuthSettings(**ways)
    assert not any("hush" in error["msg"] for error in caught.value.errors())


@pytest.mark.parametrize(
    "ways",
    [
        {"basic": {"username": "u", "password": "hush"}},
        {"bearer": {"token": "hush"}},
        {"oauth2": OAUTH2},
    ],
)
async def test_secrets_show_in_no_repr_and_no_dump(shared: SharedClients, ways: dict[str, Any]) -> None:
    settings = AuthSettings(**ways)
    auth = Authenticator(settings, shared.tokens)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump()), repr(auth)):
        assert "hush" not in shown
