"""Logins against the published examples, and servers that cheat."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.kafka.sasl import MAX_ITERATIONS, OAuthBearer, Plain, Scram, dialogue
from exporter.verdict import Failure, Reason, Stage


def test_scram_sha_256_speaks_the_example_of_rfc_7677() -> None:
    """Every byte of the exchange is the RFC's."""
    login = Scram("SCRAM-SHA-256", "user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO")
    assert login.step(b"") == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    proof = login.step(f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode())
    assert proof == f"c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode()
    assert login.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") is None


def test_plain_says_user_and_password_once() -> None:
    """The token of RFC 4616, then nothing."""
    login = Plain("anna", "geheim,=ü")
    assert login.step(b"") == "\0anna\0geheim,=ü".encode()
    assert login.step(b"") is None


def test_a_token_is_said_once() -> None:
    """The message of RFC 7628, 4.1, without what is optional; then nothing."""
    login = OAuthBearer("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
    assert login.step(b"") == b"n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
    assert login.step(b"") is None


@pytest.mark.parametrize(
    ("challenge", "says"),
    [
        (b'{"status":"invalid_token","scope":"x"}', ": invalid_token"),
        (b'{"status":"the-token-itself"}', ""),
        (b"\xff" * 100_000, ""),
        (b"the-token-itself", ""),
    ],
)
def test_a_refused_token_is_told_in_words_that_cannot_be_it(challenge: bytes, says: str) -> None:
    """A broker may echo what it was sent."""
    login = OAuthBearer("the-token-itself")
    login.step(b"")
    with pytest.raises(Failure) as raised:
        login.step(challenge)
    found = raised.value
    assert (found.stage, found.reason) == (Stage.AUTH, Reason.AUTH)
    assert found.detail == f"OAUTHBEARER: the broker refuses the token{says}"


def test_the_mechanisms_of_the_settings_are_known() -> None:
    """Each name makes a dialogue that opens."""
    for mechanism in ("PLAIN", "OAUTHBEARER", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        assert dialogue(mechanism, "a,b=c", "p").step(b"")


def test_a_users_name_is_quoted() -> None:
    """Commas and equals signs have a meaning in SCRAM."""
    assert (Scram("SCRAM-SHA-512", "a,b=c", "p", nonce="N").step(b"") or b"").startswith(b"n,,n=a=2Cb=3Dc,r=N")


SALT = "c2FsdHNhbHRzYWx0"


@pytest.mark.parametrize(
    ("challenge", "says"),
    [
        (f"r=other,s={SALT},i=4096".encode(), "not what it must be"),
        (f"r=N,s={SALT},i=4096".encode(), "not what it must be"),
        (f"r=Nx,s={SALT},i={MAX_ITERATIONS + 1}".encode(), "iterations, at most"),
        (f"r=Nx,s={SALT},i=9999999".encode(), "iterations, at most"),
        (f"r=Nx,s={SALT},i={'9' * 5000}".encode(), "a message of"),
        (f"r=Nx,s={SALT},i={'9' * 3000}".encode(), "not what it must be"),
        (f"r=Nx,s={SALT},i=0".encode(), "not what it must be"),
        (f"r=Nx,s={SALT},i=many".encode(), "not what it must be"),
        (b"r=Nx,s=!,i=4096", "not what it must be"),
        (b"r=Nx", "not what it must be"),
        (b"\xff\xfe", "not what it must be"),
        (b"", "not what it must be"),
    ],
)
def test_a_challenge_that_must_not_be_is_refused(challenge: bytes, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign nonce, too much work, or bytes that are no challenge: before anything is computed."""

    def computed(*_: object) -> bytes:
        raise AssertionError("computed")

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", computed)
    login = Scram("SCRAM-SHA-256", "user", "pencil", nonce="N")
    login.step(b"")
    with pytest.raises(Failure, match=says) as caught:
        login.step(challenge)
    assert (caught.value.stage, caught.value.reason) == (Stage.AUTH, Reason.PROTOCOL)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("final", "reason"),
    [(b"v=AAAA", Reason.PROTOCOL), (b"e=invalid-proof", Reason.AUTH), (b"", Reason.PROTOCOL), (b"v=!", Reason.PROTOCOL)],
)
def test_a_server_must_prove_that_it_knows_the_password(final: bytes, reason: Reason) -> None:
    """A wrong signature is a defect of the protocol, a refusal is one of the credentials."""
    login = Scram("SCRAM-SHA-256", "user", "pencil", nonce="N")
    login.step(b"")
    login.step(f"r=Nx,s={SALT},i=4096".encode())
    with pytest.raises(Failure) as caught:
        login.step(final)
    assert caught.value.reason is reason


@given(
    st.lists(st.binary(max_size=40) | st.text(alphabet="rsive=,N0Az/+", max_size=40).map(str.encode), min_size=1, max_size=3)
)
def test_whatever_a_server_says_is_a_failure_of_the_closed_list(challenges: list[bytes]) -> None:
    """No exception of the library gets out."""
    login = Scram("SCRAM-SHA-512", "user", "pencil", nonce="N")
    login.step(b"")
    with pytest.raises(Failure):
        for challenge in [*challenges, b"v=AAAA", b"v=AAAA"]:
            login.step(challenge)


def test_a_name_that_cannot_be_said_is_the_probers_own_fault() -> None:
    """Nobody is paged for the cluster."""
    with pytest.raises(Failure) as caught:
        dialogue("SCRAM-SHA-256", "an\x00na", "p")
    assert caught.value.reason is Reason.CREDENTIALS


def test_a_server_that_goes_on_is_refused() -> None:
    """The exchange has an end."""
    login = Scram("SCRAM-SHA-256", "user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO")
    login.step(b"")
    login.step(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    login.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    with pytest.raises(Failure):
        login.step(b"more")
