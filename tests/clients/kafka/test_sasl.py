"""Logins against the published examples, and servers that cheat."""

from __future__ import annotations

import pytest

from exporter.clients.kafka.sasl import MAX_ITERATIONS, Plain, Scram, dialogue
from exporter.verdict import Failure, Reason, Stage


def test_scram_sha_256_speaks_the_example_of_rfc_7677() -> None:
    """Every byte of the exchange is the RFC's."""
    login = Scram("sha256", "user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO")
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


def test_the_mechanisms_of_the_settings_are_known() -> None:
    """Each name makes a dialogue that opens."""
    for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        assert dialogue(mechanism, "a,b=c", "p").step(b"")


def test_a_users_name_is_quoted() -> None:
    """Commas and equals signs have a meaning in SCRAM."""
    assert (Scram("sha512", "a,b=c", "p", nonce="N").step(b"") or b"").startswith(b"n,,n=a=2Cb=3Dc,r=N")


@pytest.mark.parametrize(
    ("challenge", "says"),
    [
        (b"r=other,s=QQ==,i=4096", "another login"),
        (b"r=N,s=QQ==,i=4096", "another login"),
        (f"r=Nx,s=QQ==,i={MAX_ITERATIONS + 1}".encode(), "iterations"),
        (b"r=Nx,s=QQ==,i=0", "iterations"),
        (b"r=Nx,s=QQ==,i=many", "cannot be read"),
        (b"r=Nx,s=!,i=4096", "cannot be read"),
        (b"r=Nx", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_a_challenge_that_must_not_be_is_refused(challenge: bytes, says: str) -> None:
    """A foreign nonce, too much work, or bytes that are no challenge."""
    login = Scram("sha256", "user", "pencil", nonce="N")
    login.step(b"")
    with pytest.raises(Failure, match=says) as caught:
        login.step(challenge)
    assert (caught.value.stage, caught.value.reason) == (Stage.AUTH, Reason.PROTOCOL)


@pytest.mark.parametrize(
    ("final", "reason"),
    [(b"v=AAAA", Reason.PROTOCOL), (b"e=invalid-proof", Reason.AUTH), (b"", Reason.PROTOCOL), (b"v=!", Reason.PROTOCOL)],
)
def test_a_server_must_prove_that_it_knows_the_password(final: bytes, reason: Reason) -> None:
    """A wrong signature is a defect of the protocol, a refusal is one of the credentials."""
    login = Scram("sha256", "user", "pencil", nonce="N")
    login.step(b"")
    login.step(b"r=Nx,s=QQ==,i=1")
    with pytest.raises(Failure) as caught:
        login.step(final)
    assert caught.value.reason is reason


def test_a_server_that_goes_on_is_refused() -> None:
    """The exchange has an end."""
    login = Scram("sha256", "user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO")
    login.step(b"")
    login.step(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    login.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    with pytest.raises(Failure):
        login.step(b"more")
