"""SCRAM: a password is hashed once for a salt and a number of rounds, and what was kept is never another password's."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import pbkdf2_hmac

import pytest
from scramp import ScramClient, ScramException, ScramMechanism

from exporter.clients.postgres.scram import MECHANISM, KeptKeys, ScramExchange

SALT = b"0123456789abcdef"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, int]]:
    """Salt and rounds of what is hashed."""
    calls: list[tuple[bytes, int]] = []

    def counted(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        calls.append((salt, iterations))
        return pbkdf2_hmac(name, password, salt, iterations)

    monkeypatch.setattr("exporter.clients.postgres.scram.pbkdf2_hmac", counted)
    return calls


@dataclass
class Server:
    """A server that knows a password."""

    password: str = "pässword"
    salt: bytes = SALT
    iterations: int = 4096

    async def lets_in(self, password: str, kept: KeptKeys) -> bool:
        """Log in; the client raises where the server does not prove itself."""
        mechanism = ScramMechanism(MECHANISM)
        salt, stored, key, rounds = mechanism.make_auth_info(self.password, self.iterations, self.salt)
        server = mechanism.make_server(lambda _: (salt, stored, key, rounds))
        client = ScramExchange(password, kept)
        server.set_client_first(client.first)
        final = await client.prove(server.get_server_first())
        try:
            server.set_client_final(final)
        except ScramException:
            return False
        client.verify(server.get_server_final())
        return True


async def test_a_password_is_hashed_once(hashed: list[tuple[bytes, int]]) -> None:
    kept = KeptKeys()
    for _ in range(3):
        assert await Server().lets_in("pässword", kept)
    assert hashed == [(SALT, 4096)]


async def test_another_salt_and_other_rounds_are_hashed_anew(hashed: list[tuple[bytes, int]]) -> None:
    kept, other = KeptKeys(), b"fedcba9876543210"
    for server in (Server(), Server(salt=other), Server(salt=other, iterations=5000), Server()):
        assert await server.lets_in("pässword", kept)
    assert hashed == [(SALT, 4096), (other, 4096), (other, 5000), (SALT, 4096)]


async def test_what_was_kept_lets_no_other_password_in(hashed: list[tuple[bytes, int]]) -> None:
    kept = KeptKeys()
    assert await Server().lets_in("pässword", kept)
    assert not await Server().lets_in("rotated", kept)
    assert not await Server(password="rotated").lets_in("pässword", kept)
    assert await Server(password="rotated").lets_in("rotated", kept)
    assert len(hashed) == 4


@pytest.mark.parametrize(
    "challenge",
    [
        "", "r={0},s=c2FsdA==,i=4096", "r=other,s=c2FsdA==,i=4096", "r={0}x,s=!!,i=4096", "m=ext,r={0}x,s=c2FsdA==,i=4096",
        "r={0} x,s=c2FsdA==,i=4096", "r={0}x,i=4096", "e=other-error",
    ],
)  # fmt: skip
async def test_a_challenge_that_cannot_be_is_refused(challenge: str, hashed: list[tuple[bytes, int]]) -> None:
    client = ScramExchange("pässword", KeptKeys())
    nonce = client.first.rpartition("r=")[2]
    with pytest.raises(ValueError, match=r"no challenge|not an answer|not base 64"):
        await client.prove(challenge.format(nonce))
    assert hashed == []


@pytest.mark.parametrize("code", range(128))
def test_sasl_prep_leaves_ascii_as_it_is_or_takes_none_of_it(code: int) -> None:
    """So that scramp, which is slow to import, need not be asked of the passwords that nearly all are."""
    password = f"pass{chr(code)}word"
    try:
        prepared = bytes(ScramClient([MECHANISM], "user", password).password)
    except ScramException:
        return  # and then PostgreSQL hashes it as it is
    assert prepared == password.encode()
